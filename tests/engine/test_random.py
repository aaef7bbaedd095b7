"""Random streams: distributions, new numbers at every call, reproducibility."""

from __future__ import annotations

import numpy as np
import pytest

from neuromancer import engine as E
from neuromancer.config import config
from neuromancer.engine.common.random import RandomDrawBase, mix
from neuromancer.errors import ArgumentError, InputTypeError


def test_distributions() -> None:
    stream = E.RandomStream(3)
    n = (200, 500)
    normal, uniform, coin = E.function([], [stream.normal(n), stream.uniform(n), stream.bernoulli(0.3, n)])()
    assert abs(normal.mean()) < 0.02 and abs(normal.std() - 1) < 0.02
    assert abs(uniform.mean() - 0.5) < 0.01 and uniform.min() >= 0 and uniform.max() < 1
    assert set(np.unique(coin)) == {0, 1} and abs(coin.mean() - 0.3) < 0.01
    assert normal.dtype == uniform.dtype == coin.dtype == config.floatX
    assert abs(np.corrcoef(normal.ravel(), uniform.ravel())[0, 1]) < 0.02


def test_new_numbers_at_every_call_and_the_same_after_reseed() -> None:
    stream = E.RandomStream(5)
    f = E.function([], stream.normal((4,)))
    first, second = f(), f()
    assert not np.array_equal(first, second)
    stream.reseed(5)
    np.testing.assert_array_equal(f(), first)
    np.testing.assert_array_equal(f(), second)
    stream.reseed(6)
    assert not np.array_equal(f(), first)


def test_seeded_streams_are_reproducible_and_draws_independent() -> None:
    def draws(seed):
        stream = E.RandomStream(seed)
        return E.function([], [stream.normal((3,)), stream.normal((3,))])()

    a, b, c = draws(1), draws(1), draws(2)
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a[0], a[1]) and not np.array_equal(a, c)


def test_one_draw_used_twice_is_one_set_of_numbers() -> None:
    mask = E.RandomStream(1).bernoulli(0.5, (100,))
    a, b = E.function([], [mask, mask * 2])()
    np.testing.assert_array_equal(a * 2, b)


def test_gradient_sees_the_same_mask_as_the_forward_pass() -> None:
    x = E.tensor("x", (None,), "float32")
    y = x * E.RandomStream(1).bernoulli(0.5, x.shape)
    value, gradient = E.function([x], [y, E.grad(y.sum(), [x])[0]])(np.ones(50))
    np.testing.assert_array_equal(value, gradient)
    assert 0 < value.sum() < 50


def test_symbolic_shapes_and_probabilities() -> None:
    x = E.tensor("x", (None, None), "float32")
    p = E.tensor("p", (), "float32")
    f = E.function([x, p], E.RandomStream(1).bernoulli(p, (x.shape[1], 1000), "float64"))
    assert f(np.zeros((2, 3)), 0.9).shape == (3, 1000) and f(np.zeros((2, 3)), 0.9).dtype == "float64"
    assert f(np.zeros((2, 3)), 0.9).mean() > 0.85 and f(np.zeros((2, 3)), 0.0).sum() == 0
    q = E.tensor("q", (2, 1), "float32")
    rows = E.function([q], E.RandomStream(1).bernoulli(q, (2, 100)))([[0], [1]])
    assert rows[0].sum() == 0 and rows[1].sum() == 100
    assert E.known_shape(E.RandomStream(1).normal((2, x.shape[0]))) == (2, None)


def test_states_are_well_mixed() -> None:
    seeds = {mix(seed, counter) for seed in range(50) for counter in range(50)}
    assert len(seeds) == 2500 and all(0 <= s < 2**63 for s in seeds)


def test_bad_arguments() -> None:
    with pytest.raises(ArgumentError, match=r"not a probability; got 1.5"):
        E.RandomStream(1).bernoulli(1.5, (2,))
    with pytest.raises(ArgumentError, match=r"seed must be an integer"):
        E.RandomStream("a")
    with pytest.raises(InputTypeError, match=r"size must be an integer"):
        E.RandomStream(1).normal((2.5,))
    with pytest.raises(InputTypeError, match=r"unsupported dtype; got int32"):
        E.RandomStream(1).normal((2,), "int32")
    with pytest.raises(ArgumentError, match=r"unknown distribution"):
        RandomDrawBase("cauchy", "float32")
