"""Arguments of a prediction are validated before any output is created."""

from __future__ import annotations

import shutil
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import h5py
import numpy as np
import pytest

import neuromancer as nm
from neuromancer.dense import Threads
from neuromancer.dense.arguments import STORE_OPTIONS, checked_fill, checked_ranges, require_fill
from neuromancer.errors import (
    ArgumentError,
    FileError,
    InputTypeError,
    NeuromancerError,
    OutOfMemoryError,
    PredictionError,
    ShapeError,
)
from tests.dense.nets import image, plane_net, volume_net

STORES = ("result.npy", "result.h5:/a/b", "result.zarr", "result.tif")
BEYOND_UINT8 = (-1, 256, 1.5, -0.5, float("nan"), float("inf"), 10**30, np.float32(2.5), np.int64(-3))
NO_NUMBERS = (1j, "0", None, [0, 1], np.zeros(2), b"0", (), {})


@pytest.fixture(autouse=True)
def installed(request):
    """Skip cases whose store is an extra that is not installed."""
    values = request.node.callspec.params.values() if hasattr(request.node, "callspec") else ()
    if any("zarr" in str(value) for value in values):
        pytest.importorskip("zarr")


@pytest.fixture(scope="module")
def net():
    return plane_net()


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Folder with an image, in which no file may appear."""
    np.save(tmp_path / "raw.npy", image(1, 18, 19)[0].astype("uint8"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(here, error, call):
    """Return the message of an error; the folder must be unchanged."""
    before = sorted((p.relative_to(here), p.stat().st_mtime_ns) for p in here.rglob("*"))
    with pytest.raises(error) as caught:
        call()
    assert isinstance(caught.value, NeuromancerError)
    assert sorted((p.relative_to(here), p.stat().st_mtime_ns) for p in here.rglob("*")) == before
    return str(caught.value)


# ---- fill value
@pytest.mark.parametrize("out", STORES)
def test_what_the_store_cannot_hold_is_refused_before_there_is_one(net, here, out):
    for fill in BEYOND_UINT8:
        message = refused(
            here, ArgumentError, lambda f=fill: net.predict_dense("raw.npy", out=out, fill=f, as_uint8=True)
        )
        assert message.startswith("'fill'") and "0 to 255" in message
    for fill, reduce in ((np.nan, "argmax"), (0.5, "argmax"), (0.5, ("threshold", 0.5)), (70_000, "uint16")):
        assert "'fill'" in refused(
            here, ArgumentError, lambda f=fill, r=reduce: net.predict_dense("raw.npy", out=out, fill=f, reduce=r)
        )
    assert "'fill'" in refused(here, ArgumentError, lambda: net.predict_dense("raw.npy", out=out, fill=1e300))


@pytest.mark.parametrize("fill", NO_NUMBERS)
def test_what_is_no_number_fills_nothing(net, here, fill):
    assert "'fill'" in refused(here, InputTypeError, lambda: net.predict_dense("raw.npy", out="a.npy", fill=fill))


def test_bools_fill_bools_only():
    require_fill(True, "a", "bool")
    require_fill(1, "a", "bool")
    with pytest.raises(ArgumentError, match=r"'fill'.*got True"):
        require_fill(True, "a", "uint8")
    with pytest.raises(ArgumentError, match=r"got 2; expected whole numbers from 0 to 1"):
        require_fill(2, "a", "bool")


def test_a_number_is_the_same_however_it_is_given():
    assert [repr(checked_fill(f)) for f in (0, 0.0, np.float32(0), np.uint8(0), -1.0)] == ["0"] * 4 + ["-1"]
    assert checked_fill(np.float64(0.25)) == 0.25 and checked_fill(float("inf")) == float("inf")


@pytest.mark.parametrize(
    ("options", "fill", "stored"),
    [
        ({}, -1.5, -1.5),
        ({}, np.nan, np.nan),
        ({"as_uint8": True}, 255, 255),
        ({"as_uint8": True}, 0.5, 127),  # scaled like a prediction of 0.5
        ({"reduce": [1, "uint16"]}, 0.5, 32767),
        ({"reduce": "argmax"}, 7.0, 7),
    ],
)
def test_values_that_are_held_stand_where_nothing_is_predicted(net, options, fill, stored):
    mask = np.ones((18, 19), bool)
    mask[:9] = False
    got = net.predict_dense(image(1, 18, 19), mask=mask, fill=fill, pad_raw=True, **options)
    np.testing.assert_array_equal(got[:, :9], np.full_like(got[:, :9], stored))


# ---- other arguments
def reducing(result):
    def function(values):
        return result(values)

    return function


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"reduce": "uint32"}, ArgumentError),
        ({"reduce": 9}, ArgumentError),
        ({"reduce": [0, -1]}, ArgumentError),
        ({"reduce": ("threshold", float("nan"))}, ArgumentError),
        ({"reduce": ("threshold", True)}, ArgumentError),
        ({"reduce": ["argmax", "uint8"]}, ArgumentError),
        ({"reduce": {}.get}, ArgumentError),
        ({"reduce": reducing(lambda v: v[..., ::2])}, ShapeError),
        ({"reduce": reducing(lambda v: v[..., ::2, :])}, ShapeError),
        ({"reduce": reducing(lambda v: v[0])}, ShapeError),
        ({"reduce": reducing(lambda v: v.tolist())}, ShapeError),
        ({"reduce": reducing(lambda v: None)}, ShapeError),
        ({"reduce": reducing(lambda v: v[:0])}, InputTypeError),
        ({"reduce": reducing(lambda v: v * 1j)}, InputTypeError),
        ({"reduce": reducing(lambda v: v.astype(object))}, InputTypeError),
        ({"reduce": reducing(lambda v: 1 / 0)}, ArgumentError),
        ({"mask": np.ones((7, 19))}, ShapeError),
        ({"mask": np.ones((3, 18, 19))}, ShapeError),
        ({"mask": np.full((18, 19), np.nan)}, ArgumentError),
        ({"shard": (2, 2)}, ArgumentError),
        ({"shard": (0, 0)}, ArgumentError),
        ({"shard": (0.0, 2)}, ArgumentError),
        ({"shard": (True, 2)}, ArgumentError),
        ({"shard": "0/2"}, ArgumentError),
        ({"shard": 3}, ArgumentError),
        ({"tile": (7.9, 8)}, ShapeError),
        ({"tile": "88"}, ShapeError),
        ({"tile": 8}, ShapeError),
        ({"tile": (0, 8)}, ShapeError),
        ({"tile": (8, 8, 8, 8)}, ShapeError),
        ({"tile": ()}, ShapeError),
        ({"roi": [(0, 1.5), None]}, ArgumentError),
        ({"roi": [(0, 3, 1), None]}, ArgumentError),
        ({"roi": [3, None]}, ArgumentError),
        ({"roi": ["ab", None]}, ArgumentError),
        ({"roi": [slice("a"), None]}, ArgumentError),
        ({"roi": [slice(0, 5, 2), None]}, ArgumentError),
        ({"roi": "0:5"}, ArgumentError),
        ({"skip_empty": "Constant"}, ArgumentError),
        ({"skip_empty": True}, ArgumentError),
        ({"skip_empty": float("nan")}, ArgumentError),
        ({"skip_empty": 0.5}, ArgumentError),
        ({"skip_empty": 256}, ArgumentError),
        ({"memory": 0}, ArgumentError),
        ({"memory": float("nan")}, ArgumentError),
        ({"memory": "much"}, ArgumentError),
        ({"memory": [1]}, ArgumentError),
        ({"precision": "f64"}, ArgumentError),
        ({"precision": 32}, ArgumentError),
        ({"augment": "mirror"}, ArgumentError),
        ({"augment": ["flips"]}, ArgumentError),
        ({"on_error": "warn"}, ArgumentError),
        ({"on_error": ["stop"]}, ArgumentError),
        ({"on_nan": "keep", "as_uint8": True}, ArgumentError),
        ({"pad_raw": "no"}, InputTypeError),
        ({"as_uint8": "False"}, InputTypeError),
        ({"resume": "yes"}, InputTypeError),
        ({"threads": 4}, InputTypeError),
        ({"workers": 2}, ArgumentError),
        ({"workers": 0}, ArgumentError),
        ({"retries": -1}, ArgumentError),
        ({"journal": 5}, InputTypeError),
        ({"journal": ""}, InputTypeError),
        ({"store": 5}, InputTypeError),
        ({"store": {"chunkz": (1, 4, 4)}}, ArgumentError),
        ({"store": {"existing": "open"}}, ArgumentError),
        ({"store": {"dtype": "uint8"}}, ArgumentError),
        ({"store": {"axes": 5}}, InputTypeError),
        ({"store": {"chunks": (4, 4)}}, ArgumentError),
        ({"store": {"chunks": (1, 0, 4)}}, ArgumentError),
        ({"store": {"chunks": (1, 4.5, 4)}}, ArgumentError),
        ({"store": {"chunks": 64}}, ArgumentError),
        ({"store": {"chunks": "144"}}, ArgumentError),
        ({"store": {"compression": "lz77"}}, ArgumentError),
        ({"store": {"compression": ["gzip"]}}, InputTypeError),
        ({"store": {"multiscale": "no"}}, InputTypeError),
        ({"store": {"shards": (1, 3, 3), "chunks": (1, 2, 2)}}, ArgumentError),
        ({"store": {"voxel_size": (0, 1)}}, ArgumentError),
    ],
)
@pytest.mark.parametrize("out", STORES)
def test_nothing_is_made_for_arguments_that_cannot_be(net, here, out, options, error):
    name = next(iter(options))
    message = refused(here, error, lambda: net.predict_dense("raw.npy", out=out, **options))
    assert any(word in message for word in (name, "reduc", *STORE_OPTIONS))


def test_options_of_a_store_are_those_of_create_sink():
    assert {"chunks", "shards", "compression", "voxel_size", "unit", "multiscale"} <= set(STORE_OPTIONS)
    assert not {"out", "shape", "dtype", "existing"} & set(STORE_OPTIONS)


def test_what_would_have_no_effect_is_refused(net):
    raw = image(1, 18, 19)
    for options in ({"store": {"chunks": (1, 4, 4)}}, {"journal": "j"}, {"resume": True}, {"shard": (0, 2)}):
        with pytest.raises(ArgumentError):
            net.predict_dense(raw, **options)


def test_nothing_is_made_where_a_kind_of_file_cannot_do_it(net, here):
    for out, store in (
        ("a.h5:x", {"shards": True}),
        ("a.h5:x", {"multiscale": True}),
        ("a.h5:x", {"compression": "blosc"}),
        ("a.zarr", {"compression": "lzf"}),
        ("a.npy", {"compression": "gzip"}),
        ("a.tif", {"shards": True}),
        ("a.npy:x", {}),
        ("a.txt", {}),
        ("missing/a.npy", {}),
    ):
        refused(here, NeuromancerError, lambda o=out, s=store: net.predict_dense("raw.npy", out=o, store=s))


def test_all_outputs_are_looked_at_before_the_first_is_made(here):
    last = volume_net()
    nodes, raw = [last, last.parent.parent], image(1, 12, 20, 21)
    for outs in (
        ["a.zarr"],
        ["a.zarr", "b.zarr", "c.zarr"],
        "a.zarr",
        ["a.zarr", "a.zarr"],
        ["a.zarr", str(here / "a.zarr")],
        ["a.zarr", np.zeros((3, 3, 3, 3), "float32")],
        ["a.zarr", "b.txt"],
        ["a.zarr", "nowhere/b.npy"],
    ):
        refused(here, NeuromancerError, lambda o=outs: nm.predict_dense(nodes, raw, out=o))
    assert "'fill'" in refused(
        here,
        ArgumentError,
        lambda: nm.predict_dense(nodes, raw, out=["a.zarr", "b.zarr"], reduce={last.name: "argmax"}, fill=-1),
    )
    refused(here, ArgumentError, lambda: last.predict_dense(raw, out=["a.zarr"]))


def test_arrays_that_cannot_be_written_to(net):
    raw = image(1, 18, 19)
    out = np.zeros_like(net.predict_dense(raw))
    out.flags.writeable = False
    with pytest.raises(InputTypeError, match="cannot be written to"):
        net.predict_dense(raw, out=out)


def test_what_other_processes_cannot_have_is_refused_before_there_is_a_result(net, here):
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:  # starts no process without a task
        for raw, options in (("raw.npy", {"reduce": reducing(lambda v: v)}), (image(1, 18, 19), {})):
            refused(
                here,
                ArgumentError,
                lambda r=raw, o=options: net.predict_dense(r, out="a.zarr", executor=pool, **o),
            )


def test_executors_that_were_made_in_vain_are_ended(net, here):
    made = []

    def make():
        made.append(ProcessPoolExecutor(1, get_context("spawn")))
        return made[-1]

    refused(
        here, ArgumentError, lambda: net.predict_dense("raw.npy", out="a.npy", executor=make, fill=-1, as_uint8=True)
    )
    with pytest.raises(RuntimeError, match="after shutdown"):
        made[0].submit(int)


@pytest.mark.parametrize("settings", [(-1, 0, 1, 1), (0, -1, 1, 1), (0, 0, 0, 1), (0, 0, 1, 0), (0.5, 0, 1, 1)])
def test_threads_that_cannot_be(settings):
    with pytest.raises(ArgumentError, match="threads"):
        Threads(*settings)


def test_numbers_of_numpy_are_numbers(net):
    raw = image(1, 18, 19)
    want = net.predict_dense(raw, roi=[(2, 9), None], tile=(4, 5))
    got = net.predict_dense(
        raw,
        roi=[(np.int64(2), np.int32(9)), slice(np.int64(0), None, np.int64(1))],
        tile=np.array([4, 5]),
        memory=np.float64(1e9),
        pad_raw=np.False_,
    )
    np.testing.assert_array_equal(got, want)
    assert checked_ranges([None, (np.uint8(1), None)], (3, 4)) == [(0, 3), (1, 4)]
    np.testing.assert_array_equal(
        net.predict_dense(raw, reduce=("threshold", np.float32(0.5))), net.predict_dense(raw, reduce=("threshold", 0.5))
    )


def test_a_mask_of_nothing_gives_the_filling(net):
    got = net.predict_dense(image(1, 18, 19), mask=np.zeros((18, 19), bool), fill=3, as_uint8=True, pad_raw=True)
    assert got.shape[1:] == (18, 19) and (got == 3).all()


def test_a_stored_mask_with_nan_stops_where_it_is_read(net, here):
    mask = np.ones((18, 19), "float32")
    mask[12, 3] = np.nan
    with h5py.File("mask.h5", "w") as file:
        file["m"] = mask
    with pytest.raises(NeuromancerError, match="the mask contains values that are not a number"):
        net.predict_dense("raw.npy", mask="mask.h5:m")


# ---- values
def test_integers_never_hold_what_is_not_a_number(net):
    raw = image(1, 18, 19).astype("float32")
    raw[0, 9, 9] = np.nan
    assert np.isnan(net.predict_dense(raw)).any()
    for options in ({"as_uint8": True}, {"reduce": "uint16"}):
        with pytest.raises(PredictionError, match="not a number"):
            net.predict_dense(raw, **options)


def test_a_function_that_changes_its_mind_is_found_out(net):
    calls = []

    def moody(values):
        calls.append(1)
        return values if len(calls) == 1 else values.astype("float64")

    with pytest.raises(PredictionError, match=r"another shape or dtype than in its trial.*float64"):
        net.predict_dense(image(1, 18, 19), reduce=moody)


def test_functions_get_blocks_of_the_right_axes():
    seen = []

    def look(values):
        seen.append(values.ndim)
        return values

    volume_net().predict_dense(image(1, 12, 20, 21), reduce=look)
    assert set(seen) == {5}


def test_images_keep_their_values_on_the_way_into_the_network(fresh_model):
    counts = nm.Input((1, 1, 4, 4), "b,f,y,x", dtype="uint8", name="counts", print_repr=False)
    same = nm.ApplyFunc(counts, lambda v: v + 0, name="same", print_repr=False)
    raw = np.arange(64, dtype="uint16").reshape(1, 8, 8)
    np.testing.assert_array_equal(same.predict_dense(raw), raw)
    with pytest.raises(NeuromancerError, match=r"the image does not fit uint8, .*got 300;"):
        same.predict_dense(raw + 237)
    with pytest.raises(InputTypeError, match="another kind of dtype"):
        same.predict_dense(raw.astype("float32"))


def test_floats_beyond_single_precision_are_refused(net):
    raw = image(1, 18, 19).astype("float64")
    raw[0, 3, 3] = 1e300
    with pytest.raises(NeuromancerError, match=r"does not fit float32, .*got 1e\+300;"):
        net.predict_dense(raw)
    raw[0, 3, 3] = 1e-300  # rounds to 0
    assert np.isfinite(net.predict_dense(raw)).all()


# ---- plans
@pytest.mark.parametrize(
    ("image_", "options", "error"),
    [
        ((1, 0, 19), {}, ShapeError),
        ((1, -5, 19), {}, ShapeError),
        ((1, 10**12, 10**12), {}, ShapeError),
        ((1, 10**30, 19), {}, ShapeError),
        ((1, 18, 19), {"chunks": (4, 4)}, ShapeError),
        ((1, 18, 19), {"chunks": (1, 0, 4)}, ShapeError),
        ((1, 18, 19), {"chunks": (1, 2.5, 4)}, ShapeError),
        ((1, 18, 19), {"dtype": "float99"}, InputTypeError),
        ((1, 18, 19), {"dtype": "complex64"}, InputTypeError),
        ((1, 18, 19), {"tile": (1.5, 4)}, ShapeError),
        ((1, 18, 19), {"as_uint8": "no"}, InputTypeError),
    ],
)
def test_plans_that_cannot_be(net, image_, options, error):
    with pytest.raises(error):
        net.plan_dense(image_, **options)


def test_a_shape_may_be_of_numpy_integers(net):
    assert str(net.plan_dense((np.int64(1), np.int32(18), 19))) == str(net.plan_dense((1, 18, 19)))


# ---- arguments of other types, and out of range
def fails(values):
    raise AssertionError("is not called")


WRONG = {
    "reduce": [{1: "uint8", "a": "argmax"}, {None: fails}],
    "axes": [5, ["c", "y", "x"], object()],
    "memory": [10**400, "9" * 400, float("inf"), float("nan"), -1, [1]],
    "executor": [lambda: 5, int, 5],
    "progress": ["no", "False", 2, [True]],
    "store": [{"spatial": "xy"}, {"spatial": None}, {"existing": "open"}, {"shape": (1, 2)}, {"direction": 5}, {1: 2}],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_arguments_that_mean_nothing_are_refused_before_anything_is_made(net, here, name, value):
    refused(here, (ArgumentError, InputTypeError), lambda: net.predict_dense("raw.npy", out="r.npy", **{name: value}))


def test_a_result_that_no_memory_holds(net, here):
    zarr = pytest.importorskip("zarr")
    zarr.create_array("huge.zarr", shape=[10**9] * 2, chunks=[64] * 2, dtype="u1")
    message = refused(here, OutOfMemoryError, lambda: net.predict_dense("huge.zarr"))
    assert "GB" in message and "out=" in message


def test_names_of_arrays_in_a_file(net, here):
    for name in ("r.h5:/.", "r.h5:..", "r.h5:a/../b"):
        refused(here, ArgumentError, lambda name=name: net.predict_dense("raw.npy", out=name))
    for name in ("r.h5:/c/d", "r.h5:/c.d", "r.h5:/c//e.f/./g"):
        net.predict_dense("raw.npy", out=name)
        net.predict_dense("raw.npy", out=name, resume=True)
    with h5py.File("r.h5") as file:
        np.testing.assert_array_equal(file["c/d"][()], file["c.d"][()])
        np.testing.assert_array_equal(file["c/d"][()], file["c/e.f/g"][()])


def test_a_journal_under_its_name_of_earlier_versions(net, here):
    net.predict_dense("raw.npy", out="r.h5:/c.d")
    (here / "r.h5.c%2Ed.progress").rename(here / "r.h5.c.d.progress")
    net.predict_dense("raw.npy", out="r.h5:/c.d", resume=True)
    with pytest.raises(FileError, match="there is a prediction already"):
        net.predict_dense("raw.npy", out="r.h5:/c.d")
    assert not (here / "r.h5.c%2Ed.progress").exists()


def test_functions_may_return_any_order_of_bytes(net, here):
    want = net.predict_dense("raw.npy")
    for function in (lambda v: v.astype(">f4"), [lambda v: v.astype(">f4"), lambda v: v + 0]):
        net.predict_dense("raw.npy", out="r.npy", reduce=function, journal="j", resume=False)
        found = np.load("r.npy")
        assert found.dtype.isnative
        np.testing.assert_array_equal(found, want)
        (here / "r.npy").unlink()
        shutil.rmtree(here / "j")


def test_results_that_no_memory_holds(fresh_model):
    array = pytest.importorskip("dask.array", reason="dask is an extra")
    node = volume_net()
    huge = array.zeros((1, *(10**5,) * 3), dtype="uint8", chunks=1000)
    with pytest.raises(OutOfMemoryError, match=r"the result does not fit into the memory.*expected out"):
        node.predict_dense(huge)
    with pytest.raises(ShapeError, match="too many voxels"):
        node.plan_dense(array.zeros((1, *(10**7,) * 3), dtype="uint8", chunks=10**6))
