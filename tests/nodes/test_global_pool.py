"""Pools over the whole image against NumPy: values, gradients, squeeze and excite, dense prediction, bad inputs."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import ArgumentError, GraphError, InputTypeError, ShapeError
from tests.nodes.layers import check_gradients, random, randomise, registered, source

QUIET = {"print_repr": False}
REDUCE = {"average": np.mean, "max": np.max, "sum": np.sum}
LAYOUTS = [((2, 4, 5), "b,f,x"), ((2, 4, 3, 5), "b,f,y,x"), ((2, 3, 4, 2, 5), "b,z,f,y,x")]


def parts(x, axes, sizes, mode):
    """Adaptive pooling, part by part."""
    for axis, m in zip(axes, sizes, strict=True):
        n = x.shape[axis]
        bounds = [(i * n // m, -(-(i + 1) * n // m)) for i in range(m)]
        pooled = [REDUCE[mode](np.take(x, range(a, b), axis), axis) for a, b in bounds]
        x = np.stack(pooled, axis)
    return x


@pytest.mark.parametrize(("shape", "tags"), LAYOUTS)
@pytest.mark.parametrize("mode", REDUCE)
@pytest.mark.parametrize("keepdims", [True, False])
def test_global_pool(shape, tags, mode, keepdims):
    nm.config.floatX = "float64"
    x = random(*shape)
    node = nm.GlobalPool(source(shape, tags), mode, keepdims, **QUIET)
    space = tuple(node.parent.shape.spatial_axes)
    want = REDUCE[mode](x, space, keepdims=keepdims)
    np.testing.assert_allclose(node(x), want, rtol=1e-10)
    assert node.shape.shape == list(want.shape) and node.computational_cost == x.size
    assert node.shape.ndim == (len(space) if keepdims else 0)
    assert node.shape.fov == [-1] * node.shape.ndim == node.shape.offsets
    check_gradients(node)


@pytest.mark.parametrize(("shape", "tags"), LAYOUTS)
@pytest.mark.parametrize("mode", ["average", "max"])
@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("known", [True, False])
def test_adaptive_pool(shape, tags, mode, size, known):
    nm.config.floatX = "float64"
    x = random(*shape)
    sizes = [n if tag == "f" or known else None for n, tag in zip(shape, tags.split(","), strict=True)]
    node = nm.AdaptivePool(nm.Input(sizes, tags, **QUIET), size, mode, **QUIET)
    axes = node.shape.spatial_axes
    want = parts(x, axes, [size] * len(axes), mode)
    np.testing.assert_allclose(node(x), want, rtol=1e-10, atol=1e-12)
    assert node.shape.spatial_shape == [size] * len(axes) and node(x).shape == want.shape
    if known:
        check_gradients(node)
        assert node.shape.strides.tolist() == [1 if size == 1 else n / size for n in node.parent.shape.spatial_shape]


def test_a_size_per_axis():
    x = random(1, 2, 6, 7).astype("float32")
    node = nm.AdaptivePool(source(x.shape), (1, 3), **QUIET)
    np.testing.assert_allclose(node(x), parts(x, (2, 3), (1, 3), "average"), rtol=1e-5)


def gated(x, factory, name="gated"):
    """Squeeze and excite (Hu et al. 2018, arXiv:1709.01507)."""
    squeezed = nm.GlobalPool(x, name="squeeze", **QUIET)
    gate = factory(factory(squeezed, 2, "relu", "inner"), x.shape["f"], "sig", "outer")
    return nm.Product([x, gate], name=name, **QUIET)


FACTORIES = {
    "perceptron": lambda p, n, act, name: nm.Perceptron(p, n, act, name=name, **QUIET),
    "conv": lambda p, n, act, name: nm.Conv(p, n, (1, 1), activation_func=act, name=name, **QUIET),
}


@pytest.mark.parametrize("kind", FACTORIES)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("known", [True, False])
def test_squeeze_and_excite(kind, stride, known):
    nm.config.floatX = "float64"
    sizes = (2, 3, 9, 11) if known else (None, 3, None, None)
    inp = source(sizes)
    conv = nm.Conv(inp, 4, (3, 3), stride=stride, activation_func="tanh", name="conv", **QUIET)
    node = gated(conv, FACTORIES[kind])
    randomise(node)
    x = random(2, 3, 9, 11)
    features = conv(x)
    v = {key: p.get_value() for key, p in node.all_params.items()}
    w1, w2 = (v[f"{n}_w"] if kind == "perceptron" else v[f"{n}_w"][:, :, 0, 0].T for n in ("inner", "outer"))
    hidden = np.maximum(features.mean((2, 3)) @ w1 + v["inner_b"], 0)
    gate = 1 / (1 + np.exp(-(hidden @ w2 + v["outer_b"])))
    np.testing.assert_allclose(node(x), features * gate[:, :, None, None], rtol=1e-9, atol=1e-12)
    assert node.shape == conv.shape
    if known:
        check_gradients(node)
    with pytest.raises(GraphError, match="GlobalPool 'squeeze' takes the average over the whole image"):
        node.predict_dense(random(3, 12, 12))


@pytest.mark.parametrize("order", [0, 1])
def test_the_geometry_comes_from_what_has_a_place(order):
    """Whatever was pooled, at whatever resolution, and whether or not grids were refined before."""
    inp = source((1, 2, 20, 20))
    small = nm.Conv(inp, 4, (3, 3), stride=2, padding=1, **QUIET)
    up = nm.UpConv(small, 4, (2, 2), **QUIET)
    for place, pooled in ((small, inp), (up, small), (small, up), (up, inp)):
        gate = nm.Perceptron(nm.GlobalPool(pooled, "max", **QUIET), 4, "sig", **QUIET)
        node = nm.Product([place, gate][:: 1 - 2 * order], **QUIET)
        assert node.shape == place.shape
        after = nm.Conv(node, 2, (3, 3), **QUIET)
        assert after.shape == nm.Conv(place, 2, (3, 3), **QUIET).shape
    two = [nm.Conv(inp, 4, (k, k), conv_mode="same", **QUIET) for k in (3, 5)]
    assert nm.Sum([*two, nm.GlobalPool(small, **QUIET)], **QUIET).shape.fov == [5, 5]
    assert nm.Product([nm.GlobalPool(small, **QUIET)] * 2, **QUIET).shape.fov == [-1, -1]


def test_patch_sizes_stay_free():
    conv = nm.Conv(source((1, 2, 10, 10)), 4, (3, 3), (2, 2), name="conv", **QUIET)
    plain = nm.get_valid_patch_sizes(conv)
    assert [list(s) for s in nm.get_valid_patch_sizes(gated(conv, FACTORIES["conv"]))] == [list(s) for s in plain]
    assert 13 in nm.get_valid_patch_sizes(nm.AdaptivePool(source((1, 2, 10, 10)), 3, **QUIET))[0]


def test_dense_prediction_names_the_pools():
    inp = source((1, 2, 10, 10))
    first = nm.Upsample(nm.AdaptivePool(inp, 2, "max", name="parts", **QUIET), size=(10, 10), **QUIET)
    with pytest.raises(GraphError, match=r"AdaptivePool 'parts' takes the max over parts of the whole image"):
        nm.Add(inp, first, **QUIET).predict_dense(random(2, 12, 12).astype("float32"))


def test_files(tmp_path, fresh_model):
    inp = nm.Input((None, 3, None, None), "b,f,y,x", name="raw", **QUIET)
    node = gated(nm.Conv(inp, 4, (3, 3), stride=2, name="conv", **QUIET), FACTORIES["perceptron"])
    nm.GlobalPool(nm.AdaptivePool(node, (2, 3), "max", **QUIET), "sum", False, name="last", **QUIET)
    x = random(2, 3, 12, 13).astype("float32")
    want = fresh_model["last"](x)
    fresh_model.save(tmp_path / "pools.h5")
    np.testing.assert_array_equal(nm.modelload(tmp_path / "pools.h5")["last"](x), want)


@pytest.mark.parametrize(
    ("build", "error", "says"),
    [
        (lambda x: nm.GlobalPool(x, "mean", **QUIET), ArgumentError, "unknown pooling mode; got mean"),
        (lambda x: nm.GlobalPool(x, "averag", **QUIET), ArgumentError, "nearest valid: average"),
        (lambda x: nm.GlobalPool(x, 3, **QUIET), ArgumentError, "unknown pooling mode; got 3"),
        (lambda x: nm.GlobalPool(x, keepdims=1, **QUIET), ArgumentError, "keepdims must be a bool"),
        (lambda x: nm.GlobalPool(source((2, 3), "b,f"), **QUIET), ShapeError, "no spatial axes to pool"),
        (lambda x: nm.GlobalPool([x], **QUIET), InputTypeError, "node"),
        (lambda x: nm.AdaptivePool(x, 0, **QUIET), ArgumentError, "output_size"),
        (lambda x: nm.AdaptivePool(x, 10**12, **QUIET), ArgumentError, "at most 65536 voxels per axis"),
        (lambda x: nm.AdaptivePool(x, (2,), **QUIET), ShapeError, "output_size.*2 entries"),
        (lambda x: nm.AdaptivePool(x, 2, "sum", **QUIET), ArgumentError, r"one of \('average', 'max'\)"),
        (lambda x: nm.AdaptivePool(source((2, 3), "b,f"), 2, **QUIET), ShapeError, "no spatial axes"),
    ],
)
def test_bad_arguments_leave_nothing_behind(build, error, says):
    parent = source((2, 4, 5, 6))
    with pytest.raises(error, match=says):
        build(parent)
    assert not [name for name in registered() if "pool" in name]
