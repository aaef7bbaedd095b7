"""The examples of volumes in files run, and what they write can be read."""

from __future__ import annotations

import importlib
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.volumes import open_source

ROOT = Path(__file__).parents[2]
zarr = pytest.importorskip("zarr", reason="zarr 3 needs a younger NumPy than Theano")
pytest.importorskip("sklearn")
pytest.importorskip("skimage")
matplotlib = pytest.importorskip("matplotlib")


@pytest.fixture(autouse=True)
def examples_importable(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    matplotlib.use("Agg")
    before = set(nm.model_manager.models)
    yield
    for name in set(nm.model_manager.models) - before:
        nm.model_manager.delmodel(name)


def test_tour(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["volume_tour.py", "--minutes", "0.02", "--folder", str(tmp_path)])
    tour = runpy.run_path(str(ROOT / "examples" / "volume_tour.py"), run_name="__main__")
    whole = tour["probs"].predict_dense(tour["image"][None], pad_raw=True, reduce=[1, "uint8"])
    assert np.abs(tour["predicted"][:].astype(int) - whole).max() <= 1  # other tiles round otherwise
    lines = capsys.readouterr().out
    assert "48 tiles of 16 × 64 × 64" in lines and "(0.5, 0.25, 0.25) micrometer" in lines
    assert (tmp_path / "tour.png").stat().st_size > 10_000
    # half of it was there before the rest was asked for
    assert 0 < np.count_nonzero(tour["half"]) < np.count_nonzero(tour["predicted"][0, 24])


def test_images_for_viewers(tmp_path, capsys):
    out = importlib.import_module("ome_zarr_napari").main(["--minutes", "0.02", "--out", str(tmp_path / "n.ome.zarr")])
    assert f"napari --plugin napari-ome-zarr {out / 'raw'} {out / 'nuclei'}" in capsys.readouterr().out
    raw, nuclei = open_source(out / "raw"), open_source(out / "nuclei")
    assert raw.voxel_size == nuclei.voxel_size == (0.5, 0.25, 0.25) and nuclei.unit == "micrometer"
    assert nuclei.offset == (2.0, 4.5, 4.5) and nuclei.shape == (1, 40, 220, 220)
    for image, size in (("raw", 256), ("nuclei", 220)):
        described = dict(zarr.open(out / image, mode="r").attrs)["ome"]["multiscales"][0]
        assert [level["path"] for level in described["datasets"]] == ["0", "1", "2"]
        assert [zarr.open(out / image / level).shape[-1] for level in "012"] == [size, size // 2, size // 4]
