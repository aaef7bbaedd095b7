"""The example of instances: blocks agree with the whole, for every method."""

from __future__ import annotations

import importlib
import re
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy import ndimage

ROOT = Path(__file__).parents[2]
for library in ("bioimage_cpp", "matplotlib", "skimage", "sklearn", "zarr"):
    pytest.importorskip(library)


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    return importlib.import_module("instances")


def boxes() -> tuple[np.ndarray, np.ndarray]:
    """A boundary map of boxes of 12 voxels, with some noise, and the boxes."""
    places = np.indices((24, 48, 48))
    truth = np.ravel_multi_index(tuple(places // 12), (2, 4, 4)) + 1
    boundary = ndimage.gaussian_filter((places % 12 == 0).any(axis=0) * 0.9, 0.7)
    noise = np.random.default_rng(0).random(truth.shape) * 0.05
    return (boundary + noise).astype("float32"), truth


def test_neurons(example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    boundary, truth = boxes()
    monkeypatch.setattr(example, "prediction_of", lambda what: (boundary, truth, "boxes"))
    monkeypatch.setitem(example.BLOCKS, "neurons", (24, 24, 30))
    methods = {
        "connected components": partial(example.components, threshold=0.3),
        "seeded watershed": partial(example.seeded, threshold=0.3, depth=3.0),
        "mutex watershed": partial(example.mutex, threshold=0.3, stride=1, min_size=100),
    }
    assert list(example.METHODS["neurons"]) == list(methods)
    monkeypatch.setitem(example.METHODS, "neurons", methods)
    results = example.main(["neurons", "--halo", "8", "--workers", "0", "--folder", str(tmp_path)])
    precision = importlib.import_module("segmentation").average_precision
    for whole, blocks in results.values():
        assert precision(whole, truth) > 0.9 and precision(blocks, whole) > 0.9
    whole, blocks = results["connected components"]
    assert precision(blocks, whole, 0.9999) == 1 and ((whole > 0) == (blocks > 0)).all()
    assert len(re.findall("in blocks, as if that at once were true: .* VI: ", capsys.readouterr().out)) == 3


def test_the_watershed_is_that_of_scikit_image(example):
    boundary, _ = boxes()
    seeds, _ = ndimage.label(ndimage.distance_transform_edt(boundary < 0.3) > 3)
    expected = importlib.import_module("skimage.segmentation").watershed(boundary, seeds)
    assert (example.seeded(boundary[None], 0.3, 3.0) == expected).mean() > 0.98  # ties differ


def test_nuclei_without_a_prediction(example, tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]):
    helpers, demo = (importlib.import_module(name) for name in ("helpers", "demo_nuclei"))
    monkeypatch.setattr(helpers, "OUTPUT", tmp_path)
    with h5py.File(demo.DATA) as whole, h5py.File(tmp_path / "part.h5", "w") as part:
        part.update({name: whole[name][8:32, 160:230, :100] for name in ("raw", "label")})
    monkeypatch.setattr(demo, "DATA", tmp_path / "part.h5")
    monkeypatch.setattr(demo, "SPLIT", 10)
    monkeypatch.setitem(example.BLOCKS, "nuclei", (24, 60, 50))
    results = example.main(["nuclei", "--workers", "0", "--folder", str(tmp_path / "out")])
    assert "smoothed intensity" in capsys.readouterr().out
    ((whole, blocks),) = results.values()
    assert whole.shape == blocks.shape == (24, 60, 100)
    assert importlib.import_module("segmentation").average_precision(blocks, whole) > 0.5


def test_without_data(example, tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]):
    for module, name in (("helpers", "OUTPUT"), ("membrane_em", "DATA")):
        monkeypatch.setattr(importlib.import_module(module), name, tmp_path / "nowhere")
    assert example.main(["neurons", "--folder", str(tmp_path)]) == {}
    assert "nowhere" in capsys.readouterr().out
