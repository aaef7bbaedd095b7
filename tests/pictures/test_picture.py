"""Pictures: formats, files, graphviz, options, notebooks."""

from __future__ import annotations

import os
import re
import shutil
import xml.etree.ElementTree as ET

import pydot
import pytest

from neuromancer.errors import ArgumentError, EngineError, FileError, InputTypeError, MissingDependencyError
from tests.pictures.graphs import HOSTILE, hostile, network, recurrence, u_net

needs_graphviz = pytest.mark.skipif(shutil.which("dot") is None, reason="graphviz is not installed")


def test_dot_text_says_what_is_known() -> None:
    picture = network().plot()
    text = picture.dot
    for part in (
        "<b>first</b>",
        "Conv",
        "b × 4f × 10y × 10x",
        "40 parameters",
        "w 4×1×3×3, b 4",
        "fov 4 × 4",
        "strides 2 × 2",
        "<b>loss</b>",
        "model drawn network",
        "198 trainable parameters",
    ):
        assert part in text
    assert text.count("->") == 8 and re.search(r'n0 -> n1 \[label=" b × 1f × 22y × 22x "\]', text)
    assert len(pydot.graph_from_dot_data(text)[0].get_edges()) == 8


def test_options_change_the_drawing() -> None:
    model = network()
    plain = model.plot().dot
    assert "rankdir=LR" in model.plot(direction="right").dot and "rankdir=TB" in plain
    assert '22y × 22x "' not in model.plot(edge_labels=False).dot
    assert len({model.plot(colour=c).dot for c in ("kind", "class", "cost", "fov", "parameters")}) == 5
    assert model["first"].plot(colour="cost", direction="right").options.colour == "cost"
    assert "style=dashed" in recurrence().plot().dot and "next step" in recurrence().plot().dot


@needs_graphviz
@pytest.mark.parametrize("fmt, head", [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
@pytest.mark.parametrize("make", [network, u_net, recurrence, hostile])
def test_graphviz_draws_every_graph(tmp_path, make, fmt, head) -> None:
    path = make().plot(tmp_path / f"graph.{fmt}", colour="cost") and tmp_path / f"graph.{fmt}"
    assert path.read_bytes().startswith(head)


@needs_graphviz
def test_svg_has_every_node_and_hostile_names_as_text(tmp_path) -> None:
    model = hostile()
    model.plot(tmp_path / "x.svg")
    svg = ET.parse(tmp_path / "x.svg").getroot()
    names = [e.tag.rpartition("}")[2] for e in svg.iter()]
    assert not {"script", "img", "image"} & set(names)
    text = "".join(svg.itertext())
    assert "</script><script>" in text and '"]; n0 -> n1 [label="' in text
    groups = [e for e in svg.iter() if e.get("class") == "node"]
    assert len(groups) == len(model.nodes)
    assert len([e for e in svg.iter() if e.get("class") == "edge"]) == 2


def test_format_follows_the_name_or_the_argument(tmp_path) -> None:
    model = network()
    assert model.plot().save(tmp_path / "a.HTML") == tmp_path / "a.HTML"
    assert (tmp_path / "a.HTML").read_text(encoding="utf-8") == model.plot().html
    assert model.plot().save(tmp_path / "b", "dot") == tmp_path / "b.dot"
    assert model.plot().save(str(tmp_path / "c.txt"), "dot").read_text(encoding="utf-8") == model.plot().dot
    model["probs"].plot(tmp_path / "d.html")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.HTML", "b.dot", "c.txt", "d.html"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("x.pgn",), r"unknown picture format; got pgn; .*nearest valid: png"),
        (("x",), r"no suffix .*nearest valid: x\.html"),
        (("x.html", "jpeg"), r"unknown picture format; got jpeg"),
        ((None, "svg"), r"format is given without a path"),
        (("x.html", None, "colour"), r"unknown colour"),
        (("x.html", None, "costs"), r"unknown colour; got costs; .*nearest valid: cost"),
        (("x.html", None, ["kind"]), r"unknown colour"),
        (("x.html", None, "kind", "up"), r"unknown direction; got up"),
    ],
)
def test_bad_arguments_write_nothing(tmp_path, monkeypatch, arguments, message) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArgumentError, match=message):
        network().plot(*arguments)
    assert not list(tmp_path.iterdir())


