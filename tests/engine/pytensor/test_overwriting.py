"""Results written over operands that nothing else reads."""

from __future__ import annotations

import numpy as np
import pytest

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


def test_what_is_read_again_is_not_written_over():
    x = E.tensor("x", (3,), "float32")
    y = T.exp(x)
    a = np.array([0.0, 1.0, 2.0], "float32")
    first, second = E.function([x], [y, y + 1])(a)
    np.testing.assert_allclose(first, np.exp(a), rtol=1e-6)
    np.testing.assert_allclose(second, np.exp(a) + 1, rtol=1e-6)
    np.testing.assert_array_equal(a, [0, 1, 2])
