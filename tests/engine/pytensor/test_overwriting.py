"""Results that overwrite operands which nothing else reads."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neuromancer import engine as E

T = E.T


@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize(("op", "function"), [(T.add, sum), (T.mul, np.prod)])
def test_sums_and_products_of_several_operands(position, op, function):
    x, z = E.tensor("x", (None, 3), "float32"), E.tensor("z", (None, 3), "float32")
    operands = [x, z]
    operands.insert(position, T.exp(x))
    a, b = np.random.default_rng(0).random((2, 4, 3)).astype("float32")
    values = [a, b]
    values.insert(position, np.exp(a))
    want = values[0] + values[1] + values[2] if function is sum else values[0] * values[1] * values[2]
    np.testing.assert_allclose(E.function([x, z], op(*operands))(a, b), want, rtol=1e-5)


def test_numbers_around_a_dead_operand():
    x, n = E.tensor("x", (2, 3), "float32"), E.tensor("n", (), "int64")
    a = np.random.default_rng(0).random((2, 3)).astype("float32")
    got = E.function([x, n], T.add(T.cast(n, "float32"), 0.5, T.exp(x)))(a, np.int64(2))
    np.testing.assert_allclose(got, 2.5 + np.exp(a), rtol=1e-6)


@pytest.mark.parametrize("setting", [False, True])
def test_parts_of_a_dead_operand(setting):
    x = E.tensor("x", (None, 3), "float32")
    dead, alive = T.exp(x), T.exp(2 * x)
    write = T.set_subtensor if setting else T.inc_subtensor
    a = np.random.default_rng(0).random((4, 3)).astype("float32")
    first, second, kept = E.function([x], [write(dead[1:3], 5), write(alive[1:3], 5), alive])(a)
    for got, before in ((first, np.exp(a)), (second, np.exp(2 * a))):
        want = before.copy()
        want[1:3] = 5 if setting else want[1:3] + 5
        np.testing.assert_allclose(got, want, rtol=1e-6)
    np.testing.assert_allclose(kept, np.exp(2 * a), rtol=1e-6)


def test_gradient_of_a_rectifier_over_a_dead_operand():
    x, gy = E.tensor("x", (None, 3), "float32"), E.tensor("gy", (None, 3), "float32")
    grad = E.grad((E.relu(x) * T.exp(gy)).sum(), [x])[0]
    a, b = np.random.default_rng(0).standard_normal((2, 4, 3)).astype("float32")
    np.testing.assert_allclose(E.function([x, gy], grad)(a, b), np.where(a > 0, np.exp(b), 0), rtol=1e-6)


def test_values_that_are_read_again_are_not_overwritten():
    x = E.tensor("x", (3,), "float32")
    y = T.exp(x)
    a = np.array([0.0, 1.0, 2.0], "float32")
    first, second = E.function([x], [y, y + 1])(a)
    np.testing.assert_allclose(first, np.exp(a), rtol=1e-6)
    np.testing.assert_allclose(second, np.exp(a) + 1, rtol=1e-6)
    np.testing.assert_array_equal(a, [0, 1, 2])


def test_updates_are_computed_last():
    """New parameters do not lie in memory beside the old ones while gradients are still to be computed."""
    rng = np.random.default_rng(0)
    x = E.tensor("x", (None, 4), "float64")
    weights = [E.SharedVariable(rng.standard_normal((4, 4)), f"w{k}") for k in range(3)]
    moments = [E.SharedVariable(np.zeros((4, 4)), f"m{k}") for k in range(3)]
    y = x
    for w in weights:
        y = T.tanh(T.dot(y, w))
    loss = (y**2).sum()
    gradients = E.grad(loss, weights)
    updates = []
    for w, m, g in zip(weights, moments, gradients, strict=True):
        new = 0.9 * m + g
        updates += [(m, new), (w, w - 0.1 * new)]
    function = E.function([x], loss, updates=updates)
    late = [step.late for step in function.program.steps]
    assert 6 <= sum(late) < len(late) and late == sorted(late)
    a, values = rng.standard_normal((5, 4)), [w.get_value() for w in weights]
    slopes = E.function([x], gradients)(a)
    function(a)
    for w, m, value, slope in zip(weights, moments, values, slopes, strict=True):
        np.testing.assert_allclose(m.get_value(), slope, rtol=1e-12)
        np.testing.assert_allclose(w.get_value(), value - 0.1 * slope, rtol=1e-12)


def test_the_last_of_several_readers_overwrites():
    x = E.tensor("x", (None, 3), "float32")
    y = T.exp(x)
    total = T.sqr(y).sum(axis=[1], keepdims=True)
    a = np.random.default_rng(0).random((4, 3)).astype("float32")
    f = E.function([x], y * total)
    np.testing.assert_allclose(f(a), np.exp(a) * (np.exp(a) ** 2).sum(1, keepdims=True), rtol=1e-5)
    # The exponential and the product share one array of this size.
    big = np.zeros((1 << 18, 3), "float32")
    f(big)
    with torch.profiler.profile(profile_memory=True) as profile:
        f(big)
    assert sum(e.self_cpu_memory_usage > big.nbytes // 2 for e in profile.events()) == 1


def test_readers_that_keep_a_view_protect_it():
    x = E.tensor("x", (3, 3), "float32")
    y = T.exp(x)
    view = y.T
    a = np.random.default_rng(0).random((3, 3)).astype("float32")
    first, second = E.function([x], [y + view.sum(axis=1, keepdims=True), view])(a)
    np.testing.assert_allclose(second, np.exp(a).T, rtol=1e-6)
    np.testing.assert_allclose(first, np.exp(a) + np.exp(a).T.sum(1, keepdims=True), rtol=1e-6)
    total, weights = E.SharedVariable(np.zeros((3, 3), "float32"), "total"), T.exp(x)
    step = E.function([x], weights * weights.sum(), updates=[(total, total + weights)])
    np.testing.assert_allclose(step(a), np.exp(a) * np.exp(a).sum(), rtol=1e-6)
    np.testing.assert_allclose(total.get_value(), np.exp(a), rtol=1e-6)
