"""Reference implementations of layers in NumPy, and checks shared by several tests."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

import neuromancer as nm
from neuromancer import engine as E
from neuromancer.graph.rebuild import rebuild
from neuromancer.graph.window import BuildMode

TAGS = {1: "b,f,x", 2: "b,f,y,x", 3: "b,f,z,x,y"}


def source(shape, tags=None, **kwargs):
    """Create an input, in layout b,f,... unless tags are given."""
    return nm.Input(shape, tags or TAGS.get(len(shape) - 2, "b,f"), print_repr=False, **kwargs)


def random(*shape, seed=0):
    """Return normally distributed values."""
    return np.random.default_rng(seed).normal(size=shape)


def convolve(x, w, pad=None):
    """Compute the true convolution of x (b, f, *spatial) with w (n_out, n_in, *kernel), with `pad` zeros per axis."""
    n = x.ndim - 2
    x = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in pad or (0,) * n)])
    windows = sliding_window_view(x, w.shape[2:], axis=tuple(range(2, 2 + n)))
    flipped = w[(slice(None), slice(None), *(slice(None, None, -1),) * n)]
    letters = "ijk"[:n], "uvw"[:n]
    return np.einsum(f"bc{letters[0]}{letters[1]},oc{letters[1]}->bo{letters[0]}", windows, flipped)


def pool(x, size, stride=None, reduce=np.max):
    """Reduce windows of x (b, f, *spatial)."""
    n = x.ndim - 2
    windows = sliding_window_view(x, size, axis=tuple(range(2, 2 + n)))
    steps = tuple(slice(None, None, s) for s in stride or size)
    return reduce(windows[(slice(None), slice(None), *steps)], axis=tuple(range(-n, 0)))


def up_convolve(x, w):
    """Compute out[o, p * i + k] = sum_c w[o, c, k] * x[c, i]."""
    factors = w.shape[2:]
    out = np.zeros((x.shape[0], w.shape[0], *(s * p for s, p in zip(x.shape[2:], factors, strict=True))))
    for k in product(*(range(p) for p in factors)):
        steps = tuple(slice(i, None, p) for i, p in zip(k, factors, strict=True))
        out[(slice(None), slice(None), *steps)] = np.einsum("oc,bc...->bo...", w[(slice(None), slice(None), *k)], x)
    return out


def per_feature(v, ndim, axis=1):
    """Reshape a vector of features to broadcast against rank `ndim`."""
    return np.reshape(v, [-1 if i == axis else 1 for i in range(ndim)])


def randomise(node, seed=0, scale=0.5):
    """Set all trainable parameters of a node and its ancestors to normally distributed values."""
    rng = np.random.default_rng(seed)
    for param in node.all_trainable_params.values():
        param.set_value((scale * rng.normal(size=param.get_value().shape)).astype(param.dtype))


def check_gradients(node, wrt=None, seed=0, tolerance=1e-6):
    """Compare gradients for parameters and inputs with central differences along random directions, in float64."""
    assert nm.config.floatX == "float64"
    rng = np.random.default_rng(seed)
    data = {n: rng.normal(size=[s or 2 for s in n.shape.shape]) for n in node.input_nodes}
    weights = rng.normal(size=np.shape(node(*data.values())))
    cost = (node.output * weights).sum()
    params = list(node.all_trainable_params.values()) if wrt is None else wrt
    func = nm.make_func(node.input_tensors, [cost, *E.grad(cost, [*params, *node.input_tensors])])
    _, *gradients = func(*data.values())
    step = 1e-6
    for param, gradient in zip(params, gradients, strict=False):
        value, direction = param.get_value(), rng.normal(size=gradient.shape)
        ends = []
        for sign in (1, -1):
            param.set_value(value + sign * step * direction)
            ends.append(func(*data.values())[0])
        param.set_value(value)
        np.testing.assert_allclose(
            (ends[0] - ends[1]) / (2 * step),
            (gradient * direction).sum(),
            rtol=tolerance,
            atol=tolerance,
            err_msg=param.name,
        )
    for i, gradient in enumerate(gradients[len(params) :]):
        direction, arrays = rng.normal(size=gradient.shape), list(data.values())
        ends = []
        for sign in (1, -1):
            moved = [a + sign * step * direction if i == j else a for j, a in enumerate(arrays)]
            ends.append(func(*moved)[0])
        np.testing.assert_allclose(
            (ends[0] - ends[1]) / (2 * step), (gradient * direction).sum(), rtol=tolerance, atol=tolerance
        )


def twin(node, **mode):
    """Rebuild a node for inputs of any size, by default in the inference form."""
    return rebuild([node], BuildMode(**{"inference": True, **mode}), free_sizes=True)[node]


def evaluate(built, *arrays):
    """Evaluate a rebuilt node."""
    return nm.make_func(built.input_tensors, built.output)(*arrays)


def check_dense_form(node, raw, tolerance=1e-5):
    """Compare the dense form on raw (b, f, *spatial) with the node evaluated on the field of view of every position."""
    dense, plain = twin(node, dense=True), twin(node)
    got = evaluate(dense, raw)
    fov = node.shape.fov
    spatial = [n - f + 1 for n, f in zip(raw.shape[2:], fov, strict=True)]
    assert list(got.shape[2:]) == spatial
    func = nm.make_func(plain.input_tensors, plain.output)
    for place in product(*(range(n) for n in spatial)):
        window = raw[(slice(None), slice(None), *(slice(i, i + f) for i, f in zip(place, fov, strict=True)))]
        want = func(window)
        assert want.shape[2:] == (1,) * len(fov)
        at = (slice(None), slice(None), *(slice(i, i + 1) for i in place))
        np.testing.assert_allclose(got[at], want, rtol=tolerance, atol=tolerance)
    return got


def registered():
    """Return the nodes of the current model and their children, which a failing constructor must not change."""
    model = nm.model_manager.current
    return {name: list(node.children) for name, node in model.nodes.items()}