def test_wrong_types() -> None:
    with pytest.raises(InputTypeError, match=r"plot.: is not a path; got int 3"):
        network().plot(3)
    with pytest.raises(InputTypeError, match=r"edge_labels must be True or False; got 'no'"):
        network().plot(edge_labels="no")


def test_files_that_cannot_be_written(tmp_path) -> None:
    model = network()
    with pytest.raises(
        FileError, match=rf"cannot write the picture.*nearest valid: an existing folder, such as {tmp_path}"
    ):
        model.plot(tmp_path / "absent" / "deep" / "x.html")
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(FileError, match="cannot write"):
        model.plot(tmp_path / "folder.html")
    with pytest.raises(FileError, match="cannot contain a null character"):
        model.plot(f"{tmp_path}/a\0b.html")
    assert [p.name for p in tmp_path.iterdir()] == ["folder.html"]


def test_an_old_file_survives_a_failure(tmp_path, monkeypatch) -> None:
    path = tmp_path / "x.html"
    path.write_text("old")
    monkeypatch.setattr(os, "replace", None)

    def broken(self, content):
        raise OSError("disk full")

    monkeypatch.setattr(type(path), "write_bytes", broken)
    with pytest.raises(FileError, match="disk full"):
        network().plot(path)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_links_are_followed(tmp_path) -> None:
    target, link = tmp_path / "real.html", tmp_path / "link.html"
    link.symlink_to(target)
    network().plot(link)
    assert link.is_symlink() and target.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_without_graphviz(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    model = network()
    with pytest.raises(MissingDependencyError, match=r"apt-get install graphviz.*nearest valid: the formats 'html'"):
        model.plot(tmp_path / "x.png")
    assert not list(tmp_path.iterdir())
    model.plot(tmp_path / "x.html")
    model.plot(tmp_path / "x.dot")
    assert model.plot()._repr_svg_() is None


def test_graphviz_errors_are_passed_on(tmp_path, monkeypatch) -> None:
    program = tmp_path / "dot"
    program.write_text("#!/bin/sh\ncat >/dev/null\necho broken >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(program))
    with pytest.raises(EngineError, match="graphviz failed; got broken"):
        network().plot().render("svg")


def test_in_a_notebook() -> None:
    picture = network("a 'quoted' <name>").plot()
    frame = picture._repr_html_()
    assert frame.startswith('<iframe sandbox="allow-scripts" title="model a &#x27;quoted&#x27; &lt;name&gt;"')
    assert "<script" not in frame and frame.count("<") == 2
    assert repr(picture) == "<Picture of model a 'quoted' <name>: 9 nodes>"
    if shutil.which("dot"):
        assert "<svg" in picture._repr_svg_()


def test_no_name_acts_on_what_stands_beside_it() -> None:
    picture = hostile().plot()
    for text in (picture.dot, picture.html, repr(picture), picture._repr_html_()):
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u202a-\u202e\u2066-\u2069\ud800-\udfff]", text)
        assert "u202e" in text
    assert "\\u202e" not in str(network().plot().graph)


def test_the_page_has_everything_inside() -> None:
    page = hostile().plot().html
    assert page.count("</script>") == 2 and HOSTILE not in page
    page = network().plot().html
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page).group(1)
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy and "http" not in policy
    # Nothing is loaded; the SVG namespace is a name, not an address.
    assert not re.search(r"\b(?:src|href)\s*=|@import|url\(\s*['\"]?(?!#)", page)
    assert set(re.findall(r"https?://[^\s\"']*", page)) == {"http://www.w3.org/2000/svg"}
