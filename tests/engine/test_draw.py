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


def labels(text):
    """Return the labels of boxes and arrows in DOT source."""
    return [line.split('label="')[1].split('"')[0] for line in text.splitlines() if 'label="' in line]


def test_long_names_are_cut() -> None:
    x = E.tensor("image" * 50, (2,), "float32")
    found = [label for label in labels(E.dot_text(x + 1)) if label.startswith("imageimage")]
    assert found and all(len(label) == 60 and label.endswith("...") for label in found)
    short = E.tensor("n" * 30, (2,), "float32")
    assert any(label.startswith("n" * 30 + ": float32") for label in labels(E.dot_text(short + 1)))


def test_arrows_say_in_which_order_an_operation_takes_its_operands() -> None:
    x, y = E.tensor("x", (2,), "float32"), E.tensor("y", (2,), "float32")
    lines = E.dot_text(E.T.sub(y, E.T.exp(x))).splitlines()
    node = {line.split()[0]: line for line in lines if "[label=" in line and "->" not in line}
    arrows = [(line.split()[0], line.split()[2], labels(line)[0]) for line in lines if "->" in line and "label" in line]
    into_difference = {label.split()[0]: source for source, _, label in arrows if label}
    assert "y: float32" in node[into_difference["0"]] and "y: float32" not in node[into_difference["1"]]


@pytest.mark.parametrize("kind", ["input", "shared", "constant"])
def test_what_is_not_computed_can_be_drawn(kind) -> None:
    value = np.zeros((2, 3), "float32")
    variable = {
        "input": lambda: E.tensor("name", (2, None), "float32"),
        "shared": lambda: E.SharedVariable(value, "name"),
        "constant": lambda: E.ConstantVariable(value, "name"),
    }[kind]()
    text = E.dot_text(variable)
    assert "name: float32 (2, " in text and text.count("output 0") == 1 and text.count("->") == 1
    assert "any object" in E.dot_text([E.generic("any object")])


@pytest.mark.parametrize("target", [[], (), None, "name", {"a": 1}, [1], np.ones(2)])
def test_nothing_else_is_drawn(target) -> None:
    with pytest.raises(InputTypeError) as caught:
        E.dot_text(target)
    assert caught.value.got == type(target).__name__


@pytest.mark.parametrize(
    ("name", "fmt", "written"),
    [
        ("a.dot", None, "a.dot"),
        ("b", "dot", "b.dot"),
        ("c.txt", "dot", "c.txt"),
        ("d.DOT", None, "d.DOT"),
        ("e", "DOT", "e.dot"),
    ],
)
def test_the_format_is_the_given_one_or_that_of_the_suffix(tmp_path, name, fmt, written) -> None:
    _, y = graph()
    path = E.draw(y, str(tmp_path / name), fmt)
    assert path == tmp_path / written and path.read_text() == E.dot_text(y)


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
