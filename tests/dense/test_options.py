"""Regions, masks, reductions, several nodes and views, compared with plain NumPy on the whole prediction."""

from __future__ import annotations

from inspect import signature
from itertools import product

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.dense.mask import Mask
from neuromancer.dense.network import dense_network
from neuromancer.dense.options import DenseOptions, PlanOptions
from neuromancer.dense.reduction import reduction
from neuromancer.dense.symmetry import views
from neuromancer.errors import ArgumentError, GraphError, InputTypeError, ShapeError
from tests.dense.nets import image, plane_net, volume_net
from tests.dense.stores import Recording
from tests.dense.test_predict import chain, same_net, unet


def twice(values):
    return (2 * values).astype("float64")


def shrink(values):
    return values[..., :-1]


# ---- signatures
@pytest.mark.parametrize(
    ("options", "function"), [(DenseOptions, nm.predict_dense), (PlanOptions, nm.plan_dense)], ids=["predict", "plan"]
)
def test_editors_know_every_option(options, function):
    keywords = {p.name for p in signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY}
    assert keywords == set(options.__annotations__)


@pytest.mark.parametrize(
    ("name", "nearest"), [("as_unit8", "as_uint8"), ("memroy", "memory"), ("skip_emtpy", "skip_empty")]
)
def test_a_misspelt_keyword_is_refused_with_the_nearest_name(fresh_model, name, nearest):
    node, raw = volume_net(), image(1, 9, 20, 20)
    fresh_model.designate_nodes(next(iter(fresh_model.nodes)), prediction_node=node)
    predict = (
        node.predict_dense,
        fresh_model.predict_dense,
        lambda *args, **more: nm.predict_dense([node], *args, **more),
    )
    for function in predict:
        with pytest.raises(InputTypeError, match=rf"'predict_dense': .*{name}.*nearest valid: {nearest}$") as caught:
            function(raw, **{name: None})
        assert isinstance(caught.value, TypeError)


def test_a_misspelt_keyword_of_a_plan():
    node = volume_net()
    with pytest.raises(
        InputTypeError, match=r"'plan_dense': .*'pad'.*expected arguments nodes, .*nearest valid: pad_raw"
    ):
        node.plan_dense((1, 9, 20, 20), pad=True)
    with pytest.raises(InputTypeError, match=r"'plan_dense': .*'chunk'.*nearest valid: chunks"):
        nm.plan_dense(node, (1, 9, 20, 20), chunk=(1, 8, 8, 8))
    with pytest.raises(InputTypeError, match="missing a required argument: 'image'"):
        nm.plan_dense(node)


# ---- regions
@pytest.mark.parametrize("pad_raw", [False, True])
@pytest.mark.parametrize("make", [lambda: chain([((3, 4), (2, 2)), ((2, 2), (1, 1))], 2, 1), same_net, unet])
def test_a_region_is_cut_out_of_the_whole(make, pad_raw):
    node = make()
    channels = node.input_nodes[0].shape["f"]
    raw = image(channels, 60, 58)
    whole = node.predict_dense(raw, pad_raw=pad_raw)
    for roi in ([(3, 17), (0, 9)], [None, slice(5, None)], [(whole.shape[1] - 1, whole.shape[1]), (2, 3)]):
        where = tuple(slice(*r) if isinstance(r, tuple) else r or slice(None) for r in roi)
        got = node.predict_dense(raw, pad_raw=pad_raw, roi=roi)
        np.testing.assert_allclose(got, whole[(slice(None), *where)], atol=2e-5)


def test_only_what_a_region_needs_is_read():
    class Lazy:
        shape, dtype, chunks, locator = (1, 40, 400, 400), np.dtype("uint8"), None, None
        voxels = 0

        def __getitem__(self, where):
            block = np.zeros([s.stop - s.start for s in where[1:]], "uint8")[None]
            self.voxels += block.size
            return block

        def fingerprint(self):
            return ""

        def close(self):
            pass

    lazy = Lazy()
    assert volume_net().predict_dense(lazy, roi=[(5, 6), (7, 10), (100, 104)]).shape == (2, 1, 3, 4)
    assert lazy.voxels == 4 * 8 * 9


