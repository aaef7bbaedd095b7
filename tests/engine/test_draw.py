"""Drawings of graphs."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from neuromancer import engine as E
from neuromancer.errors import ArgumentError, EngineError, FileError, InputTypeError, MissingDependencyError


def graph():
    """Return a convolution with a bias and a softmax."""
    x = E.tensor("image", (None, 1, None, None), "float32")
    w = E.SharedVariable(np.zeros((2, 1, 3, 3), "float32"), "weights")
    return x, E.softmax(E.conv(x, w) + 0.5, 1)


def test_dot_text_of_a_variable_and_of_a_function() -> None:
    x, y = graph()
    text = dot = E.dot_text(y)
    assert dot.startswith("digraph") and dot.rstrip().endswith("}")
    for part in ("image: float32 (?, 1, ?, ?)", "weights: float32 (2, 1, 3, 3)", "Conv", "0.5", "output 0"):
        assert part in text
    compiled = E.dot_text(E.function([x], y))
    assert ("Conv" in compiled or "Corr" in compiled) and "image" in compiled
    assert E.dot_text([y, x]).count("output") == 2


def test_names_are_escaped() -> None:
    x = E.tensor('a"];\nb -> c [label="\x1b\u202e\\n', (2,), "float32")
    lines = E.dot_text(x + 1).splitlines()
    named = [line for line in lines if "b -> c" in line]
    assert len(named) == 1 and named[0].isprintable() and named[0].count('"') == 4
    assert "/x1b/u202e" in named[0]


def test_dot_file_needs_no_graphviz(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    _, y = graph()
    path = E.draw(y, tmp_path / "graph.dot")
    assert path.read_text() == E.dot_text(y)
    with pytest.raises(MissingDependencyError, match=r"graphviz.*apt-get install graphviz.*dot_text"):
        E.draw(y, tmp_path / "graph.png")


@pytest.mark.skipif(shutil.which("dot") is None, reason="graphviz is not installed")
@pytest.mark.parametrize("fmt, head", [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_pictures(tmp_path, fmt, head) -> None:
    x, y = graph()
    path = E.draw(y, tmp_path / "graph", fmt)
    assert path.suffix == f".{fmt}" and path.read_bytes().startswith(head)
    assert E.draw(E.function([x], y), tmp_path / f"function.{fmt}").read_bytes().startswith(head)


@pytest.mark.skipif(shutil.which("dot") is None, reason="graphviz is not installed")
def test_options_go_to_pytensors_own_drawing(tmp_path) -> None:
    x, y = graph()
    path = E.draw(E.function([x], y), tmp_path / "graph.svg", with_ids=True, high_contrast=False)
    assert "id=" in path.read_text()
    with pytest.raises(ArgumentError, match=r"unknown drawing options; got \['colour'\]; expected some of \['compact'"):
        E.draw(y, tmp_path / "other.svg", colour="red")
    assert not (tmp_path / "other.svg").exists()


@pytest.mark.skipif(E.NAME == "theano", reason="pictures are drawn by Theano's own pydotprint")
def test_graphviz_gets_the_source_and_its_errors_are_raised(tmp_path, monkeypatch) -> None:
    program = tmp_path / "dot"
    program.write_text('#!/bin/sh\necho "$1"\nexec cat\n')
    program.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(program))
    _, y = graph()
    path = E.draw(y, tmp_path / "graph", "svg")
    assert path == tmp_path / "graph.svg" and path.read_text() == "-Tsvg\n" + E.dot_text(y)
    assert E.draw(y, tmp_path / "other.pdf").read_text().startswith("-Tpdf")
    program.write_text("#!/bin/sh\necho broken >&2\nexit 3\n")
    with pytest.raises(EngineError, match=r"graphviz failed; got broken"):
        E.draw(y, tmp_path / "graph.png")


def test_bad_arguments(tmp_path) -> None:
    _, y = graph()
    with pytest.raises(ArgumentError, match=r"unknown picture format; got bmp"):
        E.draw(y, tmp_path / "x.bmp")
    with pytest.raises(InputTypeError, match=r"nothing to draw; got int"):
        E.dot_text(3)
    with pytest.raises(FileError, match=r"cannot write"):
        E.draw(y, tmp_path / "absent" / "x.dot")
