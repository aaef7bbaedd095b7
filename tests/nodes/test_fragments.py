"""Max-fragment pooling in convolutions and its reassembly."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import ShapeError
from neuromancer.nodes.fragments import fragment_offsets
from tests.nodes.layers import check_gradients, evaluate, random, randomise, registered, source, twin


def conv(parent, *args, **kwargs):
    return nm.Conv(parent, *args, **{"activation_func": "tanh", "print_repr": False, **kwargs})


def test_order_of_two_levels():
    node = conv(conv(source((1, 1, 8, 8)), 1, (2, 2), (2, 2), mfp=True), 1, (1, 1), (2, 2), mfp=True, name="second")
    order = "00 01 10 11 02 03 12 13 20 21 30 31 22 23 32 33".split()
    assert node.shape.mfp_offsets.tolist() == [[int(y), int(x)] for y, x in order]
    assert node.shape.strides.tolist() == [4, 4] and node.shape["b"] == 16


def test_pools_of_one_make_no_fragments():
    node = conv(source((3, 1, 9)), 2, (2,), mfp=True)
    assert node.shape.shape == [3, 2, 8]
    assert fragment_offsets(node.shape, (1,)).tolist() == [[0]]


CASES = [
    ([((3,), (2,)), ((2,), (3,)), ((2,), (1,))], "b,f,x"),
    ([((4, 2), (2, 1)), ((2, 2), (2, 3))], "b,f,y,x"),
    ([((1, 2, 2), (1, 2, 2)), ((2, 2, 1), (2, 1, 2)), ((1, 2, 1), (1, 1, 1))], "b,f,z,x,y"),
    ([((1, 2, 2), (1, 2, 2)), ((2, 2, 1), (2, 1, 2)), ((1, 2, 1), (1, 1, 1))], "b,z,f,y,x"),
]


@pytest.mark.parametrize(("layers", "tags"), CASES)
def test_reassembly_equals_every_position(layers, tags):
    n = len(layers[0][0])
    stride, fov = np.ones(n, int), np.ones(n, int)
    for kernel, pool_shape in layers:
        fov = fov + (np.array(kernel) + pool_shape - 2) * stride
        stride = stride * pool_shape
    m = np.array([2, 1, 2][:n])
    swapped = tags == "b,z,f,y,x"

    def shape(b, f, spatial):
        return (b, spatial[0], f, *spatial[1:]) if swapped else (b, f, *spatial)

    def net(sizes, mfp):
        node = source(shape(1, 2, [int(s) for s in sizes]), tags)
        for kernel, pool_shape in layers:
            node = conv(node, 3, kernel, pool_shape, mfp=mfp)
        return node

    fragments, plain = net(fov - 1 + stride * m, True), net(fov, False)
    assert fragments.shape["b"] == np.prod(stride) and fragments.shape.spatial_shape == list(m)
    dense = nm.FragmentsToDense(fragments, print_repr=False)
    for a, b in zip(dense.all_trainable_params.values(), plain.all_trainable_params.values(), strict=True):
        a.set_value(b.get_value())
    raw = random(*dense.input_nodes[0].shape.shape).astype("float32")
    got, func = dense(raw), nm.make_func(plain.input_tensors, plain.output)
    assert dense.shape.shape == list(got.shape) == list(shape(1, 3, list(stride * m)))
    assert dense.shape.strides.tolist() == [1] * n and dense.shape.mfp_offsets.tolist() == [[0] * n]
    assert dense.shape.fov == plain.shape.fov == fov.tolist() and dense.shape.offsets == plain.shape.offsets
    assert dense.computational_cost == 0
    axes = dense.shape.spatial_axes
    for place in np.ndindex(*(got.shape[a] for a in axes)):
        window, at = [slice(None)] * raw.ndim, [slice(None)] * raw.ndim
        for axis, i, f in zip(axes, place, fov, strict=True):
            window[axis], at[axis] = slice(i, i + f), slice(i, i + 1)
        np.testing.assert_allclose(got[tuple(at)], func(raw[tuple(window)]), rtol=1e-4, atol=1e-6)
    # The dense form has no fragments, but gives the same result.
    np.testing.assert_allclose(evaluate(twin(dense, dense=True), raw), got, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(evaluate(twin(dense), raw), got, rtol=1e-4, atol=1e-6)


def test_gradients():
    nm.config.floatX = "float64"
    node = conv(conv(source((1, 2, 8, 8)), 2, (2, 2), (2, 2), mfp=True), 2, (1, 2), (2, 1), mfp=True)
    node = nm.FragmentsToDense(node, print_repr=False)
    randomise(node)
    check_gradients(node)


def test_layers_between_and_after():
    fragments = conv(source((1, 1, 8, 8)), 2, (2, 2), (2, 2), mfp=True)
    soft = nm.Softmax(conv(fragments, 2, (1, 1), activation_func="lin"), print_repr=False)
    dense = nm.FragmentsToDense(soft, print_repr=False)
    after = conv(dense, 2, (3, 3))
    assert after.shape.shape == [1, 2, 4, 4] and after.shape.fov == [5, 5]
    raw = random(1, 1, 9, 10).astype("float32")
    assert evaluate(twin(after, dense=True), raw).shape == (1, 2, 5, 6)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (
            2,
            "needs raw data of batch size 1; got raw: batch size 2, 1 fragments; expected batch size 1",
        ),
        (None, "got raw: batch size None"),
    ],
)
def test_raw_data_must_be_one_item(batch, message):
    inp = source((batch, 1, 10), name="raw")
    before = registered()
    with pytest.raises(ShapeError, match=message):
        conv(inp, 2, (2,), (2,), mfp=True)
    assert registered() == before


def test_bad_reassembly():
    plain = conv(source((1, 1, 9)), 2, (2,), (2,))
    mixed = conv(conv(source((1, 1, 10), name="other"), 2, (2,), (2,), mfp=True), 2, (2,), (3,))
    up = nm.UpConv(source((1, 1, 10), name="third"), 2, (2,), print_repr=False)
    before = registered()
    with pytest.raises(
        ShapeError,
        match=r"one fragment per phase; got batch size 1, 1 fragments; expected 2 for strides \[2\]; "
        "nearest valid: mfp=True in all pooling layers",
    ):
        nm.FragmentsToDense(plain, print_repr=False)
    with pytest.raises(ShapeError, match=r"got batch size 2, 2 fragments; expected 6 for strides \[6\]"):
        nm.FragmentsToDense(mixed, print_repr=False)
    with pytest.raises(ValueError, match=r"grid finer than the raw data .* got strides \[0.5\]"):
        nm.FragmentsToDense(up, print_repr=False)
    assert registered() == before
