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
