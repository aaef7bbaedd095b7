"""Sliding-window prediction: equal to MONAI and to nnU-Net's rule, for all networks, images and options."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import neuromancer as nm
from neuromancer.errors import ArgumentError, GraphError, IncompleteWarning, InputTypeError, PredictionError, ShapeError
from neuromancer.utils import seed
from tests.dense.test_sliding_window import nnunet_starts, nnunet_weights

RNG = np.random.default_rng(0)
BEGINNING = RNG.bit_generator.state


@pytest.fixture(autouse=True)
def same_images():
    """Each test draws the same images whatever ran before: their errors are in proportion to random values."""
    RNG.bit_generator.state = BEGINNING


def whole_net(ndim=2, channels=2, classes=3):
    """Convolutions with instance norm and squeeze-excite: statistics of all that it sees; same size."""
    tags = "b,f," + ",".join("zyx"[-ndim:])
    node = nm.Input((None, channels, *(None,) * ndim), tags, print_repr=False)
    node = nm.Conv(node, 4, (3,) * ndim, conv_mode="same", activation_func="tanh", print_repr=False)
    node = nm.InstanceNorm(node, print_repr=False)
    node = nm.Product([node, nm.GlobalPool(node, "max", print_repr=False)], print_repr=False)
    return nm.Conv(node, classes, (1,) * ndim, activation_func="lin", name="scores", print_repr=False)


def exact_net(pool=1, mode="valid"):
    node = nm.Input((None, 1, 18, 18), "b,f,y,x", print_repr=False)
    node = nm.Conv(node, 3, (3, 3), (pool, pool), conv_mode=mode, activation_func="tanh", print_repr=False)
    return nm.Conv(node, 2, (3, 3), conv_mode=mode, activation_func="lin", print_repr=False)


@pytest.fixture(scope="module")
def planes():
    seed(0)
    return whole_net()


@pytest.fixture(scope="module")
def volumes():
    seed(0)
    return whole_net(3, 1, 2)


def by_monai(node, raw, window):
    """Patches by the node in float32, blended by MONAI in float64."""
    torch, inferers = pytest.importorskip("torch"), pytest.importorskip("monai.inferers")
    got = inferers.sliding_window_inference(
        torch.from_numpy(np.ascontiguousarray(raw[None])).double(),
        window.patch,
        3,
        lambda x: torch.from_numpy(node.infer(x.numpy().astype("float32"))).double(),
        overlap=window.overlap,
        mode=window.weights,
        sigma_scale=window.sigma,
        padding_mode=window.padding,
        cval=window.padding_value,
    )
    return got[0].numpy()


def by_nnunet(node, raw, patch, step, mirror):
    """nnU-Net's predictor in float32: padding with zeros, even steps, mirrored evaluations, Gaussian weights."""
    more = [max(0, p - n) for p, n in zip(patch, raw.shape[1:], strict=True)]
    padded = np.pad(raw, [(0, 0), *((m // 2, m - m // 2) for m in more)])
    weights = nnunet_weights(patch)
    sums, total = np.zeros((node.shape["f"], *padded.shape[1:])), np.zeros(padded.shape[1:])
    axes = [nnunet_starts(n, p, step) for n, p in zip(padded.shape[1:], patch, strict=True)]
    views = [c for n in range(len(mirror) + 1) for c in itertools.combinations([a + 1 for a in mirror], n)]
    for start in itertools.product(*axes):
        where = tuple(slice(a, a + p) for a, p in zip(start, patch, strict=True))
        block = padded[(slice(None), *where)]
        found = [np.flip(node.infer(np.flip(block, view)[None].copy())[0], view) for view in views]
        sums[(slice(None), *where)] += np.mean(found, axis=0) * weights
        total[where] += weights
    crop = tuple(slice(m // 2, m // 2 + n) for m, n in zip(more, raw.shape[1:], strict=True))
    return (sums / total)[(slice(None), *crop)]


def agree(got, want):
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)


# ---- the published conventions
@pytest.mark.parametrize("mode", ["gaussian", "constant"])
@pytest.mark.parametrize("overlap", [0, 0.25, (0.6, 0.3), 0.9])
def test_equals_monai(planes, mode, overlap):
    raw, window = RNG.random((2, 45, 37), "float32"), nm.SlidingWindow.monai((16, 12), overlap, mode)
    got = planes.predict_dense(raw, sliding_window=window)
    assert got.shape == (3, 45, 37) and got.dtype == np.float32
    agree(got, by_monai(planes, raw, window))


@pytest.mark.parametrize("padding", ["constant", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("shape", [(13, 17), (15, 24), (10, 40)])
def test_images_smaller_than_the_patch_are_padded_as_by_monai(planes, padding, shape):
    raw = RNG.random((2, *shape), "float32")
    window = nm.SlidingWindow.monai((16, 19), 0.5, "gaussian", 0.2, padding, 0.5 * (padding == "constant"))
    got = planes.predict_dense(raw, sliding_window=window)
    assert got.shape[1:] == shape
    agree(got, by_monai(planes, raw, window))


def test_volumes_equal_monai(volumes):
    raw, window = RNG.random((1, 11, 21, 18), "float32"), nm.SlidingWindow.monai((4, 8, 8), (0.5, 0.25, 0), "gaussian")
    got = volumes.predict_dense(raw, sliding_window=window)
    agree(got, by_monai(volumes, raw, window))


@pytest.mark.parametrize("mirror", [(), (1,), (0, 1)])
@pytest.mark.parametrize(("shape", "step"), [((45, 37), 0.5), ((13, 40), 0.3), ((9, 9), 1)])
def test_equals_the_rule_of_nnunet(planes, shape, step, mirror):
    raw = RNG.random((2, *shape), "float32")
    got = planes.predict_dense(raw, sliding_window=nm.SlidingWindow.nnunet((16, 12), step, mirror))
    agree(got, by_nnunet(planes, raw, (16, 12), step, mirror))


def test_volumes_equal_the_rule_of_nnunet(volumes):
    raw = RNG.random((1, 9, 14, 11), "float32")
    got = volumes.predict_dense(raw, sliding_window=nm.SlidingWindow.nnunet((6, 8, 8)))
    agree(got, by_nnunet(volumes, raw, (6, 8, 8), 0.5, (0, 1, 2)))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_size_patch_and_overlap(planes, data):
    sizes, patch = (data.draw(st.tuples(st.integers(1, 30), st.integers(1, 30))) for _ in range(2))
    overlap = data.draw(st.tuples(st.floats(0, 0.8), st.floats(0, 0.8)))
    raw, window = RNG.random((2, *sizes), "float32"), nm.SlidingWindow.monai(patch, overlap, "gaussian")
    got = planes.predict_dense(raw, sliding_window=window)
    agree(got, by_monai(planes, raw, window))


# ---- networks
def test_one_patch_is_the_whole_image(planes):
    raw = RNG.random((2, 20, 15), "float32")
    got = planes.predict_dense(raw, sliding_window=nm.SlidingWindow((20, 15)))
    np.testing.assert_allclose(got, planes.infer(raw[None])[0], atol=1e-6)


@pytest.mark.parametrize("convention", ["nnunet", "monai"])
def test_valid_networks_predict_where_they_would_exactly(convention):
    """Without nodes that see the whole image and without padding, every patch has the exact values."""
    node, raw = exact_net(), RNG.random((1, 41, 30), "float32")
    window = nm.SlidingWindow((17, 12), 0.5, convention=convention)
    np.testing.assert_allclose(node.predict_dense(raw, sliding_window=window), node.predict_dense(raw), atol=1e-6)
    got = node.predict_dense(raw, sliding_window=window, pad_raw=True)
    np.testing.assert_allclose(got, node.predict_dense(raw, pad_raw=True), atol=1e-6)
    small = raw[:, :11, :10]
    got = node.predict_dense(small, sliding_window=window, pad_raw=True)
    assert got.shape == (2, 11, 10)
    middle = node.predict_dense(small, pad_raw=True)
    np.testing.assert_allclose(got[:, 3:-3, 3:-3], middle[:, 3:-3, 3:-3], atol=1e-6)
    padded = np.pad(small, ((0, 0), (3, 3), (1, 1)))
    want = node.predict_dense(padded)[:, 1:-1]
    np.testing.assert_allclose(node.predict_dense(small, sliding_window=window), want, atol=1e-6)


def test_coarse_outputs_lie_on_their_own_grid():
    node, raw = exact_net(pool=2), RNG.random((1, 44, 36), "float32")
    window = nm.SlidingWindow.monai((18, 16), overlap=(0.55, 0.5), mode="gaussian")
    patches = {axis: window.starts(axis, n) for axis, n in enumerate((44, 36))}
    assert all(start % 2 == 0 for starts in patches.values() for start in starts)
    got = node.predict_dense(raw, sliding_window=window)
    np.testing.assert_allclose(got, node.predict_dense(raw)[:, ::2, ::2], atol=1e-6)
    with pytest.raises(GraphError, match=r"coarser than the image.*stride 2.*multiples of 2"):
        node.predict_dense(raw[:, :43], sliding_window=window)


def test_fine_outputs_lie_on_their_own_grid():
    node = nm.Input((None, 1, 8, 8), "b,f,y,x", print_repr=False)
    node = nm.Conv(node, 2, (3, 3), activation_func="tanh", print_repr=False)
    node = nm.UpConv(node, 2, (2, 2), identity_init=False, print_repr=False)
    raw = RNG.random((1, 21, 26), "float32")
    got = node.predict_dense(raw, sliding_window=nm.SlidingWindow((9, 8), mirror=True))
    plain = node.predict_dense(raw, sliding_window=nm.SlidingWindow((9, 8)))
    np.testing.assert_allclose(plain, node.predict_dense(raw), atol=1e-6)
    assert got.shape == plain.shape


def test_a_patch_that_the_network_does_not_take():
    node = nm.Input((None, 1, 16, 16), "b,f,y,x", print_repr=False)
    low = nm.Conv(node, 2, (3, 3), (2, 2), conv_mode="same", print_repr=False)
    up = nm.UpConv(low, 2, (2, 2), print_repr=False)
    top = nm.Conv(node, 2, (3, 3), conv_mode="same", print_repr=False)
    joined = nm.Concat([up, top], print_repr=False)
    raw = RNG.random((1, 30, 30), "float32")
    with pytest.raises(ShapeError, match=r"size 15 .*axis 'x'.*size 14 or 16"):
        joined.predict_dense(raw, sliding_window=nm.SlidingWindow((16, 15)))
    assert joined.predict_dense(raw, sliding_window=nm.SlidingWindow((16, 14))).shape[1:] == (30, 30)


def test_patches_that_leave_gaps():
    with pytest.raises(ArgumentError, match=r"gaps.*17 voxels apart on axis 'y', 13 predicted.*overlap=0.24"):
        exact_net().predict_dense(RNG.random((1, 51, 51), "float32"), sliding_window=nm.SlidingWindow((17, 17), 0))


def test_nodes_of_several_sizes_together():
    node = exact_net()
    inner, raw = node.parent, RNG.random((1, 41, 30), "float32")
    window = nm.SlidingWindow((17, 12), 0.5)
    for options in ({}, {"roi": [(3, 35), (5, 24)]}, {"pad_raw": True}):
        both = nm.predict_dense([inner, node], raw, sliding_window=window, **options)
        alone = [n.predict_dense(raw, **options) for n in (inner, node)]
        for got, want in zip(both, alone, strict=True):
            np.testing.assert_allclose(got, want, atol=1e-6)


def test_networks_that_still_cannot_be_predicted(planes):
    raw, window = RNG.random((2, 30, 30), "float32"), nm.SlidingWindow((8, 8))
    pooled = nm.GlobalPool(planes, print_repr=False)
    with pytest.raises(GraphError, match="where the output lies in the patch is unknown"):
        pooled.predict_dense(raw, sliding_window=window)
    with pytest.raises(ShapeError, match=r"another number of axes.*patch \(8,\).*'yx'"):
        planes.predict_dense(raw, sliding_window=nm.SlidingWindow((8,)))


def test_mirrored_patches_must_have_their_outputs_at_the_same_place():
    node = nm.Input((None, 1, 9, 9), "b,f,y,x", print_repr=False)
    raw, window = RNG.random((1, 31, 31), "float32"), nm.SlidingWindow((9, 9), mirror=True)
    even = nm.Conv(node, 2, (2, 4), print_repr=False)
    got = even.predict_dense(raw, sliding_window=window)
    want = np.mean([by_nnunet_views(even, raw, view) for view in [(), (1,), (2,), (1, 2)]], axis=0)
    np.testing.assert_allclose(got, want, atol=1e-6)
    aside = nm.Crop(even, ((1, 0), (0, 0)), print_repr=False)
    with pytest.raises(GraphError, match=r"mirrored patch lie elsewhere.*mirror=\(0, 1\).*along axis 0"):
        aside.predict_dense(raw, sliding_window=window)


def by_nnunet_views(node, raw, view):
    return np.flip(node.predict_dense(np.flip(raw, view).copy()), view)


# ---- images and options
def test_stacks_of_a_network_of_planes(planes):
    raw, window = RNG.random((2, 5, 21, 17), "float32"), nm.SlidingWindow((8, 8))
    got = planes.predict_dense(raw, sliding_window=window, roi=[(1, 4), None, (2, 16)])
    want = [planes.predict_dense(raw[:, z], sliding_window=window)[:, :, 2:16] for z in range(1, 4)]
    np.testing.assert_array_equal(got, np.stack(want, 1))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_regions_have_the_values_of_the_whole(planes, data):
    raw, window = np.random.default_rng(1).random((2, 31, 44), "float32"), nm.SlidingWindow((8, 9), 0.6)
    ends = [sorted(data.draw(st.sets(st.integers(0, n), min_size=2, max_size=2))) for n in raw.shape[1:]]
    got = planes.predict_dense(raw, sliding_window=window, roi=ends)
    want = planes.predict_dense(raw, sliding_window=window)
    np.testing.assert_array_equal(got, want[:, slice(*ends[0]), slice(*ends[1])])


def test_integers_are_scaled_and_results_reduced(planes):
    raw, window = RNG.integers(0, 255, (2, 20, 30)).astype("uint8"), nm.SlidingWindow((8, 8))
    scores = planes.predict_dense((raw / 255).astype("float32"), sliding_window=window)
    agree(planes.predict_dense(raw, sliding_window=window), scores)
    classes = planes.predict_dense(raw, sliding_window=window, reduce="argmax")
    assert classes.dtype == np.uint8 and (classes[0] == scores.argmax(0)).mean() > 0.99
    by_axes = planes.predict_dense(np.moveaxis(raw, 0, -1), sliding_window=window, axes="yxc")
    np.testing.assert_array_equal(by_axes, planes.predict_dense(raw, sliding_window=window))


def counted(node, calls, monkeypatch):
    from neuromancer.dense.sliding.network import PatchNetwork

    begin = PatchNetwork.begin
    monkeypatch.setattr(PatchNetwork, "begin", lambda *args: (calls.append(1), begin(*args))[1])
    return node


def test_each_patch_is_evaluated_once_and_masked_ones_not_at_all(planes, monkeypatch):
    calls, window = [], nm.SlidingWindow((8, 8))
    node, raw = counted(planes, calls, monkeypatch), RNG.random((2, 40, 50), "float32")
    plan = node.plan_dense(raw, sliding_window=window)
    whole = node.predict_dense(raw, sliding_window=window)
    assert len(calls) == plan.patches == 9 * 12 and plan.count > 3
    mask = np.zeros((40, 50))
    mask[3:9, 20:27] = 1
    calls.clear()
    masked = node.predict_dense(raw, sliding_window=window, mask=mask, fill=-1)
    assert 0 < len(calls) <= 16
    np.testing.assert_array_equal(masked, np.where(mask, whole, -1))
    coarse = node.predict_dense(raw, sliding_window=window, mask=mask[::2, ::2], fill=-1)
    assert (coarse[:, 20:] == -1).all() and (coarse[:, 4, 22] == whole[:, 4, 22]).all()
    calls.clear()
    assert (node.predict_dense(raw, sliding_window=window, mask=0 * mask, fill=-1) == -1).all() and not calls


@pytest.mark.parametrize("skip", ["constant", 0])
def test_patches_of_constant_raw_data_do_not_count(planes, monkeypatch, skip):
    calls, window = [], nm.SlidingWindow((8, 8))
    node, raw = counted(planes, calls, monkeypatch), RNG.random((2, 40, 50), "float32")
    raw[:, 10:] = 0
    got = node.predict_dense(raw, sliding_window=window, skip_empty=skip, fill=7)
    assert len(calls) == 3 * 12
    assert (got[:, 16:] == 7).all() and not (got[:, :16] == 7).any()
    whole = node.predict_dense(raw, sliding_window=window)
    np.testing.assert_array_equal(got[:, :8], whole[:, :8])


def test_nan_is_an_error_where_it_counts(planes, tmp_path):
    raw, window = RNG.random((2, 30, 30), "float32"), nm.SlidingWindow((8, 8))
    raw[0, 25, 25] = np.nan
    with pytest.raises(PredictionError, match="not a number, in tile"):
        planes.predict_dense(raw, sliding_window=window, out=tmp_path / "a.npy")
    kept = planes.predict_dense(raw, sliding_window=window)
    assert np.isnan(kept).any() and not np.isnan(kept[:, :16]).any()
    mask = np.zeros((30, 30))
    mask[:16, :16] = 1
    got = planes.predict_dense(raw, sliding_window=window, mask=mask, out=tmp_path / "b.npy")
    assert not np.isnan(np.load(got)).any()


def test_parts_that_cannot_be_read_are_skipped_by_band(planes):
    class Torn:
        def __init__(self, array):
            self.array, self.shape, self.dtype, self.chunks = array, array.shape, array.dtype, None
            self.voxel_size = self.unit = self.locator = None

        def __getitem__(self, where):
            if where[1].stop > 35:
                raise OSError(5, "Input/output error")
            return self.array[where]

        def fingerprint(self):
            return "torn"

        def close(self):
            pass

    raw, window = RNG.random((2, 40, 50), "float32"), nm.SlidingWindow((8, 8))
    with pytest.raises(OSError, match=r"patch at .*cannot be read"):
        planes.predict_dense(Torn(raw), sliding_window=window)
    with pytest.warns(IncompleteWarning, match="could not be predicted"):
        got = planes.predict_dense(Torn(raw), sliding_window=window, on_error="skip", fill=5)
    whole = planes.predict_dense(raw, sliding_window=window)
    assert (got[:, 36:] == 5).all()
    assert ((got == whole) | (got == 5)).all()


def test_labelled_images_keep_their_coordinates(planes):
    xarray = pytest.importorskip("xarray")
    raw = xarray.DataArray(RNG.random((2, 20, 25), "float32"), dims=("c", "y", "x"), coords={"y": np.arange(20) * 4.0})
    got = planes.predict_dense(raw, sliding_window=nm.SlidingWindow((8, 8)), roi=[(3, 9), None])
    assert got.dims[1:] == ("y", "x") and got.y.values.tolist() == (np.arange(3, 9) * 4.0).tolist()


WINDOW = nm.SlidingWindow((8, 8))
REFUSED = [
    (ArgumentError, "'tile': cannot be combined with sliding_window", {"tile": (8, 8)}),
    (ArgumentError, "'augment': cannot be combined with sliding_window.*mirror=True", {"augment": "flips"}),
    (InputTypeError, "'sliding_window': not an object of class SlidingWindow", {"sliding_window": (8, 8)}),
    (InputTypeError, "'sliding_window'", {"sliding_window": "nnunet"}),
    (ArgumentError, "'roi'", {"roi": [(0, 31), None]}),
    (ArgumentError, "'memory': a patch and a finished tile do not fit", {"memory": 1000}),
    (ShapeError, "too small to be padded", {"sliding_window": nm.SlidingWindow((100, 64), padding="reflect")}),
    (ShapeError, "too small to be padded", {"sliding_window": nm.SlidingWindow((200, 64), padding="circular")}),
]


@pytest.mark.parametrize(("kind", "message", "options"), REFUSED)
def test_what_is_refused_before_anything_is_created(planes, tmp_path, kind, message, options):
    raw = RNG.random((2, 30, 30), "float32")
    with pytest.raises(kind, match=message):
        planes.predict_dense(raw, out=tmp_path / "a.h5", **{"sliding_window": WINDOW} | options)
    assert not list(tmp_path.iterdir())


def test_scores_are_averaged_not_classes(planes):
    classes = nm.ApplyFunc(planes, lambda x: (x > 0).astype("int32"), print_repr=False)
    with pytest.raises(InputTypeError, match="only floating point values can be averaged"):
        classes.predict_dense(RNG.random((2, 30, 30), "float32"), sliding_window=WINDOW)


def test_the_plan_says_what_it_costs(volumes):
    window = nm.SlidingWindow.nnunet((32, 32, 32), mirror=(0,))
    plan = volumes.plan_dense((1, 30_000, 30_000, 200), sliding_window=window, memory="2GB", chunks=(1, 64, 64, 64))
    text = str(plan)
    assert f"{plan.patches} patches of 32 × 32 × 32, each mirrored in 2 ways" in text
    assert plan.patches == 1874 * 1874 * 12 and plan.evaluations == 2 * plan.patches
    assert 0.8 < plan.overlap < 0.9 and plan.memory <= 2e9 and plan.spilled and "in a scratch file" in text
    assert plan.tile_shape[1] == 64 and all(t % 64 == 0 or t == 200 for t in plan.tile_shape[1:])
    assert plan.tile(plan.count - 1).stop == (30_000, 30_000, 200)
    seen = [plan.tile(i).start for i in range(0, plan.count, plan.tiles_per_band)]
    assert [s[0] for s in seen] == list(range(0, 30_000, 64))
    flat = volumes.plan_dense((1, 100, 30_000, 20_000), sliding_window=window)
    assert flat.rolling == 1  # the least to hold at once
