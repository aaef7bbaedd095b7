"""GRU and LSTM steps against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import ArgumentError, ShapeError
from tests.nodes.layers import check_gradients, random, randomise, registered, source

N = 4


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gru_step(x, m, w, b):
    """Compute a GRU step for x (..., n_in) and m (..., N)."""
    joint = np.concatenate([m, x], axis=-1)
    z, r = (sigmoid(joint @ w[:, i * N : (i + 1) * N] + b[i * N : (i + 1) * N]) for i in range(2))
    h = np.tanh(np.concatenate([r * m, x], axis=-1) @ w[:, 2 * N :] + b[2 * N :])
    return (1 - z) * m + z * h


def lstm_step(x, m, w, b):
    h, c = m[..., :N], m[..., N:]
    linear = np.concatenate([h, x], axis=-1) @ w + b
    f, i, o = (sigmoid(linear[..., k * N : (k + 1) * N]) for k in range(3))
    cell = f * c + i * np.tanh(linear[..., 3 * N :])
    return np.concatenate([o * np.tanh(cell), cell], axis=-1)


CELLS = {nm.GRU: (gru_step, 1, 3), nm.LSTM: (lstm_step, 2, 4)}
cells = pytest.mark.parametrize("cls", CELLS)


def make(cls, shape=(3, 5), tags="b,f", memory_shape=None, memory_tags=None, **kwargs):
    states = CELLS[cls][1] * N
    sizes = [states if t == "f" else n for n, t in zip(shape, tags.split(","), strict=True)]
    inp = source(shape, tags, name="x")
    memory = source(memory_shape or tuple(sizes), memory_tags or tags, name="memory")
    return cls(inp, memory, N, print_repr=False, **kwargs)


@cells
@pytest.mark.parametrize(
    ("shape", "tags"), [((3, 5), "b,f"), ((2, 5, 3), "b,f,x"), ((2, 3, 5, 2, 2), "b,z,f,y,x"), ((2, 3, 5), "b,x,f")]
)
def test_values_shapes_gradients(cls, shape, tags):
    nm.config.floatX = "float64"
    step, n_states, blocks = CELLS[cls]
    node = make(cls, shape, tags)
    randomise(node)
    axis, values = tags.split(",").index("f"), node.get_param_values()
    x = random(*shape)
    m = random(*(n_states * N if i == axis else n for i, n in enumerate(shape)), seed=1)
    want = np.moveaxis(step(np.moveaxis(x, axis, -1), np.moveaxis(m, axis, -1), values["w"], values["b"]), -1, axis)
    np.testing.assert_allclose(node(x, m), want, rtol=1e-12)
    assert node.shape.shape == list(want.shape)
    assert [n.name for n in node.input_nodes] == ["x", "memory"]
    assert values["w"].shape == (N + 5, blocks * N) and values["b"].shape == (blocks * N,)
    assert node.computational_cost == blocks * x.size * N
    check_gradients(node)


@cells
@pytest.mark.parametrize(
    ("memory_shape", "memory_tags"), [((3, "f"), "b,f"), (("f",), "f"), ((3, "f", 1), "b,f,x"), ((1, "f", 2), "b,f,x")]
)
def test_memory_is_repeated_over_the_other_axes(cls, memory_shape, memory_tags):
    nm.config.floatX = "float64"
    step, n_states, _ = CELLS[cls]
    sizes = tuple(n_states * N if n == "f" else n for n in memory_shape)
    node = make(cls, (3, 5, 2), "b,f,x", sizes, memory_tags)
    x, m, values = random(3, 5, 2), random(*sizes, seed=1), node.get_param_values()
    index = tuple(slice(None) if t in memory_tags.split(",") else None for t in ("b", "f", "x"))
    full = np.broadcast_to(m[index], (3, n_states * N, 2))
    want = np.moveaxis(step(np.moveaxis(x, 1, -1), np.moveaxis(full, 1, -1), values["w"], values["b"]), -1, 1)
    np.testing.assert_allclose(node(x, m), want, rtol=1e-12)
    check_gradients(node)


@cells
def test_default_weights_are_orthogonal_and_reproducible(cls):
    nm.seed(0)
    w = make(cls).get_param_values()["w"]
    nm.seed(0)
    np.testing.assert_array_equal(make(cls).get_param_values()["w"], w)
    gram = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    np.testing.assert_allclose(gram, np.eye(len(gram)) * gram[0, 0], atol=1e-5)
    nm.seed(None)


@cells
def test_given_weights(cls):
    blocks = CELLS[cls][2]
    w, b = random(N + 5, blocks * N), random(blocks * N)
    node = make(cls, w=[w, "const"], b=b)
    assert list(node.all_trainable_params) == [f"{node.name}_b"]
    np.testing.assert_array_equal(node.get_param_values()["w"], w.astype("float32"))
    with pytest.raises(ShapeError, match=rf"parameter 'w' has the wrong shape; .* expected \(9, {blocks * N}\)"):
        make(cls, w=w.T)


def test_other_activation():
    node = make(
        nm.GRU,
        activation_func="lin",
        w=np.zeros((N + 5, 3 * N)),
        b=np.r_[np.full(N, 30.0), np.zeros(N), np.arange(4.0)],
    )
    out = node(random(3, 5).astype("float32"), random(3, N).astype("float32"))
    np.testing.assert_allclose(out, [np.arange(4.0)] * 3, atol=1e-5)


def test_debug_outputs():
    gru, lstm = make(nm.GRU), make(nm.LSTM)
    x, m = random(3, 5).astype("float32"), random(3, 2 * N).astype("float32")
    memory, out, z, r = gru.get_debug_outputs(x, m[:, :N])
    np.testing.assert_array_equal(memory, m[:, :N])
    np.testing.assert_array_equal(out, gru(x, m[:, :N]))
    assert z.shape == r.shape == (3, N)
    assert all(g.shape == (3, N) and ((g > 0) & (g < 1)).all() for g in lstm.get_debug_outputs(x, m))


def test_unknown_batch_size():
    node = make(nm.LSTM, (None, 5))
    assert node.shape.shape == [None, 2 * N]
    assert node(np.ones((7, 5), "float32"), np.ones((7, 2 * N), "float32")).shape == (7, 2 * N)


def test_initial_state():
    inp = source((3, 5))
    state = nm.InitialState_like(inp, N, print_repr=False)
    node = nm.GRU(inp, state, N, print_repr=False)
    assert [n.name for n in node.input_nodes] == ["input"]
    assert list(node.all_trainable_params) == ["initial_state_value", "gru_w", "gru_b"]
    assert node(np.ones((3, 5), "float32")).shape == (3, N)
    copy = node.infer(np.ones((3, 5), "float32"))
    assert copy.shape == (3, N)


@cells
@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"flatten": True}, ArgumentError, "not available for recurrent cells; got flatten=True"),
        ({"batch_normalisation": "train"}, ArgumentError, "got batch_normalisation='train'"),
        ({"dropout_rate": 0.5}, ArgumentError, "got dropout_rate=0.5"),
        (
            {"activation_func": "prelu"},
            ArgumentError,
            "got activation_func='prelu'; expected one of .*nearest valid: 'tanh'",
        ),
        ({"activation_func": "maxout 2"}, ArgumentError, "got activation_func='maxout 2'"),
        ({"activation_func": "tan"}, ArgumentError, "unknown activation function; got tan; .* nearest valid: tanh"),
        ({"gamma": np.ones(4)}, ArgumentError, "got gamma with batch_normalisation=False"),
        (
            {"memory_shape": (3, 5), "memory_tags": "b,f"},
            ShapeError,
            r"the memory has the wrong number of features; "
            r"got memory: f=5; expected f=(4|8 \(hidden and cell, n_f=4 each\))",
        ),
        (
            {"memory_shape": (2, 0), "memory_tags": "b,f"},
            ShapeError,
            "axes of the memory do not match those of the input",
        ),
        (
            {"memory_shape": (0, 3), "memory_tags": "f,b"},
            ShapeError,
            "axes of the memory do not match those of the input",
        ),
        (
            {"memory_shape": (3, 0, 1), "memory_tags": "b,f,x"},
            ShapeError,
            "axes of the memory do not match those of the input",
        ),
        (
            {"shape": (6, 3, 5), "tags": "r,b,f"},
            ShapeError,
            "its input must have no axis r; got r,b,f; nearest valid: a part of split",
        ),
        ({"shape": (5, 3), "tags": "f,b"}, ShapeError, "the features must not be on the first axis"),
    ],
)
def test_bad_arguments_leave_nothing_behind(cls, kwargs, error, message):
    if "memory_shape" in kwargs:
        kwargs = {**kwargs, "memory_shape": tuple(n or CELLS[cls][1] * N for n in kwargs["memory_shape"])}
    with pytest.raises(error, match=message):
        make(cls, **kwargs)
    assert registered() == {"x": [], "memory": []}
