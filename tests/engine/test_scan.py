"""Loops: stored values and gradients, lengths, training, errors."""

from __future__ import annotations

import numpy as np
import pytest

from neuromancer import engine as E
from neuromancer.errors import ShapeError
from tests.engine.golden import expected
from tests.engine.loops import LOOPS, W, X, graph, rnn, symbols

T = E.T


@pytest.mark.parametrize("name", LOOPS)
def test_values_and_gradients(name) -> None:
    inputs, outputs = graph(name)
    for result, value in zip(E.function(inputs, outputs)(X, W), expected("loops", name), strict=True):
        assert result.dtype == value.dtype and result.shape == value.shape
        np.testing.assert_allclose(result, value, rtol=1e-9, atol=1e-12)


def test_any_length_without_compiling_again() -> None:
    x, w = symbols()
    f = E.function([x, w], rnn(x, w))
    for n in (1, 2, 9):
        assert f(np.ones((n, 2, 3)), W).shape == (n, 2, 3)


def test_weights_are_shared_and_trained() -> None:
    x, _ = symbols()
    w = E.SharedVariable(W, "w")
    cost = (rnn(x, w)[-1] ** 2).sum()
    train = E.function([x], cost, updates=[(w, w - 0.1 * E.grad(cost, [w])[0])])
    costs = [train(X).item() for _ in range(5)]
    assert costs == sorted(costs, reverse=True)


def test_sequences_shorter_than_the_loop() -> None:
    x, _ = symbols()
    n = E.tensor("n", (), "int64")
    f = E.function([x, n], E.scan(lambda v, h: T.tanh(h + v), x, T.zeros_like(x[0]), n_steps=n))
    assert f(X, 3).shape == (3, 2, 3)
    with pytest.raises(ShapeError, match=r"shorter than the loop"):
        f(X, 9)


@pytest.mark.parametrize("steps", [1, 3, 6, "symbolic"])
@pytest.mark.parametrize("backwards", [False, True])
def test_fewer_steps_than_elements_start_at_the_first_or_the_last(steps, backwards) -> None:
    x, _ = symbols()
    n = E.tensor("n", (), "int64")
    given_steps, length = (n, 1) if steps == "symbolic" else (steps, steps)
    states, doubled = E.scan(
        lambda v, h: (h + v, 2 * v),
        [x],
        [T.zeros_like(x[0]), None],
        n_steps=given_steps,
        go_backwards=backwards,
    )
    visited = (X[::-1] if backwards else X)[:length]
    gradient = E.grad(states[-1].sum(), [x])[0]
    sums, twice, slope = E.function([x, n], [states, doubled, gradient])(X, length)
    np.testing.assert_allclose(sums, np.cumsum(visited, axis=0))
    np.testing.assert_allclose(twice, 2 * visited)
    reached = np.zeros_like(X)
    (reached[::-1] if backwards else reached)[:length] = 1
    np.testing.assert_allclose(slope, reached)
