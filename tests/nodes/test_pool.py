"""Pooling nodes against NumPy: modes, strides, fragments, dense form, bad inputs."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import ArgumentError, ShapeError
from tests.nodes.layers import check_dense_form, check_gradients, pool, random, registered, source, twin
from tests.nodes.spatial import pooled

REDUCE = {"max": np.max, "average": np.mean, "average_inc_pad": np.mean, "average_exc_pad": np.mean, "sum": np.sum}


def node_of(parent, *args, **kwargs):
    return nm.Pool(parent, *args, print_repr=False, **kwargs)


@pytest.mark.parametrize("mode", REDUCE)
@pytest.mark.parametrize(
    ("size", "window", "stride"),
    [
        ((8,), (2,), None),
        ((9, 8), (3, 2), None),
        ((9, 8), (3, 2), (2, 1)),
        ((4, 6, 5), (2, 3, 1), None),
        ((5, 6, 5), (1, 2, 3), (2, 2, 1)),
    ],
)
def test_values_shapes_gradients(mode, size, window, stride):
    nm.config.floatX = "float64"
    x = random(2, 3, *size)
    node = node_of(source(x.shape), window, stride, mode=mode)
    want = pool(x, window, stride, REDUCE[mode])
    np.testing.assert_allclose(node(x), want, rtol=1e-12)
    assert node.shape.shape == list(want.shape)
    assert node.shape.strides.tolist() == list(stride or window)
    assert node.shape.fov == list(window)
    assert node.computational_cost == x.size and node.params == {}
    check_gradients(node)


def test_fov_grows_with_the_strides_before():
    first = node_of(source((1, 1, 24)), (2,))
    assert node_of(first, (3,)).shape.fov == [6]
    assert node_of(first, (3,), (1,)).shape.strides.tolist() == [2]


def test_layout_with_features_between_the_spatial_axes():
    x = random(1, 4, 2, 6, 6).astype("float32")
    node = node_of(source(x.shape, "b,z,f,y,x"), (2, 3, 1))
    np.testing.assert_array_equal(node(x), pool(x.transpose(0, 2, 1, 3, 4), (2, 3, 1)).transpose(0, 2, 1, 3, 4))


def test_integer_input():
    inp = nm.Input((1, 1, 4), "b,f,x", dtype="uint8", print_repr=False)
    assert node_of(inp, (2,), mode="average")(np.array([[[1, 2, 3, 5]]], "uint8")).tolist() == [[[1.5, 4.0]]]


def test_unknown_sizes_pass_through():
    node = node_of(source((None, 3, None, 8)), (2, 2))
    assert node.shape.shape == [None, 3, None, 4]
    assert node(np.ones((2, 3, 6, 8), "float32")).shape == (2, 3, 3, 4)


@pytest.mark.parametrize("mode", ["max", "average", "sum"])
def test_dense_form(mode):
    node = node_of(node_of(source((1, 2, 5, 4)), (3, 2), (2, 2), mode=mode), (2, 2), (2, 1), mode=mode)
    assert node.shape.fov == [5, 4] and node.shape.strides.tolist() == [4, 2]
    check_dense_form(node, random(1, 2, 8, 9).astype("float32"))


class TestFragments:
    @pytest.mark.parametrize("mode", ["max", "average", "sum"])
    def test_every_phase_is_an_item(self, mode):
        nm.config.floatX = "float64"
        x = random(1, 2, 8, 7)
        node = node_of(source(x.shape), (3, 2), mfp=True, mode=mode)
        got = node(x)
        assert node.shape.shape == list(got.shape) == [6, 2, 2, 3]
        for i, (a, b) in enumerate((a, b) for a in range(3) for b in range(2)):
            assert node.shape.mfp_offsets[i].tolist() == [a, b]
            np.testing.assert_allclose(got[i : i + 1], pool(x[:, :, a : a + 6, b : b + 6], (3, 2), None, REDUCE[mode]))
        assert node.shape.strides.tolist() == [3, 2]
        check_gradients(node)

    def test_dense_reassembly(self):
        x = random(1, 2, 17, 11).astype("float32")
        node = node_of(source(x.shape), (3, 2), mfp=True)
        node = nm.FragmentsToDense(node_of(node, (2, 2), mfp=True), print_repr=False)
        plain = node_of(node_of(source((1, 2, 12, 12)), (3, 2)), (2, 2))
        assert node.shape.fov == plain.shape.fov == [6, 4]
        got = node(x)
        for a in range(got.shape[2]):
            for b in range(got.shape[3]):
                np.testing.assert_array_equal(got[0, :, a, b], x[0, :, a : a + 6, b : b + 4].max((1, 2)))

    def test_dense_form_is_plain(self):
        node = node_of(source((1, 2, 8, 7)), (3, 2), mfp=True)
        dense = twin(node, dense=True)
        assert dense.shape.shape == [None, 2, None, None] and dense.shape.strides.tolist() == [3, 2]


@pytest.mark.parametrize(
    ("args", "kwargs", "error", "message"),
    [
        (
            ((2, 2),),
            {},
            ShapeError,
            r"Pool 'pool': the windows do not cover the input exactly; got size 7 on axis 'x' of 'raw', "
            r"pool 2, stride 2; expected size 2 plus a multiple of 2; nearest valid: size 6 or 8",
        ),
        (((9, 1),), {}, ShapeError, "got size 8 on axis 'y'.* nearest valid: size 9$"),
        (
            ((3, 3), (2, 2)),
            {},
            ShapeError,
            "got size 8 on axis 'y' of 'raw', pool 3, stride 2; .*nearest valid: size 7 or 9",
        ),
        (
            ((2,),),
            {},
            ShapeError,
            r"pool_shape needs one entry per spatial axis; got \(2,\); expected 2 entries, for the axes y, x",
        ),
        (((2, 1), (2,)), {}, ShapeError, "stride needs one entry"),
        (((2, -1),), {}, ArgumentError, "pool_shape must consist of integers"),
        (((2, 1), (0, 1)), {}, ArgumentError, "stride must consist of integers"),
        (
            ((2, 1),),
            {"mode": "mean"},
            ArgumentError,
            r"unknown pooling mode; got mean; expected one of \('max', 'average'",
        ),
        (((2, 1),), {"mode": "averge"}, ArgumentError, "nearest valid: average$"),
        (
            ((2, 1), (1, 1)),
            {"mfp": True},
            ArgumentError,
            r"needs a stride equal to pool_shape; got stride \(1, 1\); expected stride=None",
        ),
        (
            ((2, 2),),
            {"mfp": True},
            ShapeError,
            r"\(with max-fragment pooling\); got size 8 on axis 'y'.*expected size 3 plus a "
            r"multiple of 2; nearest valid: size 7 or 9",
        ),
    ],
)
def test_bad_arguments_leave_nothing_behind(args, kwargs, error, message):
    inp = source((1, 3, 8, 7), name="raw")
    before = registered()
    with pytest.raises(error, match=message):
        node_of(inp, *args, **kwargs)
    assert registered() == before


def test_unsupported_layout():
    with pytest.raises(ShapeError, match="unsupported axis layout; got b,f"):
        node_of(source((2, 3)), ())
    with pytest.raises(ShapeError, match="needs raw data of batch size 1; got input1: batch size 2, 1 fragments"):
        node_of(source((2, 3, 7)), (2,), mfp=True)


# ---- padding, dilation, leftovers


@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize("mode", ["max", "average", "exclusive", "sum"])
@pytest.mark.parametrize(
    ("size", "pool_shape", "stride", "padding", "dilation"),
    [
        ((9,), (3,), (2,), 1, (1,)),
        ((10,), (2,), (3,), 0, (2,)),
        ((8, 7), (3, 2), (2, 2), (1, (1, 0)), (1, 1)),
        ((5, 6), (1, 3), (2, 1), (0, 2), (1, 2)),
    ],
)
def test_padding_dilation_and_leftovers(ceil, mode, size, pool_shape, stride, padding, dilation):
    nm.config.floatX = "float64"
    x = random(2, 3, *size)
    kind = {"exclusive": "average_exc_pad"}.get(mode, mode)
    options = {"padding": padding, "dilation": dilation, "ceil_mode": ceil}
    node = nm.Pool(source(x.shape), pool_shape, stride, mode=kind, print_repr=False, **options)
    want = pooled(x, pool_shape, stride, padding, dilation, ceil, mode)
    np.testing.assert_allclose(node(x), want, rtol=1e-10, atol=1e-12)
    assert node.shape.shape == list(want.shape)
    check_gradients(node)


def test_average_counts_the_padding_as_it_is_told():
    inp = source((1, 1, 4))
    x = np.ones((1, 1, 4))
    for mode, count, ends in (
        ("average", None, 2 / 3), ("average", False, 1), ("average_inc_pad", True, 2 / 3), ("average_exc_pad", None, 1),
    ):  # fmt: skip
        options = {"padding": 1, "count_include_pad": count, "print_repr": False}
        assert nm.Pool(inp, (3,), (1,), mode=mode, **options)(x)[0, 0, 0] == pytest.approx(ends)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"padding": 2}, ArgumentError, r"padding \(2, 2\) on axis 'y', window of 2.*nearest valid: padding \(1, 1\)"),
        ({"ceil_mode": 1}, ArgumentError, "ceil_mode"),
        ({"dilation": 9, "ceil_mode": False}, ShapeError, "at least size 10"),
        ({"padding": 1, "mfp": True}, ArgumentError, "padding"),
        ({"mode": "average_exc_pad", "count_include_pad": True}, ArgumentError, "disagree"),
        ({"stride": (3, 3), "padding": 0}, ShapeError, "size 6 on axis 'y'.*size 2 plus a multiple of 3.*5 or 8"),
    ],
)
def test_bad_options(options, error, says):
    parent = source((1, 1, 6, 8))
    before = registered()
    with pytest.raises(error, match=says):
        nm.Pool(parent, (2, 2), print_repr=False, **options)
    assert registered() == before
