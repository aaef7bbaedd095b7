"""Pre- and postprocessing of dense predictions: steps, exact statistics, and what is stored."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import neuromancer as nm
from neuromancer.commands import volumes as cli
from neuromancer.dense.processing import apply, statistics
from neuromancer.dense.processing.apply import apply_step, dtype_after
from neuromancer.dense.processing.source import process_array
from neuromancer.dense.processing.steps import STEPS, steps_of
from neuromancer.errors import ArgumentError, FileError, InputTypeError, NeuromancerError, PredictionError

DTYPES = "bool uint8 int8 uint16 int16 int32 uint32 int64 float16 float32 float64 >f4 >i2".split()


class Chunked:
    """A volume that counts what is read, and knows chunks."""

    def __init__(self, array: np.ndarray, chunks: tuple[int, ...] | None) -> None:
        self.array, self.chunks, self.shape, self.dtype = array, chunks, array.shape, array.dtype
        self.largest = 0

    def __getitem__(self, where: tuple[slice, ...]) -> np.ndarray:
        block = self.array[where]
        self.largest = max(self.largest, block.size)
        return block


# ---- statistics
def volumes() -> st.SearchStrategy[np.ndarray]:
    shapes = arrays.array_shapes(min_dims=3, max_dims=4, min_side=1, max_side=7)
    kinds = st.sampled_from(DTYPES)

    def values(dtype: str) -> Any:
        kind = np.dtype(dtype)
        if kind.kind == "f":
            bound = 1000.0 if kind.itemsize == 2 else 1e6
            return st.floats(-bound, bound, width=kind.itemsize * 8)
        return (
            None
            if kind.kind == "b"
            else st.integers(*(max(-(1 << 40), np.iinfo(kind).min), min(1 << 40, np.iinfo(kind).max)))
        )

    return st.tuples(kinds, shapes).flatmap(lambda t: arrays.arrays(t[0], t[1], elements=values(t[0])))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_statistics_are_those_of_numpy(data):
    array = data.draw(volumes())
    reduced = sorted(data.draw(st.sets(st.integers(0, array.ndim - 1), min_size=1)))
    chunks = tuple(data.draw(st.integers(1, n)) for n in array.shape)
    volume, exact = Chunked(array, data.draw(st.sampled_from([None, chunks]))), array.astype("float64")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "BLOCK", data.draw(st.integers(1, 40)))
        mean, std = statistics.moments(volume, reduced, "x")
        fractions = data.draw(st.lists(st.floats(0, 1), min_size=1, max_size=4))
        found = {m: statistics.quantiles(volume, reduced, fractions, "x", m) for m in ("linear", "inverted_cdf")}
    scale = float(np.abs(exact).max()) + 1
    np.testing.assert_allclose(mean, exact.mean(axis=tuple(reduced), keepdims=True), rtol=1e-12, atol=1e-12 * scale)
    np.testing.assert_allclose(std, exact.std(axis=tuple(reduced), keepdims=True), rtol=1e-9, atol=1e-9 * scale)
    for method, values in found.items():
        for fraction, own in zip(fractions, values, strict=True):
            wanted = np.quantile(exact, fraction, axis=tuple(reduced), keepdims=True, method=method)
            np.testing.assert_allclose(own, wanted, rtol=1e-12, atol=1e-12 * scale)


def test_statistics_read_blocks_only():
    volume = Chunked(np.random.default_rng(0).random((1, 40, 64, 64), dtype="float32"), (1, 8, 16, 16))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "BLOCK", 10_000)
        statistics.moments(volume, (0, 1, 2, 3), "x")
        statistics.quantiles(volume, (0, 1, 2, 3), (0.01, 0.998), "x")
    assert volume.largest <= 10_000


def test_statistics_of_a_large_mean_are_exact():
    values = (1e8 + np.random.default_rng(0).standard_normal((1, 50, 50))).astype("float64")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "BLOCK", 100)
        mean, std = statistics.moments(Chunked(values, None), (0, 1, 2), "x")
    assert abs(mean.item() - values.mean()) < 1e-6 and abs(std.item() / values.std() - 1) < 1e-9


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(value):
    array = np.ones((1, 4, 5), "float32")
    array[0, 2, 3] = value
    with pytest.raises(PredictionError, match="not finite"):
        statistics.moments(Chunked(array, None), (0, 1, 2), "x")
    with pytest.raises(PredictionError, match="not finite"):
        statistics.quantiles(Chunked(array, None), (0, 1, 2), (0.0, 1.0), "x")


def test_statistics_as_many_as_voxels_are_refused():
    with pytest.raises(ArgumentError, match="as many as voxels"):
        statistics.moments(Chunked(np.zeros((3, 300, 300), "uint8"), None), (0,), "x")


# ---- steps
X = np.random.default_rng(1).standard_normal((3, 5, 6)).astype("float32") * 4
C = np.array([0.5, 1.0, -1.0]).reshape(3, 1, 1)
MEAN, STD = X.mean((1, 2), keepdims=True), X.std((1, 2), keepdims=True)
IMAGE = np.random.default_rng(2).random((3, 5, 6)).astype("float32")
LOW, HIGH = (np.percentile(X.astype("float64"), q) for q in (5, 90))
EXP = np.exp(X.astype("float64"))
CASES = {
    "ensure_dtype": ({"dtype": "int16"}, X.astype("int16")),
    "binarize": ({"threshold": 0.5}, X > 0.5),
    "binarize per channel": ({"threshold": C.ravel().tolist(), "axis": "f"}, X > C),
    "clip": ({"min": -1, "max": 2.5}, np.clip(X, -1, 2.5)),
    "clip below": ({"min": 0}, np.maximum(X, 0)),
    "clip percentiles": ({"min_percentile": 5, "max_percentile": 90}, np.clip(X, LOW, HIGH)),
    "scale_linear": ({"gain": 2, "offset": -1}, X * 2 - 1),
    "scale_linear per channel": ({"gain": C.ravel().tolist(), "axis": "c"}, X * C),
    "sigmoid": ({}, 1 / (1 + np.exp(-X))),
    "softmax": ({}, EXP / EXP.sum(0)),
    "fixed_zero_mean_unit_variance": ({"mean": 2, "std": 3}, (X - 2) / (3 + 1e-6)),
    "fixed_zero_mean_unit_variance per channel": ({"mean": [1, 2, 3], "std": [2, 2, 4]},
        (X - np.reshape([1, 2, 3], (3, 1, 1))) / np.reshape([2, 2, 4], (3, 1, 1))),
    "zero_mean_unit_variance": ({}, (X - X.mean()) / (X.std() + 1e-6)),
    "zero_mean_unit_variance per channel": ({"axes": "yx", "eps": 0.1}, (X - MEAN) / (STD + 0.1)),
    "scale_range": ({"min_percentile": 5, "max_percentile": 90}, (X - LOW) / (HIGH - LOW + 1e-6)),
    "scale_range of the image": ({"reference": "image"}, (X - IMAGE.min()) / (np.ptp(IMAGE) + 1e-6)),
    "scale_mean_variance": ({}, (X - X.mean()) / (X.std() + 1e-6) * (IMAGE.std() + 1e-6) + IMAGE.mean()),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_each_step(case):
    arguments, wanted = CASES[case]
    steps = steps_of([(case.split()[0], arguments)], "x")
    found = process_array(X, steps, ["f", "y", "x"], IMAGE, ["f", "y", "x"])
    assert found.dtype == dtype_after(steps, 3, "float32")
    np.testing.assert_allclose(found, wanted, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("case", CASES)
def test_large_blocks_are_computed_piece_by_piece(case, monkeypatch):
    monkeypatch.setattr(apply, "PIECE", 7)
    test_each_step(case)


def test_every_step_has_a_case():
    assert {case.split()[0] for case in CASES} == set(STEPS)


def test_values_that_a_dtype_cannot_hold_are_refused():
    (step,) = steps_of(("ensure_dtype", {"dtype": "uint8"}), "x")
    for values in (np.array([[-1.0]]), np.array([[256]]), np.array([[np.nan]])):
        with pytest.raises(PredictionError, match="ensure_dtype"):
            apply_step(step, values)
    assert apply_step(step, np.array([[255.9, 0.2]])).tolist() == [[255, 0]]


BAD: list[tuple[Any, type, str]] = [
    ("zero_mean", ArgumentError, "no such step.*zero_mean"),
    (5, InputTypeError, "not a list of steps"),
    ([("sigmoid", 3)], InputTypeError, "not a step"),
    (["sigmoid", 7], InputTypeError, "not a step"),
    ([("clip", {})], ArgumentError, "needs a limit"),
    ([("clip", {"mn": 1})], ArgumentError, "nearest valid: min"),
    ([("clip", {"min": 10**400})], ArgumentError, "'min' is not valid"),
    ([("clip", {"min": 2, "max": 1})], ArgumentError, "minimum is above"),
    ([("clip", {"min": 2, "min_percentile": 1})], ArgumentError, "only one of"),
    ([("binarize", {})], ArgumentError, "needs 'threshold'"),
    ([("binarize", {"threshold": float("nan")})], ArgumentError, "'threshold' is not valid"),
    ([("ensure_dtype", {"dtype": "complex64"})], ArgumentError, "'dtype' is not valid"),
    ([("scale_range", {"min_percentile": 50, "max_percentile": 50})], ArgumentError, "not below"),
    ([("scale_range", {"max_percentile": 101})], ArgumentError, "percentage"),
    ([("scale_range", {"axes": "yy"})], ArgumentError, "'axes' is not valid"),
    ([("scale_range", {"reference": "other"})], ArgumentError, "unprocessed image"),
    ([("zero_mean_unit_variance", {"eps": 0})], ArgumentError, "'eps'"),
    ([("fixed_zero_mean_unit_variance", {"mean": 1, "std": 0})], ArgumentError, "positive"),
    ([("fixed_zero_mean_unit_variance", {"mean": [1, 2], "std": [1]})], ArgumentError, "different lengths"),
    (["sigmoid"] * 65, ArgumentError, "too many"),
]


@pytest.mark.parametrize("case", range(len(BAD)))
def test_bad_steps(case):
    steps, kind, words = BAD[case]
    with pytest.raises(kind, match=words):
        steps_of(steps, "preprocess")


# ---- predictions
@pytest.fixture(scope="module")
def conv():
    model = nm.model_manager.newmodel("processed")
    raw = nm.Input((None, 1, 9, 9), "b,f,y,x", name="raw", print_repr=False)
    node = nm.Conv(raw, 2, (3, 3), activation_func="lin", name="conv", print_repr=False)
    model.designate_nodes("raw", prediction_node="conv")
    yield node
    nm.model_manager.delmodel("processed")


RAW = np.random.default_rng(0).integers(0, 200, (1, 30, 41)).astype("uint8")
STANDARD = ((RAW - RAW.mean()) / (RAW.std() + 1e-6)).astype("float32")


@pytest.mark.parametrize("tile", [None, (7, 9)])
def test_the_image_is_processed_as_a_whole(conv, tile):
    found = conv.predict_dense(RAW, preprocess="zero_mean_unit_variance", tile=tile)
    np.testing.assert_allclose(found, conv.predict_dense(STANDARD), atol=2e-6)


def test_integers_are_not_scaled_by_themselves_if_there_are_steps(conv):
    found = conv.predict_dense(RAW, preprocess=("ensure_dtype", {"dtype": "float32"}))
    np.testing.assert_allclose(found, conv.predict_dense(RAW.astype("float32")), rtol=1e-6)


def test_images_of_a_stack_are_processed_by_themselves(conv):
    stack = np.random.default_rng(1).random((1, 4, 20, 21)).astype("float32") + np.arange(4).reshape(4, 1, 1)
    stack = stack.astype("float32")
    mean, std = stack.mean((2, 3), keepdims=True), stack.std((2, 3), keepdims=True)
    found = conv.predict_dense(stack, preprocess=("zero_mean_unit_variance", {"axes": "yx"}), tile=(2, 7, 9))
    np.testing.assert_allclose(found, conv.predict_dense((stack - mean) / (std + 1e-6)), atol=1e-5)
    jointly = conv.predict_dense(stack, preprocess=("zero_mean_unit_variance", {"axes": "byx"}))
    np.testing.assert_allclose(jointly, conv.predict_dense((stack - stack.mean()) / (stack.std() + 1e-6)), atol=1e-5)


def test_mirrored_margins_and_regions(conv):
    wanted = conv.predict_dense(STANDARD, pad_raw=True)
    found = conv.predict_dense(RAW, preprocess="zero_mean_unit_variance", pad_raw=True)
    np.testing.assert_allclose(found, wanted, atol=2e-6)
    part = conv.predict_dense(RAW, preprocess="zero_mean_unit_variance", pad_raw=True, roi=[(5, 20), (3, 9)])
    np.testing.assert_allclose(part, wanted[:, 5:20, 3:9], atol=2e-6)


def test_postprocessing_is_fused_and_reduced(conv):
    plain = conv.predict_dense(STANDARD).astype("float64")
    steps = ["sigmoid", ("binarize", {"threshold": 0.5})]
    found = conv.predict_dense(STANDARD, postprocess=steps, tile=(7, 9))
    assert found.dtype == bool and (found == (plain > 0)).mean() > 0.999
    scaled = conv.predict_dense(STANDARD, postprocess="sigmoid", as_uint8=True)
    assert scaled.dtype == "uint8" and np.abs(scaled - np.floor(255 / (1 + np.exp(-plain)))).max() <= 1


@pytest.mark.parametrize("tile", [None, (7, 9)])
def test_statistics_of_the_result(conv, tile):
    plain = conv.predict_dense(STANDARD).astype("float64")
    low, high = np.percentile(plain, [1, 99], axis=(1, 2), keepdims=True)
    step = ("scale_range", {"min_percentile": 1, "max_percentile": 99, "axes": "yx"})
    found = conv.predict_dense(STANDARD, postprocess=[step], tile=tile)
    np.testing.assert_allclose(found, (plain - low) / (high - low + 1e-6), atol=1e-5)
    best = conv.predict_dense(STANDARD, postprocess=[step], reduce="argmax")
    assert (best[0] == np.argmax(found, 0)).mean() > 0.99


PARTIAL = [{"out": "never.npy"}, {"roi": [(0, 5), None]}, {"mask": np.ones((28, 39))}, {"skip_empty": 0},
           {"on_error": "skip"}]  # fmt: skip


@pytest.mark.parametrize("option", PARTIAL)
def test_statistics_of_the_result_need_all_of_it_in_memory(conv, option, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArgumentError, match=r"scale_range.*whole result"):
        conv.predict_dense(STANDARD, postprocess="scale_range", **option)
    assert not list(tmp_path.iterdir())


def test_skip_empty_sees_the_unprocessed_image(conv):
    raw = RAW.copy()
    raw[:, :15] = 0
    found = conv.predict_dense(raw, preprocess="zero_mean_unit_variance", skip_empty=0, fill=7, tile=(6, 39))
    assert (found[:, :12] == 7).all() and not (found[:, 12:] == 7).all()


def test_nothing_is_created_if_the_statistics_fail(conv, tmp_path):
    raw = RAW.astype("float32")
    raw[0, 3, 4] = np.nan
    with pytest.raises(PredictionError, match="not finite"):
        conv.predict_dense(raw, preprocess="zero_mean_unit_variance", out=tmp_path / "out.npy")
    with pytest.raises(ArgumentError, match="one number per channel"):
        conv.predict_dense(RAW, preprocess=("scale_linear", {"gain": [1, 2]}), out=tmp_path / "out.npy")
    with pytest.raises(ArgumentError, match="no such axis"):
        conv.predict_dense(RAW, preprocess=("scale_range", {"axes": "z"}), out=tmp_path / "out.npy")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", [{"resume": True}, {"shard": (0, 2)}])
def test_nothing_is_created_if_the_statistics_of_a_shard_fail(conv, option, tmp_path):
    raw = RAW.astype("float32")
    raw[0, 3, 4] = np.nan
    with pytest.raises(PredictionError, match="not finite"):
        conv.predict_dense(raw, preprocess="zero_mean_unit_variance", out=tmp_path / "out.npy", **option)
    assert not list(tmp_path.iterdir())


def test_masked_images_have_no_statistics_of_the_whole_result(conv):
    holes = np.ma.array(STANDARD, mask=STANDARD > 1)
    with pytest.raises(ArgumentError, match="whole result"):
        conv.predict_dense(holes, postprocess="scale_range")


def test_resume_takes_the_statistics_of_the_first_run(conv, tmp_path, monkeypatch):
    np.save(tmp_path / "raw.npy", RAW)
    options = {"preprocess": "zero_mean_unit_variance", "out": tmp_path / "out.npy", "tile": (7, 9)}
    for shard in ((0, 2), (1, 2)):
        conv.predict_dense(tmp_path / "raw.npy", shard=shard, **options)
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), conv.predict_dense(STANDARD), atol=2e-6)

    def fail(*args: Any) -> Any:
        raise AssertionError("measured again")

    monkeypatch.setattr(statistics, "_blocks", fail)
    conv.predict_dense(tmp_path / "raw.npy", resume=True, **options)
    monkeypatch.undo()
    (tmp_path / "out.npy.progress" / "statistics.json").write_text("damaged")
    conv.predict_dense(tmp_path / "raw.npy", resume=True, **options)
    with pytest.raises(FileError, match="another options"):
        conv.predict_dense(tmp_path / "raw.npy", resume=True, **{**options, "preprocess": "scale_range"})


@pytest.mark.parametrize(
    "forged",
    [
        [[]],
        [[{"values": [1.0], "shape": [1, 1, 1]}]],
        [[{"values": [1.0] * 3, "shape": [3, 1, 1]}] * 2],
        [[{"values": [1.0], "shape": [1]}] * 2],
        [[{"values": [float("nan")], "shape": [1, 1, 1]}] * 2],
        [[{"values": [1.0], "shape": [1, 1, 1]}] * 3],
    ],
)
def test_statistics_that_cannot_be_those_of_the_image_are_measured_again(conv, tmp_path, forged):
    np.save(tmp_path / "raw.npy", RAW)
    options = {"preprocess": "zero_mean_unit_variance", "out": tmp_path / "out.npy", "tile": (7, 9)}
    conv.predict_dense(tmp_path / "raw.npy", shard=(0, 2), **options)
    kept = tmp_path / "out.npy.progress" / "statistics.json"
    digest = hashlib.sha256(json.dumps(forged).encode()).hexdigest()
    kept.write_text(json.dumps({**json.loads(kept.read_text()), "statistics": forged, "digest": digest}))
    conv.predict_dense(tmp_path / "raw.npy", shard=(1, 2), **options)
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), conv.predict_dense(STANDARD), atol=2e-6)


def test_threads_as_workers(conv, tmp_path):
    with ThreadPoolExecutor(2) as pool:
        found = conv.predict_dense(RAW, preprocess="zero_mean_unit_variance", executor=pool, tile=(7, 9))
    np.testing.assert_allclose(found, conv.predict_dense(STANDARD), atol=2e-6)


@pytest.mark.slow
def test_processes_as_workers(conv, tmp_path):
    np.save(tmp_path / "raw.npy", RAW)
    steps = [("scale_range", {"max_percentile": 99}), ("clip", {"min": 0, "max": 1})]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        found = conv.predict_dense(
            tmp_path / "raw.npy", preprocess=steps, postprocess="sigmoid", executor=pool, out=tmp_path / "out.npy"
        )
    np.testing.assert_allclose(
        np.load(found), conv.predict_dense(RAW, preprocess=steps, postprocess="sigmoid"), atol=1e-6
    )


# ---- models
def test_a_model_keeps_its_processing(conv, tmp_path):
    model = nm.model_manager["processed"]
    model.preprocessing, model.postprocessing = ["zero_mean_unit_variance"], ["sigmoid"]
    try:
        wanted = conv.predict_dense(STANDARD, postprocess="sigmoid")
        np.testing.assert_allclose(model.predict_dense(RAW), wanted, atol=2e-6)
        np.testing.assert_allclose(model.predict_dense(STANDARD, preprocess=[]), wanted, atol=2e-6)
        assert model.plan_dense((1, 50, 50), reduce="uint8").outputs[0].dtype == "uint8"
        model.save(tmp_path / "model.h5")
    finally:
        model.preprocessing = model.postprocessing = []
    loaded = nm.modelload(tmp_path / "model.h5", name="processed again")
    assert loaded.preprocessing == [("zero_mean_unit_variance", {})] and loaded.postprocessing == [("sigmoid", {})]
    np.testing.assert_allclose(loaded.predict_dense(RAW), wanted, atol=2e-6)
    nm.model_manager.delmodel("processed again")


def test_the_command_applies_the_processing_of_a_model(conv, tmp_path):
    model = nm.model_manager["processed"]
    model.preprocessing = ["zero_mean_unit_variance"]
    try:
        model.save(tmp_path / "model.h5")
    finally:
        model.preprocessing = []
    np.save(tmp_path / "raw.npy", RAW)
    names = [str(tmp_path / name) for name in ("model.h5", "raw.npy", "out.npy")]
    assert cli.main(["predict", *names, "--quiet"]) == cli.DONE
    np.testing.assert_allclose(np.load(names[2]), conv.predict_dense(STANDARD), atol=2e-6)
    assert Path(names[2]).exists()


def test_bad_steps_of_a_model_are_refused():
    model = nm.model_manager.newmodel("bad steps")
    with pytest.raises(NeuromancerError, match="no such step"):
        model.preprocessing = ["zero"]
    assert model.preprocessing == []
    nm.model_manager.delmodel("bad steps")
