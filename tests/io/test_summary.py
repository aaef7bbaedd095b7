"""Summaries: what is stored in a file is what building the model gives."""

from __future__ import annotations

import json

import pytest

import neuromancer as nm
from neuromancer.commands import volumes as cli
from neuromancer.errors import FileError
from neuromancer.io import container
from neuromancer.io.container import read_file, read_summary, write_file
from neuromancer.io.summary import stored_summary, summary_of
from tests.io.graphs import QUIET, Scaled, unet

RIGHT = {
    "model": "name",
    "nodes": {"raw": "[(1,b)]"},
    "prediction_node": "raw",
    "parameters": 1,
    "fov": [1],
    "strides": [1.0],
    "channels": {"in": [None], "out": 2},
}


@pytest.fixture
def saved(fresh_model, tmp_path):
    unet()
    fresh_model.name = "stored name"
    fresh_model.save(tmp_path / "model.h5")
    yield tmp_path / "model.h5"
    nm.model_manager.delmodel("stored name")


def test_it_is_that_of_the_loaded_model(saved, fresh_model):
    facts = stored_summary(saved)
    loaded = nm.modelload(saved)
    assert facts == summary_of(fresh_model) == {**summary_of(loaded), "model": "stored name"}
    assert facts["nodes"] == {name: repr(node.shape) for name, node in loaded.nodes.items()}
    assert facts["parameters"] == loaded.prediction_node.all_params_count > 0
    assert facts["fov"] == [int(n) for n in loaded.prediction_node.shape.fov]
    assert facts["channels"]["out"] == loaded.prediction_node.shape["f"]


def test_models_without_a_prediction_or_channels(fresh_model, tmp_path):
    source = nm.Input((3, 4), "b,x", name="raw", **QUIET)
    fresh_model.save(tmp_path / "model.h5")
    facts = stored_summary(tmp_path / "model.h5")
    assert facts["prediction_node"] is None and facts["parameters"] == 0 and "fov" not in facts
    fresh_model.designate_nodes("raw", prediction_node=Scaled(source))
    fresh_model.save(tmp_path / "model.h5")
    assert stored_summary(tmp_path / "model.h5")["channels"] == {"in": [None], "out": None}


def test_files_without_one_are_built(saved, capsys):
    assert cli.main(["info", str(saved), "--json"]) == cli.DONE
    with_one = json.loads(capsys.readouterr().out)
    write_file(saved, *read_file(saved))
    assert stored_summary(saved) is None
    assert cli.main(["info", str(saved), "--json"]) == cli.DONE
    without = json.loads(capsys.readouterr().out)
    assert {**without, "model": "stored name"} == with_one


def test_damaged_files_are_refused(saved, capsys):
    whole = bytearray(saved.read_bytes())
    whole[-1] ^= 1
    saved.write_bytes(whole)
    assert cli.main(["info", str(saved)]) == cli.FAILED
    assert "checksum is wrong" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change",
    [
        {"model": 1},
        {"nodes": ["raw"]},
        {"nodes": {"raw": None}},
        {"prediction_node": "elsewhere"},
        {"prediction_node": ["raw"]},
        {"parameters": "many"},
        {"parameters": True},
        {"fov": None},
        {"fov": ["\x1b[2J"]},
        {"strides": [[1]]},
        {"channels": {"in": 3, "out": 2}},
        {"channels": {"in": []}},
        {"channels": []},
    ],
)
def test_other_values_than_a_summary_are_refused(tmp_path, capsys, change):
    path = tmp_path / "model.h5"
    write_file(path, {}, {}, RIGHT)
    assert stored_summary(path) == RIGHT
    write_file(path, {}, {}, {**RIGHT, **change})
    with pytest.raises(FileError, match="the summary of the model is damaged"):
        stored_summary(path)
    assert cli.main(["info", str(path)]) == cli.FAILED
    assert "unexpected" not in capsys.readouterr().err


def test_every_part_is_needed(tmp_path):
    for key in RIGHT:
        write_file(tmp_path / "model.h5", {}, {}, {k: v for k, v in RIGHT.items() if k != key})
        with pytest.raises(FileError, match="damaged"):
            stored_summary(tmp_path / "model.h5")


def test_names_from_files_are_shown_safely(tmp_path, capsys):
    names = {"model": "a\x1b[2J", "nodes": {"raw": "\x1b[2J"}}
    write_file(tmp_path / "model.h5", {}, {}, {**RIGHT, **names})
    assert cli.main(["info", str(tmp_path / "model.h5")]) == cli.DONE
    text = capsys.readouterr().out
    assert text.replace("\n", "").isprintable() and text.count("\\x1b[2J") == 2


def test_one_that_is_too_large_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(container, "MAX_DOCUMENT", 100)
    write_file(tmp_path / "model.h5", {}, {}, RIGHT)
    assert read_summary(tmp_path / "model.h5") is None
