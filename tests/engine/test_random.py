"""Random streams: distributions, new numbers at every call, reproducibility."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
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


# ---- states
def test_a_stored_state_continues_where_the_stream_was() -> None:
    stream = E.RandomStream(4)
    f = E.function([], [stream.normal((3,)), stream.uniform((2,))])
    f()
    seed, positions = stream.get_state()
    assert seed == 4 and positions.shape == (2, 2) and positions.dtype == "int64"
    following = f()
    stream.set_state(seed, positions)
    for again, value in zip(f(), following, strict=True):
        np.testing.assert_array_equal(again, value)


def test_a_state_moves_to_another_stream_even_before_its_draws_are_made() -> None:
    first = E.RandomStream(4)
    draws = [first.normal((3,)), first.uniform((3,))]
    f = E.function([], draws)
    f()
    state = first.get_state()
    following = f()
    second = E.RandomStream(99)
    early = second.normal((3,))
    second.set_state(*state)
    assert second.seed == 4
    kept = second.get_state()
    assert kept[0] == 4 and np.array_equal(kept[1], state[1]), "positions of draws that do not exist yet are kept"
    late = second.uniform((3,))
    for again, value in zip(E.function([], [early, late])(), following, strict=True):
        np.testing.assert_array_equal(again, value)


def test_a_state_is_a_copy() -> None:
    stream = E.RandomStream(4)
    f = E.function([], stream.normal((3,)))
    seed, positions = stream.get_state()
    before = positions.copy()
    first = f()
    np.testing.assert_array_equal(positions, before)
    assert not np.array_equal(stream.get_state()[1], before), "a draw advances the stream"
    stream.set_state(seed, positions)
    positions[:] = 7
    np.testing.assert_array_equal(f(), first)


def test_a_stream_without_draws_has_a_state() -> None:
    stream = E.RandomStream(11)
    seed, positions = stream.get_state()
    assert seed == 11 and positions.shape == (0, 2)
    stream.set_state(12, positions)
    np.testing.assert_array_equal(
        E.function([], stream.normal((4,)))(), E.function([], E.RandomStream(12).normal((4,)))()
    )


def test_reseeding_forgets_a_stored_state() -> None:
    stream = E.RandomStream(1)
    stream.set_state(2, np.array([[5, 9], [6, 9]]))
    stream.reseed(3)
    assert stream.get_state()[0] == 3 and stream.get_state()[1].shape == (0, 2)
    f = E.function([], stream.normal((4,)))
    np.testing.assert_array_equal(f(), E.function([], E.RandomStream(3).normal((4,)))())


@pytest.mark.parametrize(
    "positions", [np.zeros((2, 3), int), np.zeros(2, int), np.zeros((1, 2)), np.zeros((1, 2), bool), [["a", "b"]], 5]
)
def test_a_bad_state_is_refused_and_changes_nothing(positions) -> None:
    stream = E.RandomStream(4)
    f = E.function([], stream.normal((3,)))
    before = stream.get_state()
    with pytest.raises(ArgumentError) as caught:
        stream.set_state(5, positions)
    assert str(np.shape(positions)) in caught.value.got
    after = stream.get_state()
    assert after[0] == before[0] and np.array_equal(after[1], before[1])
    np.testing.assert_array_equal(f(), E.function([], E.RandomStream(4).normal((3,)))())


@pytest.mark.parametrize("seed", [True, 1.0, "1", np.float64(2), [3]])
def test_seeds_are_integers(seed) -> None:
    stream = E.RandomStream(4)
    for use in (E.RandomStream, stream.reseed, lambda s: stream.set_state(s, np.zeros((0, 2), int))):
        with pytest.raises(ArgumentError) as caught:
            use(seed)
        assert caught.value.got is seed
    assert stream.seed == 4


@pytest.mark.parametrize("seed", [0, -3, 2**70, np.int8(5), np.uint64(2**63)])
def test_any_integer_is_a_seed(seed) -> None:
    a, b = (E.function([], E.RandomStream(s).uniform((5,)))() for s in (seed, int(seed)))
    np.testing.assert_array_equal(a, b)
    assert 0 <= a.min() and a.max() < 1


def test_the_default_seed_is_that_of_the_package() -> None:
    seeds = []
    for _ in range(2):
        nm.seed(8)
        seeds.append([E.RandomStream().seed, E.RandomStream(None).seed])
    assert seeds[0] == seeds[1] and len(set(seeds[0])) == 2
    stream = E.RandomStream(1)
    stream.reseed()
    assert stream.seed != 1


# ---- arguments
@pytest.mark.parametrize("p", [-0.1, 1.0001, np.nan, [0.5, 2], np.array([[-1e-3], [0.5]])])
def test_probabilities_outside_0_and_1_are_refused(p) -> None:
    stream = E.RandomStream(1)
    with pytest.raises(ArgumentError) as caught:
        stream.bernoulli(p, (2, 2))
    assert caught.value.got is p and len(stream.get_state()[1]) == 0, "and no draw was made"


def test_certain_and_impossible_events() -> None:
    stream = E.RandomStream(1)
    p = np.array([[0, 1, 0], [1, 0, 1]])
    draws = [stream.bernoulli(p, (2, 3)), stream.bernoulli(1, (50,)), stream.bernoulli(0, (50,))]
    rows, ones, none = E.function([], draws)()
    np.testing.assert_array_equal(rows, p)
    assert ones.all() and not none.any()


@pytest.mark.parametrize("floatX", ["float32", "float64"])
def test_dtypes_are_the_configured_or_the_given_one(floatX) -> None:
    config.floatX = floatX
    stream = E.RandomStream(1)
    kinds = [stream.normal, stream.uniform, lambda *args: stream.bernoulli(0.5, *args)]
    for draw in kinds:
        assert draw((2,)).dtype == floatX
        for dtype in ("float32", "float64"):
            variable = draw((2, 3), dtype)
            assert variable.dtype == dtype and E.known_shape(variable)[1:] in ((3,), (None,)) and variable.ndim == 2


def test_scalars_and_empty_arrays_are_drawn() -> None:
    stream = E.RandomStream(1)
    draws = [stream.normal(()), stream.uniform(()), stream.bernoulli(0.5, ()), stream.uniform((3, 0, 2))]
    *scalars, empty = E.function([], draws)()
    assert all(isinstance(v, np.ndarray) and v.shape == () and np.isfinite(v) for v in scalars)
    assert empty.shape == (3, 0, 2)


def test_draws_have_no_gradient() -> None:
    p = E.tensor("p", (), "float32")
    x = E.tensor("x", (3,), "float32")
    y = (E.RandomStream(1).bernoulli(p, (3,)) * x).sum()
    gradients = E.grad(y, [p, x])
    assert gradients[0] is None and gradients[1] is not None
