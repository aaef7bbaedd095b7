"""Recurrences inside larger graphs: constant and split memories, nesting, dense prediction."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import NeuromancerError
from tests.nodes.layers import check_gradients, random, randomise, source
from tests.nodes.test_recurrent import N, gru_step, lstm_step
from tests.nodes.test_scan import first_of, forms


@pytest.fixture
def double():
    """Build everything in double precision."""
    nm.config.floatX = "float64"


@forms
def test_constant_memory(unroll, double):
    sequence = source((4, 2, 3), "r,b,f", name="x")
    first = first_of(sequence)
    memory = nm.ValueNode((2, N), "b,f", print_repr=False)
    step = nm.GRU(first, memory, N, print_repr=False)
    node = nm.Scan(step, memory, None, sequence, first, unroll_scan=unroll, print_repr=False)
    params, state, want = step.get_param_values(), np.zeros((2, N)), []
    x = random(4, 2, 3)
    for v in x:
        state = gru_step(v, state, params["w"], params["b"])
        want.append(state)
    np.testing.assert_allclose(node(x), want, rtol=1e-10)
    check_gradients(node)


@forms
def test_feedback_and_cell_as_two_memories(unroll, double):
    sequence = source((4, 2, 3), "r,b,f", name="x")
    first = first_of(sequence)
    h0, c0 = (nm.InitialState_like(first, N, name=k, print_repr=False) for k in ("h0", "c0"))
    step = nm.LSTM(first, nm.Concat([h0, c0], axis="f", print_repr=False), N, print_repr=False)
    h, c = nm.split(step, "f", n_out=2)
    out = nm.Perceptron(h, 2, "tanh", name="out", print_repr=False)
    node = nm.Scan(out, [c0, h0], [c, h], sequence, first, unroll_scan=unroll, print_repr=False)
    cell, top, state, want = step.get_param_values(), out.get_param_values(), np.zeros((2, 2 * N)), []
    x = random(4, 2, 3)
    for v in x:
        state = lstm_step(v, state, cell["w"], cell["b"])
        want.append(np.tanh(state[:, :N] @ top["w"] + top["b"]))
    np.testing.assert_allclose(node(x), want, rtol=1e-10)


@pytest.mark.parametrize("inner", [True, False], ids=["inner unrolled", "inner loop"])
@forms
def test_a_recurrence_inside_a_step(unroll, inner, double):
    sequence = source((3, 2, 2), "r,b,f", name="x")
    first = first_of(sequence)
    memory = source((2, 2), "b,f", name="m")
    joined = nm.Add(memory, first, print_repr=False)
    small = nm.Perceptron(joined, 2, "tanh", name="small", print_repr=False)
    step = nm.Scan(small, joined, n_steps=3, unroll_scan=inner, last_only=True, print_repr=False)
    node = nm.Scan(step, memory, None, sequence, first, unroll_scan=unroll, print_repr=False)
    arrays = {n.name: random(*n.shape.shape) for n in node.input_nodes}
    params, state, want = small.get_param_values(), arrays["m"], []
    for v in arrays["x"]:
        state = state + v
        for _ in range(3):
            state = np.tanh(state @ params["w"] + params["b"])
        want.append(state)
    np.testing.assert_allclose(node(*arrays.values()), want, rtol=1e-10)
    if unroll != inner:
        check_gradients(node)


@forms
def test_dense_prediction_through_a_recurrence(unroll):
    raw = source((1, 1, 9, 9), "b,f,y,x", name="raw")
    features = nm.Conv(raw, 3, (4, 4), (2, 2), print_repr=False)
    memory = nm.InitialState_like(features, N, print_repr=False)
    step = nm.GRU(features, memory, N, print_repr=False)
    settled = nm.Scan(step, memory, n_steps=3, unroll_scan=unroll, last_only=True, print_repr=False)
    out = nm.Conv(settled, 2, (2, 2), print_repr=False)
    randomise(out)
    assert out.shape.fov == [7, 7]
    image = np.random.default_rng(0).random((1, 20, 21)).astype("float32")
    dense = out.predict_dense(image)
    assert dense.shape == (2, 14, 15)
    for i, j in ((0, 1), (3, 5), (11, 12)):
        tile = out(image[None, :, i : i + 9, j : j + 9])[0]
        np.testing.assert_allclose(dense[:, i : i + 4 : 2, j : j + 4 : 2], tile, rtol=1e-4, atol=1e-5)


def test_a_growing_field_of_view_is_not_predicted_densely():
    raw = source((1, 2, 9, 9), "b,f,y,x", name="raw")
    step = nm.Conv(raw, 2, (3, 3), conv_mode="same", print_repr=False)
    node = nm.Scan(step, raw, n_steps=3, last_only=True, print_repr=False)
    with pytest.raises(NeuromancerError, match="cannot be predicted densely"):
        node.predict_dense(np.zeros((2, 20, 20), "float32"))
