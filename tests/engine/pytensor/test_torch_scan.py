"""Loops on torch against loops in Python: taps, buffers that keep the last values only, conditions, gradients."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pytensor.scan.utils import until

from neuromancer import engine as E
from neuromancer.errors import ShapeError

T = E.T
X = np.random.default_rng(0).standard_normal((7, 3))


def matrix():
    return E.tensor("x", (None, 3), "float64")


@settings(max_examples=15, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(1, 3),
    st.booleans(),
    st.sampled_from([slice(None), slice(-1, None), slice(-2, None)]),
)
def test_any_taps_into_the_past(near, far, backwards, part) -> None:
    """A rewrite shortens the buffer if the last values alone are read."""
    taps = sorted({-near - far, -near})
    x = matrix()
    depth = -min(taps)
    start = E.constant(np.arange(depth * 3.0).reshape(depth, 3))
    y = E.scan(
        lambda v, *old: v + 0.5 * old[0] - 0.25 * old[-1], x, {"initial": start, "taps": taps}, go_backwards=backwards
    )
    history = list(np.arange(depth * 3.0).reshape(depth, 3))
    for v in X[::-1] if backwards else X:
        history.append(v + 0.5 * history[min(taps)] - 0.25 * history[max(taps)])
    np.testing.assert_allclose(E.function([x], y[part])(X), np.array(history[depth:])[part], rtol=1e-12)


@pytest.mark.parametrize("taps", [[-1, 0], [0, 2], [-2, 0, 1], [3]])
def test_taps_of_sequences_reach_only_elements_that_exist(taps) -> None:
    x = matrix()
    y = E.scan(lambda *v: sum(k * u for k, u in enumerate(v, 2)), {"input": x, "taps": taps}, [None])
    n = len(X) - max(0, *taps) + min(0, *taps)
    first = -min(0, *taps)
    expected = [sum(k * X[first + i + t] for k, t in enumerate(sorted(taps), 2)) for i in range(n)]
    np.testing.assert_allclose(E.function([x], y)(X), expected, rtol=1e-12)


def test_the_shortest_sequence_is_the_length_of_the_loop() -> None:
    x, y = matrix(), E.tensor("y", (None, 3), "float64")
    h = E.scan(lambda a, b, total: total + a * b, [x, y], T.zeros((3,), "float64"))
    f = E.function([x, y], h)
    for n in (1, 4, 7, 9):
        b = np.resize(X, (n, 3)) + 1
        np.testing.assert_allclose(f(X, b), np.cumsum(X[:n] * b[:7], axis=0))


def test_gradients_reach_sequences_states_and_parameters() -> None:
    x, start, w = matrix(), E.tensor("start", (3,), "float64"), E.tensor("w", (3, 3), "float64")
    y = E.scan(lambda v, h, m: T.tanh(v + T.dot(h, m)), x, start, w)
    weights = E.constant(np.random.default_rng(3).standard_normal(X.shape))
    cost = (y * weights).sum()
    f = E.function([x, start, w], [cost, *E.grad(cost, [x, start, w])])
    rng = np.random.default_rng(1)
    point = [X, rng.standard_normal(3), rng.standard_normal((3, 3)) / 2]
    _, *gradients = f(*point)
    for k, gradient in enumerate(gradients):
        along, step = rng.standard_normal(point[k].shape), 1e-6
        ends = []
        for sign in (1, -1):
            moved = [*point]
            moved[k] = point[k] + sign * step * along
            ends.append(f(*moved)[0])
        np.testing.assert_allclose((gradient * along).sum(), (ends[0] - ends[1]) / (2 * step), rtol=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_truncated_gradients_flow_through_the_last_steps_only(steps) -> None:
    x = matrix()
    y = E.scan(lambda v, h: v + 2 * h, x, T.zeros((3,), "float64"), truncate_gradient=steps)
    gradient = E.function([x], E.grad(y[-1].sum(), [x])[0])(X)
    assert gradient.shape == X.shape
    expected = 2.0 ** np.arange(len(X))[::-1]
    expected[: len(X) - steps] = 0
    np.testing.assert_allclose(gradient, np.repeat(expected[:, None], 3, axis=1))


@pytest.mark.parametrize("limit", [-100.0, 0.5, 2.0, 100.0])
def test_a_condition_ends_the_loop_after_the_step_that_meets_it(limit) -> None:
    x = E.tensor("x", (None,), "float64")
    y = E.scan(lambda v, h: (h + v, until(h + v > limit)), x, T.zeros((), "float64"))
    sums = np.cumsum(np.abs(X[:, 0]))
    met = np.flatnonzero(sums > limit)
    expected = sums[: met[0] + 1] if met.size else sums
    whole, last, length = E.function([x], [y, y[-1], y.shape[0]])(np.abs(X[:, 0]))
    np.testing.assert_allclose(whole, expected)
    assert last == whole[-1] and length == len(expected)


def test_integer_states_and_several_outputs() -> None:
    n = E.tensor("n", (), "int64")
    a, b, c = E.scan(
        lambda i, j: (j, i + j, T.cast(i * 2, "float32")),
        initial=[T.constant(np.int64(0)), T.constant(np.int64(1)), None],
        n_steps=n,
    )
    first, second, third = E.function([n], [a, b, c])(8)
    assert first.tolist() == [1, 1, 2, 3, 5, 8, 13, 21] and second.tolist() == [1, 2, 3, 5, 8, 13, 21, 34]
    assert third.tolist() == [0, 2, 2, 4, 6, 10, 16, 26] and (first.dtype, third.dtype) == ("int64", "float32")


@pytest.mark.parametrize("steps", [-1, 8])
def test_a_loop_longer_than_its_sequence_names_both_lengths(steps) -> None:
    x, n = matrix(), E.tensor("n", (), "int64")
    f = E.function([x, n], E.scan(lambda v, h: v + h, x, T.zeros((3,), "float64"), n_steps=n))
    np.testing.assert_allclose(f(X, 7), np.cumsum(X, axis=0))
    with pytest.raises(ShapeError) as caught:
        f(X, steps)
    assert str(steps) in caught.value.expected and (steps < 0 or caught.value.got == [7])


def test_an_empty_sequence_gives_empty_results() -> None:
    x = matrix()
    states, outputs = E.scan(lambda v, h: (v + h, v * 2), x, [T.zeros((3,), "float64"), None])
    gradient = E.grad(states.sum() + (outputs * outputs).sum(), [x])[0]
    for result in E.function([x], [states, outputs, outputs + 1, gradient])(np.zeros((0, 3))):
        assert result.shape == (0, 3)
    y = E.tensor("y", (None, None, None), "float64")
    loop = E.function([y], E.scan(lambda v: v.sum(axis=1), y, [None]))
    assert loop(np.ones((2, 4, 5))).shape == (2, 4) and loop(np.ones((0, 4, 5))).ndim == 2


def test_results_are_not_overwritten_by_the_next_call() -> None:
    x = matrix()
    f = E.function([x], E.scan(lambda v, h: v + h, x, T.zeros((3,), "float64")))
    first = f(X)
    kept = first.copy()
    f(-X)
    np.testing.assert_array_equal(first, kept)
