"""Statistics of the whole image: at once and in passes, the answer is that of the network on the whole image."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import neuromancer as nm
from neuromancer.dense.gather_sink import GatherSink
from neuromancer.dense.volume import VolumePrediction
from neuromancer.errors import ArgumentError, FileError, GraphError, PredictionError
from neuromancer.graph.statistics import FeatureStatistics

QUIET = {"print_repr": False}
SPAWN = multiprocessing.get_context("spawn")


def blocks(ndim=2, padded=True, features=4):
    """Encoder and decoder with all kinds of nodes that depend on the whole image."""
    tags = "b,f," + ",".join("zyx"[3 - ndim :])
    mode = {"conv_mode": "same"} if padded else {}
    two = (2,) * ndim
    x = nm.Input((None, 1, *[None] * ndim), tags, **QUIET)
    high = nm.Conv(x, features, (3,) * ndim, activation_func="lin", **mode, **QUIET)
    high = nm.InstanceNorm(high, affine=True, gamma=np.linspace(0.5, 2, features), name="fine", **QUIET)
    high = nm.Activation(high, "relu", **QUIET)
    low = nm.Conv(high, features, (3,) * ndim, pool_shape=two, activation_func="tanh", conv_mode="same", **QUIET)
    low = nm.GroupNorm(low, 2, name="coarse", **QUIET)
    gate = nm.Conv(nm.GlobalPool(low, name="pooled", **QUIET), features, (1,) * ndim, activation_func="sig", **QUIET)
    low = nm.Product([low, gate], **QUIET)
    up = nm.UpConv(low, features, two, **QUIET)
    joined = nm.Concat([up, high], **QUIET) if padded else up
    joined = nm.LayerNorm(joined, tags[2:], affine=False, name="layer", **QUIET)
    joined = nm.BatchNorm(nm.Activation(joined, "elu", **QUIET), track_running_stats=False, name="batch", **QUIET)
    return nm.Conv(joined, 3, (1,) * ndim, activation_func="lin", name="result", **QUIET)


@pytest.fixture(scope="module")
def plane():
    nm.model_manager.newmodel("volume statistics")
    yield blocks()
    nm.model_manager.delmodel("volume statistics")


@pytest.fixture
def kept(monkeypatch):
    """Make every prediction keep its activations in files."""
    monkeypatch.setattr(VolumePrediction, "_keeping_pays", lambda self, plan: len(self.frames) == 1)


def image(*shape, seed=0):
    return np.random.default_rng(seed).normal(3, 1, shape).astype("float32")


def close(values, expected):
    return np.abs(values - expected).max() <= 1e-5 * np.abs(expected).max()


RAW = image(1, 36, 44)


@pytest.fixture(scope="module")
def expected(plane):
    return plane.infer(RAW[None])[0]


def test_without_a_choice_all_nodes_are_named_and_both_ways_offered(plane):
    with pytest.raises(GraphError) as found:
        plane.predict_dense(RAW)
    text = str(found.value)
    assert all(repr(name) in text for name in ("fine", "coarse", "pooled", "layer", "batch"))
    assert "statistics='volume'" in text and "sliding_window=" in text


def test_another_choice_is_refused_with_the_nearest(plane):
    with pytest.raises(ArgumentError, match="'volume'"):
        plane.predict_dense(RAW, statistics="volumes")


def test_at_once(plane, expected):
    assert close(plane.predict_dense(RAW, statistics="volume"), expected)
    assert nm.plan_dense(plane, RAW, statistics="volume").passes == ()


@pytest.mark.parametrize("tile", [(36, 44), (8, 12), (15, 9), (2, 44)])
def test_passes_for_any_tile(plane, expected, tile):
    assert close(plane.predict_dense(RAW, statistics="volume", tile=tile), expected)


def test_passes_with_activations_in_files(plane, expected, kept):
    plan = plane.plan_dense(RAW, statistics="volume", tile=(15, 20))
    assert len(plan.passes) == 5 and "5 passes of" in str(plan)
    assert sum(p.products for p in plan.passes) < 2 * plane.plan_dense(RAW, statistics="volume").products
    assert close(plane.predict_dense(RAW, statistics="volume", tile=(15, 20)), expected)


@settings(max_examples=6, deadline=None)
@given(st.tuples(st.integers(4, 20), st.integers(4, 20)), st.integers(4, 12), st.integers(4, 12), st.booleans())
def test_any_size_and_tile(plane, tile, height, width, keep):
    raw = image(1, 2 * height, 2 * width, seed=height)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VolumePrediction, "_keeping_pays", lambda self, plan: keep)
        assert close(plane.predict_dense(raw, statistics="volume", tile=tile), plane.infer(raw[None])[0])


def test_memory_decides(plane):
    raw = image(1, 120, 160)
    memory = int(plane.plan_dense(raw, statistics="volume").memory)
    plan = plane.plan_dense(raw, statistics="volume", memory=memory)
    assert len(plan.passes) == 5 and max(p.memory for p in (plan, *plan.passes)) < memory
    assert plan.seconds() > 0
    assert close(plane.predict_dense(raw, statistics="volume", memory=memory), plane.infer(raw[None])[0])


@pytest.mark.parametrize("keep", [False, True])
def test_valid_convolutions_in_three_dimensions(keep, monkeypatch):
    monkeypatch.setattr(VolumePrediction, "_keeping_pays", lambda self, plan: keep)
    node = blocks(3, padded=False, features=2)
    raw = image(1, 12, 14, 16)
    expected = node.infer(raw[None])[0]
    assert expected.shape[1:] == (10, 12, 14)
    assert close(node.predict_dense(raw, statistics="volume", tile=(4, 5, 6)), expected)


def test_images_that_need_mirroring(plane, kept):
    raw = image(1, 35, 41)
    mirrored = np.pad(raw, [(0, 0), (0, 1), (0, 1)], mode="symmetric")
    expected = plane.infer(mirrored[None])[0][:, :35, :41]
    assert close(plane.predict_dense(raw, statistics="volume", pad_raw=True, tile=(11, 40)), expected)
    assert close(plane.predict_dense(raw, statistics="volume", pad_raw=True), expected)


def test_every_image_of_a_stack_has_its_own_statistics(plane, kept):
    raw = image(1, 5, 20, 16) * np.arange(1, 6, dtype="float32")[:, None, None]
    expected = np.stack([plane.infer(raw[None, :, z])[0] for z in range(5)], axis=1)
    assert close(plane.predict_dense(raw, statistics="volume"), expected)
    assert close(plane.predict_dense(raw, statistics="volume", tile=(2, 7, 9)), expected)
    part = plane.predict_dense(raw, statistics="volume", tile=(2, 7, 9), roi=((1, 4), None, (3, 9)))
    assert close(part, expected[:, 1:4, :, 3:9])


def test_a_region_has_the_statistics_of_the_whole_image(plane, expected):
    roi = ((5, 20), (30, 41))
    for options in ({}, {"tile": (6, 7)}):
        found = plane.predict_dense(RAW, statistics="volume", roi=roi, **options)
        assert close(found, expected[:, 5:20, 30:41])


@pytest.mark.parametrize("augment", ["flips", "rotations"])
def test_views_have_their_own_statistics(plane, augment):
    raw = image(1, 20, 20)
    turns = {
        "flips": [lambda a, axes=axes: np.flip(a, axes) for axes in ((), (-1,), (-2,), (-1, -2))],
        "rotations": [lambda a, k=k: np.rot90(a, k, (-2, -1)) for k in range(4)],
    }[augment]
    back = turns if augment == "flips" else [lambda a, k=k: np.rot90(a, -k, (-2, -1)) for k in range(4)]
    views = [undo(plane.infer(turn(raw).copy()[None])[0]) for turn, undo in zip(turns, back, strict=True)]
    expected = np.mean(views, axis=0)
    for options in ({}, {"tile": (9, 12)}):
        assert close(plane.predict_dense(raw, statistics="volume", augment=augment, **options), expected)


def test_masks_and_reductions_are_those_of_the_result(plane, expected):
    mask = np.zeros(RAW.shape[1:], bool)
    mask[3:20, 5:30] = True
    found = plane.predict_dense(RAW, statistics="volume", tile=(9, 9), mask=mask, reduce="argmax", fill=7)
    assert (found[0] == np.where(mask, expected.argmax(axis=0), 7)).mean() > 0.999


def test_several_nodes_together(plane, expected, kept):
    inner = next(n for n in plane.sub_graph() if n.name == "fine")
    both = nm.predict_dense([inner, plane], RAW, statistics="volume", tile=(12, 12))
    assert close(both[1], expected) and close(both[0], inner.infer(RAW[None])[0])


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_pooled_images_are_repeated_to_the_size_of_another_node(kept, mode):
    x = nm.Conv(nm.Input((None, 1, None, None), "b,f,y,x", **QUIET), 3, (3, 3), conv_mode="same", **QUIET)
    pooled = nm.Conv(nm.GlobalPool(x, **QUIET), 2, (1, 1), activation_func="tanh", **QUIET)
    node = nm.Concat([x, nm.Upsample(pooled, size=x, mode=mode, **QUIET)], **QUIET)
    node, raw = nm.Conv(node, 2, (3, 3), activation_func="lin", **QUIET), image(1, 15, 20)
    expected = node.infer(raw[None])[0]
    for options in ({}, {"tile": (6, 7)}):
        assert close(node.predict_dense(raw, statistics="volume", **options), expected)


def test_positions_that_depend_on_the_size_of_the_image_need_the_memory():
    x = nm.Conv(nm.Input((None, 1, None, None), "b,f,y,x", **QUIET), 2, (3, 3), (2, 2), conv_mode="same", **QUIET)
    node = nm.Upsample(x, 2, mode="linear", align_corners=True, name="corners", **QUIET)
    raw = image(1, 20, 24)
    assert close(node.predict_dense(raw, statistics="volume"), node.infer(raw[None])[0])
    with pytest.raises(GraphError, match=r"'corners' interpolates.*statistics='volume'"):
        node.predict_dense(raw)
    with pytest.raises(ArgumentError, match=r"'corners'.*at once does not fit"):
        node.predict_dense(raw, statistics="volume", memory=2000)


def test_an_exact_network_needs_no_statistics():
    node = nm.Conv(nm.Input((None, 1, None, None), "b,f,y,x", **QUIET), 2, (3, 3), **QUIET)
    raw = image(1, 12, 13)
    assert (node.predict_dense(raw, statistics="volume") == node.predict_dense(raw)).all()


def test_a_result_on_a_coarser_grid_is_refused():
    node = nm.Conv(nm.Input((None, 1, None, None), "b,f,y,x", **QUIET), 2, (3, 3), (2, 2), **QUIET)
    with pytest.raises(GraphError, match="no result between"):
        nm.InstanceNorm(node, **QUIET).predict_dense(image(1, 12, 12), statistics="volume")


def test_what_statistics_cannot_replace_needs_the_memory():
    node = nm.Conv(nm.Input((None, 1, 20, 24), "b,f,y,x", **QUIET), 2, (3, 3), conv_mode="same", **QUIET)
    node = nm.LayerNorm(node, "x", affine=False, name="rows", **QUIET)
    raw = image(1, 20, 24)
    assert close(node.predict_dense(raw, statistics="volume"), node.infer(raw[None])[0])
    with pytest.raises(ArgumentError, match=r"'rows'.*at once does not fit"):
        node.predict_dense(raw, statistics="volume", memory=2000)


# ---- results in files
def folder_of(out):
    return out.with_name(out.name + ".progress")


def test_a_result_in_a_file_leaves_nothing_else_behind(plane, expected, tmp_path, kept):
    out = tmp_path / "out.npy"
    plane.predict_dense(RAW, out=out, statistics="volume", tile=(12, 12))
    assert close(np.load(out), expected)
    assert [p.name for p in folder_of(out).iterdir()] == ["run.json"]


@pytest.mark.parametrize("moment", [3, 30, 50])
def test_an_interrupted_prediction_goes_on(plane, expected, tmp_path, kept, monkeypatch, moment):
    out, done = tmp_path / "out.npy", []
    start = type(plane).predict_dense

    def stopping(self, where, values, write):
        done.append(where)
        if len(done) == moment:
            raise OSError(28, "no space left")
        write(self, where, values)

    write = GatherSink.__setitem__
    with monkeypatch.context() as patch:
        patch.setattr(GatherSink, "__setitem__", lambda self, where, values: stopping(self, where, values, write))
        with pytest.raises(FileError, match="cannot be written"):
            start(plane, RAW, out=out, statistics="volume", tile=(12, 12))
    assert not out.exists()
    with pytest.raises(FileError, match="resume=True"):
        start(plane, RAW, out=out, statistics="volume", tile=(12, 12))
    with pytest.raises(FileError, match="another image"):
        start(plane, RAW + 1, out=out, statistics="volume", resume=True)
    before = len(done)
    with monkeypatch.context() as patch:
        patch.setattr(GatherSink, "__setitem__", lambda self, where, values: stopping(self, where, values, write))
        start(plane, RAW, out=out, statistics="volume", resume=True)
    plan = plane.plan_dense(RAW, statistics="volume", tile=(12, 12))
    assert len(done) - before <= sum(p.count for p in plan.passes) - moment + 8
    assert close(np.load(out), expected)


def test_kills_in_the_middle_of_passes(plane, expected, tmp_path):
    out, kills = tmp_path / "out.npy", 0
    for attempt in range(40):
        child = os.fork()
        if child == 0:
            VolumePrediction._keeping_pays = lambda self, plan: True
            plane.predict_dense(RAW, out=out, statistics="volume", tile=(8, 8), resume=attempt > 0)
            os._exit(0)
        time.sleep(0.03 + 0.05 * attempt)
        os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        kills += os.WIFSIGNALED(status)
        if os.WIFEXITED(status):
            break
    assert kills >= 2 and close(np.load(out), expected)


def test_a_finished_prediction_can_be_called_again(plane, expected, tmp_path, monkeypatch):
    for keep in (False, True):
        monkeypatch.setattr(VolumePrediction, "_keeping_pays", lambda self, plan, keep=keep: keep)
        out = tmp_path / f"{keep}.npy"
        plane.predict_dense(RAW, out=out, statistics="volume", tile=(12, 12))
        plane.predict_dense(RAW, out=out, statistics="volume", resume=True)
        plane.predict_dense(RAW, out=out, statistics="volume", shard=(1, 3))
        with pytest.raises(FileError, match="another image"):
            plane.predict_dense(RAW + 1, out=out, statistics="volume", resume=True)
        with pytest.raises(FileError, match="another plan"):
            plane.predict_dense(RAW, out=out, statistics="volume", resume=True, tile=(9, 9))
        assert close(np.load(out), expected)
        assert [p.name for p in folder_of(out).iterdir()] == ["run.json"]


@pytest.fixture
def interrupted(plane, tmp_path, kept, monkeypatch):
    """A result of which the second of the passes whose values are kept was interrupted."""
    out, done = tmp_path / "out.npy", []
    write = GatherSink.__setitem__

    def stopping(self, where, values):
        done.append(where)
        if len(done) == 50:
            raise OSError(28, "no space left")
        write(self, where, values)

    with monkeypatch.context() as patch:
        patch.setattr(GatherSink, "__setitem__", stopping)
        with pytest.raises(FileError):
            plane.predict_dense(RAW, out=out, statistics="volume", tile=(12, 12))
    return out


def _cut(path):
    path.write_bytes(path.read_bytes()[:-3])


def _link(path):
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


DAMAGES = {
    "a link": _link,
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "removed": lambda path: path.unlink(),
    "cut": _cut,
    "empty": lambda path: path.write_bytes(b""),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "garbage": lambda path: path.write_bytes(b"\xff" * path.stat().st_size),
}


FILES = ["1/0.statistics", "4/0.statistics", "5/0.statistics", "4/0.values", "5/0.values"]
# The content of values is not checked, like that of a result.
DAMAGED = [(file, damage) for file in FILES for damage in DAMAGES if (file[4:], damage) != ("values", "garbage")]


@pytest.mark.parametrize(("file", "damage"), DAMAGED)
def test_damaged_statistics_are_noticed(plane, interrupted, file, damage):
    path = folder_of(interrupted) / "statistics" / f"pass-{file}"
    DAMAGES[damage](path)
    with pytest.raises(FileError, match=f"pass-{file}") as found:
        plane.predict_dense(RAW, out=interrupted, statistics="volume", resume=True)
    assert damage == "a folder" or f"remove {folder_of(interrupted) / 'statistics'}" in str(found.value)


def test_statistics_that_were_removed_are_gathered_again(plane, expected, interrupted):
    shutil.rmtree(folder_of(interrupted) / "statistics")
    plane.predict_dense(RAW, out=interrupted, statistics="volume", resume=True)
    assert close(np.load(interrupted), expected)


def test_a_pass_that_begins_anew_does_not_read_old_files(plane, expected, interrupted):
    folder = folder_of(interrupted) / "statistics"
    (folder / "pass-1" / "run.json").unlink()
    (folder / "pass-1" / "0.statistics").write_bytes(b"more than a pass over one tile writes" * 100)
    plane.predict_dense(RAW, out=interrupted, statistics="volume", resume=True)
    assert close(np.load(interrupted), expected)


def test_whoever_is_first_chooses_the_mode(plane, expected, tmp_path, monkeypatch):
    modes = {"at once": "passes", "passes": "at once", "passes, values kept": "passes"}
    for first, second in modes.items():
        out, begun = tmp_path / f"{first}.npy", []

        def chosen(self, first=first, second=second, out=out, begun=begun):
            if not begun:  # before this process begins, another one does
                begun.append(first)
                plane.predict_dense(RAW, out=out, statistics="volume", tile=(12, 12), shard=(0, 2))
                return second
            return first

        monkeypatch.setattr(VolumePrediction, "_chosen", chosen)
        plane.predict_dense(RAW, out=out, statistics="volume", tile=(12, 12), shard=(1, 2))
        assert json.loads((folder_of(out) / "run.json").read_text())["fingerprints"]["mode"] == first
        assert close(np.load(out), expected)


def test_shards_at_once_of_what_statistics_cannot_replace(tmp_path):
    node = nm.LayerNorm(nm.Input((None, 1, 20, 24), "b,f,y,x", **QUIET), "x", affine=False, **QUIET)
    raw, out = image(1, 20, 24), tmp_path / "out.npy"
    with pytest.raises(ArgumentError, match="fill"):
        node.predict_dense(raw, out=out, statistics="volume", shard=(0, 2), fill=300, reduce="argmax")
    assert not list(tmp_path.iterdir())
    for i in (1, 0):
        node.predict_dense(raw, out=out, statistics="volume", shard=(i, 2))
    assert close(np.load(out), node.infer(raw[None])[0])
    assert [p.name for p in folder_of(out).iterdir()] == ["run.json"]


def test_another_region_is_not_what_was_begun(plane, interrupted):
    for options in ({"roi": ((0, 5), None)}, {"augment": "flips"}, {"reduce": "argmax"}):
        with pytest.raises(FileError, match="belongs to a prediction with another"):
            plane.predict_dense(RAW, out=interrupted, statistics="volume", resume=True, **options)


def test_memory_for_the_blocks_of_the_store_is_asked_for_before_anything_is_created(plane, tmp_path):
    pytest.importorskip("zarr")
    raw, out = image(1, 120, 160), tmp_path / "out.zarr"
    memory = int(plane.plan_dense(raw, statistics="volume").memory / 4)
    with pytest.raises(ArgumentError, match="blocks of the store"):
        plane.predict_dense(raw, out=out, statistics="volume", memory=memory)
    assert not list(tmp_path.iterdir())


def test_branches_of_different_depth(kept):
    x = nm.Conv(nm.Input((None, 1, None, None), "b,f,y,x", **QUIET), 2, (3, 3), conv_mode="same", **QUIET)
    side = nm.InstanceNorm(nm.Conv(x, 2, (1, 1), **QUIET), **QUIET)
    deep = nm.InstanceNorm(nm.Conv(x, 2, (3, 3), conv_mode="same", **QUIET), **QUIET)
    deep = nm.InstanceNorm(nm.Conv(deep, 2, (3, 3), conv_mode="same", **QUIET), **QUIET)
    node, raw = nm.Sum([side, deep], **QUIET), image(1, 20, 24)
    assert close(node.predict_dense(raw, statistics="volume", tile=(9, 10)), node.infer(raw[None])[0])


def test_shards_share_the_work(plane, expected, tmp_path, kept):
    out = tmp_path / "out.npy"
    for i in (2, 0, 1):
        plane.predict_dense(RAW, out=out, statistics="volume", tile=(12, 12), shard=(i, 3))
    assert close(np.load(out), expected)
    assert [p.name for p in folder_of(out).iterdir()] == ["run.json"]


def test_other_circumstances_do_not_change_what_was_begun(plane, expected, tmp_path, monkeypatch):
    raw = RAW * 1
    for begun, other in (("at once", "passes"), ("passes", "at once")):
        out = tmp_path / f"{begun}.npy"
        with monkeypatch.context() as patch:
            patch.setattr(VolumePrediction, "_chosen", lambda self, begun=begun: begun)
            plane.predict_dense(raw, out=out, statistics="volume", shard=(0, 2), tile=(36, 20))
        header = json.loads((folder_of(out) / "run.json").read_text())
        monkeypatch.setattr(VolumePrediction, "_chosen", lambda self, other=other: other)
        plane.predict_dense(raw, out=out, statistics="volume", resume=True, tile=(36, 20))
        after = json.loads((folder_of(out) / "run.json").read_text())
        assert after["fingerprints"] == header["fingerprints"] and close(np.load(out), expected)


def test_executors(plane, expected, tmp_path, kept):
    raw = tmp_path / "raw.npy"
    np.save(raw, RAW)
    with ThreadPoolExecutor(2) as pool:
        assert close(plane.predict_dense(raw, statistics="volume", tile=(12, 12), executor=pool), expected)
    with ProcessPoolExecutor(1, mp_context=SPAWN) as pool:
        plane.predict_dense(raw, out=tmp_path / "once.npy", statistics="volume", executor=pool)
        plane.predict_dense(raw, out=tmp_path / "passes.npy", statistics="volume", tile=(18, 22), executor=pool)
    assert close(np.load(tmp_path / "once.npy"), expected) and close(np.load(tmp_path / "passes.npy"), expected)


def test_nan_stops_in_the_pass_that_finds_it(plane, tmp_path):
    raw = RAW.copy()
    raw[0, 3, 4] = np.nan
    with pytest.raises(PredictionError, match="NaN"):
        plane.predict_dense(raw, out=tmp_path / "out.npy", statistics="volume", tile=(12, 12))
    assert not (tmp_path / "out.npy").exists()


def test_large_means_lose_no_precision(plane):
    norm = nm.InstanceNorm(nm.Input((None, 1, None), "b,f,x", **QUIET), **QUIET)
    raw = (image(1, 400) * 0.01 + 1000).astype("float32")
    exact = raw.astype("float64")
    expected = (exact - exact.mean()) / np.sqrt(exact.var() + 1e-5)
    assert np.abs(norm.predict_dense(raw, statistics="volume", tile=(50,)) - expected).max() < 1e-4


@pytest.mark.parametrize("options", [{"tile": (12, 16)}, {"sliding_window": nm.SlidingWindow((16, 16))}])
def test_preprocessing_comes_first(plane, tmp_path, kept, options):
    options = options if "sliding_window" in options else {**options, "statistics": "volume"}
    raw = (RAW * 20).astype("uint8")
    ready = (raw - raw.mean(dtype="float64")) / (raw.std(dtype="float64") + 1e-6)
    expected = plane.predict_dense(ready.astype("float32"), **options)
    step = "zero_mean_unit_variance"
    assert close(plane.predict_dense(raw, preprocess=step, **options), expected)
    plane.predict_dense(raw, preprocess=step, out=tmp_path / "out.npy", **options)
    assert close(np.load(tmp_path / "out.npy"), expected)


def test_statistics_of_parts_are_those_of_the_whole():
    values = np.random.default_rng(0).normal(1e7, 1, (4, 200_000)) + np.arange(4)[:, None]
    found = FeatureStatistics.of(values[:, :70_000]) + FeatureStatistics.of(values[:, 70_000:])
    np.testing.assert_allclose(found.mean, values.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(found.variance, values.var(axis=1), rtol=1e-7)
    pairs = values.reshape(2, -1)
    np.testing.assert_allclose(found.over_groups(2).variance, pairs.var(axis=1).repeat(2), rtol=1e-7)
    assert (found.maxima == values.max(axis=1)).all()