# ---- masks
@pytest.mark.parametrize("factor", [(1, 1, 1), (2, 4, 4), (1, 8, 3)])
@pytest.mark.parametrize("pad_raw", [False, True])
def test_a_mask_is_applied_voxel_by_voxel_and_skips_tiles(factor, pad_raw):
    node, raw = volume_net(), image(1, 14, 40, 44)
    small = np.zeros([-(-n // f) for n, f in zip(raw.shape[1:], factor, strict=True)], "uint8")
    small[-2:, : small.shape[1] // 3, small.shape[2] // 2 :] = 1
    fine = small
    for k, f in enumerate(factor):
        fine = np.repeat(fine, f, axis=k)
    fine = fine[tuple(slice(n) for n in raw.shape[1:])].astype(bool)
    whole = node.predict_dense(raw, pad_raw=pad_raw, tile=(2, 8, 8))
    if not pad_raw:
        o = node.shape.offsets
        fine = fine[tuple(slice(a, a + n) for a, n in zip(o, whole.shape[1:], strict=True))]
    sink = Recording(whole.shape)
    calls = []
    network = dense_network(node)
    start = network.start
    network.start = lambda *args: calls.append(1) or start(*args)
    node.predict_dense(raw, pad_raw=pad_raw, tile=(2, 8, 8), mask=small, fill=-1, out=sink)
    np.testing.assert_array_equal(sink.array, np.where(fine, whole, np.float32(-1)))
    count = node.plan_dense(raw, pad_raw=pad_raw, tile=(2, 8, 8)).count
    assert 0 < len(calls) < count / 2
    assert (sink.count == 1).all()


def test_a_mask_over_a_stack_and_with_a_region():
    node, raw = plane_net(), image(1, 6, 20, 21)
    mask = np.zeros((6, 20, 21), bool)
    mask[2, 5:9, 4:] = mask[5] = True
    whole = node.predict_dense(raw)
    want = np.where(mask[:, 2:-2, 2:-2], whole, 0)
    np.testing.assert_allclose(node.predict_dense(raw, mask=mask), want, atol=1e-6)
    got = node.predict_dense(raw, mask=mask[None], roi=[(2, 6), (1, 9), (3, 8)])
    np.testing.assert_allclose(got, want[:, 2:6, 1:9, 3:8], atol=1e-6)


def test_masks_rounded_down_cover_the_image():
    mask = Mask(np.array([1, 0, 1]), (7,))
    assert mask.at([np.arange(7)]).tolist() == [True, True, False, False, True, True, True]


@pytest.mark.parametrize("shape", [(14, 40), (3, 14, 40, 44), (14, 40, 30), (20, 40, 44)])
def test_masks_that_do_not_fit(shape):
    with pytest.raises(ShapeError, match="the mask"):
        volume_net().predict_dense(image(1, 14, 40, 44), mask=np.ones(shape))


def test_empty_tiles_are_skipped():
    node, raw = volume_net(), image(1, 14, 40, 44)
    raw[:, :, :, :20] = 3
    want = node.predict_dense(raw, tile=(11, 7, 7))
    for skip in ("constant", 3):
        got = node.predict_dense(raw, tile=(11, 7, 7), skip_empty=skip, fill=5)
        assert (got[..., :14] == 5).all()
        np.testing.assert_array_equal(got[..., 14:], want[..., 14:])
    np.testing.assert_array_equal(node.predict_dense(raw, tile=(11, 7, 7), skip_empty=4), want)


# ---- reductions
def test_reductions():
    node, raw = volume_net(out=3), image(1, 8, 20, 20)
    p = node.predict_dense(raw)
    for reduce, want in (
        ("uint8", np.floor(p * 255).astype("uint8")),
        ("uint16", np.floor(p * 65535).astype("uint16")),
        ("argmax", p.argmax(0)[None].astype("uint8")),
        (1, p[1:2]),
        ([2, 0], p[[2, 0]]),
        (("threshold", 0.4), (p > 0.4).astype("uint8")),
        (twice, 2 * p.astype("float64")),
        ([1, twice, ("threshold", 0.5)], (2 * p[1:2] > 0.5).astype("uint8")),
    ):
        got = node.predict_dense(raw, reduce=reduce)
        assert got.dtype == want.dtype and got.shape == want.shape
        np.testing.assert_allclose(got, want)


@pytest.mark.parametrize(
    ("reduce", "error", "message"),
    [
        ("argmin", ArgumentError, "unknown reduction"),
        ([], ArgumentError, "unknown reduction"),
        (1.5, InputTypeError, "unknown reduction"),
        (7, ArgumentError, "no such channel; got 7; expected 0 to 1"),
        (shrink, ShapeError, "must preserve the voxels"),
        ({"nobody": 1}, ArgumentError, "not among the predicted nodes"),
    ],
)
def test_bad_reductions(reduce, error, message):
    with pytest.raises(error, match=message):
        volume_net().predict_dense(image(1, 8, 20, 20), reduce=reduce)
    with pytest.raises(ArgumentError, match="only one of the two"):
        volume_net().predict_dense(image(1, 8, 20, 20), reduce=1, as_uint8=True)


def test_labels_tell_functions_apart():
    assert reduction(lambda v: v + 1).label != reduction(lambda v: v + 2).label
    assert reduction([1, "uint8"]).label == "(1,) 'uint8'"
    reduction(twice).require_portable()
    with pytest.raises(ArgumentError, match="cannot import this function"):
        reduction(lambda v: v).require_portable()


# ---- several nodes
@pytest.mark.parametrize("tile", [None, (2, 7, 9)])
@pytest.mark.parametrize("pad_raw", [False, True])
def test_several_nodes_in_one_pass(tile, pad_raw):
    last = volume_net()
    middle = last.parent.parent
    raw = image(1, 12, 30, 33)
    want = [node.predict_dense(raw, pad_raw=pad_raw) for node in (middle, last)]
    got = nm.predict_dense([middle, last], raw, pad_raw=pad_raw, tile=tile)
    for a, b in zip(got, want, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, atol=2e-6)
    sinks = [Recording(w.shape) for w in want]
    nm.predict_dense([middle, last], raw, pad_raw=pad_raw, tile=tile, out=sinks)
    for sink, b in zip(sinks, want, strict=True):
        np.testing.assert_allclose(sink.array, b, atol=2e-6)
        assert (sink.count == 1).all()
    labels, values = nm.predict_dense([last, middle], raw, reduce={last.name: "argmax"}, pad_raw=pad_raw)
    np.testing.assert_array_equal(labels, want[1].argmax(0)[None])
    assert values.dtype == np.float32


def test_several_nodes_of_a_network_with_upconvolutions():
    last = unet((26, 26))
    before = last.parent
    raw = image(1, 61, 57)
    for tile in (None, (8, 12)):
        got = nm.predict_dense([before, last], raw, tile=tile)
        for node, values in zip((before, last), got, strict=True):
            np.testing.assert_allclose(values, node.predict_dense(raw), atol=2e-5)


def test_what_nodes_share_is_evaluated_once():
    last = volume_net()
    middle = last.parent.parent
    both = nm.plan_dense([middle, last], (1, 30, 60, 60))
    assert both.products == pytest.approx(last.plan_dense((1, 30, 60, 60)).products)


def test_several_nodes_need_as_many_outputs():
    last = volume_net()
    with pytest.raises(ArgumentError, match="one output per node"):
        nm.predict_dense([last, last.parent], image(1, 12, 30, 33), out=[np.zeros(3)])


def test_nodes_that_pad_are_not_mirrored_for_others():
    node = nm.Input((1, 1, 12, 12), "b,f,y,x", print_repr=False)
    same = nm.Conv(node, 2, (3, 3), conv_mode="same", print_repr=False)
    valid = nm.Conv(same, 2, (3, 3), print_repr=False)
    raw = image(1, 20, 20)
    a, b = nm.predict_dense([same, valid], raw)
    np.testing.assert_allclose(a, same.predict_dense(raw), atol=1e-6)
    np.testing.assert_allclose(b, valid.predict_dense(raw), atol=1e-6)
    with pytest.raises(GraphError, match="pads the image with zeros"):
        nm.predict_dense([same, valid], raw, pad_raw=True)


# ---- views
def by_hand(node, raw, group, pad_raw):
    """Mean over the predictions of all views of the image, each transformed back to the raw voxels."""
    fov, offsets = node.shape.fov, node.shape.offsets
    ndim = len(fov)
    wide = max(fov)
    whole = raw.shape[1:]
    total = 0
    for view in views(group, ndim):
        # pad by far more than needed, so that every raw voxel has a value
        padded = np.pad(raw, [(0, 0), *((wide, wide),) * ndim], mode="symmetric")
        seen = np.ascontiguousarray(view.apply(padded))
        values = node.predict_dense(seen)
        place = np.zeros((values.shape[0], *padded.shape[1:]), np.float64)
        inside = view.apply(place)
        inside[(slice(None), *(slice(o, o + n) for o, n in zip(offsets, values.shape[1:], strict=True)))] = values
        total = total + place
    mean = total / len(views(group, ndim))
    cut = [slice(wide, wide + n) for n in whole]
    if not pad_raw:
        cut = [slice(wide + o, wide + o + n - f + 1) for o, n, f in zip(offsets, whole, fov, strict=True)]
    return mean[(slice(None), *cut)]


@pytest.mark.parametrize("pad_raw", [False, True])
@pytest.mark.parametrize(("kernel", "group"), list(product([(3, 3), (4, 4), (2, 5)], ["flips", "rotations", "all"])))
def test_views_are_averaged_where_they_belong(kernel, group, pad_raw):
    node = chain([(kernel, (2, 2)), ((2, 2), (1, 1))], 2, 1)
    raw = image(1, 23, 27)
    want = by_hand(node, raw, group, pad_raw)
    for tile in (None, (5, 9)):
        got = node.predict_dense(raw, augment=group, pad_raw=pad_raw, tile=tile)
        np.testing.assert_allclose(got, want, atol=1e-5)
    part = node.predict_dense(raw, augment=group, pad_raw=pad_raw, roi=[(3, 9), (5, 6)])
    np.testing.assert_allclose(part, want[:, 3:9, 5:6], atol=1e-5)


def test_views_of_volumes_and_what_they_are_good_for():
    node, raw = volume_net(), image(1, 9, 20, 21)
    got = node.predict_dense(raw, augment="all", pad_raw=True)
    np.testing.assert_allclose(got, by_hand(node, raw, "all", True), atol=1e-5)
    # an average over a group is equivariant under it
    for view in views("all", 3)[::3]:
        turned = node.predict_dense(np.ascontiguousarray(view.apply(raw)), augment="all", pad_raw=True)
        np.testing.assert_allclose(turned, view.apply(got), atol=1e-5)


def test_an_odd_field_of_view_is_the_mean_of_flipped_predictions():
    node, raw = chain([((3, 3), (1, 1)), ((3, 3), (1, 1))], 2, 1), image(1, 15, 17)
    want = np.mean([node.predict_dense(raw[:, ::a, ::b].copy())[:, ::a, ::b] for a in (1, -1) for b in (1, -1)], axis=0)
    np.testing.assert_allclose(node.predict_dense(raw, augment="flips"), want, atol=1e-6)


def test_views_of_upconvolution_networks_and_stacks():
    node, raw = unet((26, 26)), image(1, 50, 54)
    got = node.predict_dense(raw, augment="flips")
    # the network has a period of four voxels, so tiles and padding depend on the border that they are counted from
    assert got.shape == node.predict_dense(raw).shape and np.isfinite(got).all()
    plane, stack = plane_net(kernel=4), image(1, 3, 18, 19)
    want = np.stack([plane.predict_dense(stack[:, z], augment="all") for z in range(3)], 1)
    np.testing.assert_allclose(plane.predict_dense(stack, augment="all"), want, atol=1e-6)


def test_views_that_cannot_be():
    line = chain([((3,), (2,))], 1, 1)
    with pytest.raises(ArgumentError, match="rotations need two axes"):
        line.predict_dense(image(1, 20), augment="rotations")
    inp = nm.Input((1, 1, 8, 8), "b,f,y,x", print_repr=False)
    fine = nm.UpConv(nm.Conv(inp, 3, (3, 3), print_repr=False), 2, (2, 2), identity_init=False, print_repr=False)
    with pytest.raises(GraphError, match="finer than the image"):
        fine.predict_dense(image(1, 20, 20), augment="flips")
