"""Elementwise functions on torch where one operand is a number, on the host, or of another dtype, against numpy."""

from __future__ import annotations

import numpy as np
import pytensor.tensor as pt
import pytest
import scipy.special

from neuromancer import engine as E

A = np.array([[-2.5, -1.5, -0.5, 0.0], [0.5, 1.5, 2.5, 3.0]])
B = np.array([[0.5, -2.0, 3.0, 1.0], [2.0, 0.25, -1.0, 3.0]])

BINARY = {
    "add": (pt.add, np.add),
    "subtract": (pt.sub, np.subtract),
    "multiply": (pt.mul, np.multiply),
    "divide": (pt.true_div, np.true_divide),
    "floor division": (pt.int_div, np.floor_divide),
    "modulus": (pt.mod, np.mod),
    "power": (lambda a, b: abs(a) ** b, lambda a, b: np.abs(a) ** b),
    "maximum": (pt.maximum, np.maximum),
    "minimum": (pt.minimum, np.minimum),
    "arctan2": (pt.arctan2, np.arctan2),
    "less": (pt.lt, np.less),
    "greater or equal": (pt.ge, np.greater_equal),
    "equal": (pt.eq, np.equal),
    "switch": (lambda a, b: pt.switch(a > b, a, b), lambda a, b: np.where(a > b, a, b)),
    "clip": (lambda a, b: pt.clip(a, b, b + 1), lambda a, b: np.minimum(np.maximum(a, b), b + 1)),
    "second": (lambda a, b: pt.second(a, b) * 1, lambda a, b: np.broadcast_arrays(a, b)[1]),
    "difference of squares": (lambda a, b: a**2 - b**2, lambda a, b: a * a - b * b),
}


@pytest.mark.parametrize("name", BINARY)
def test_two_arrays_a_number_on_either_side_and_a_number_from_an_argument(name) -> None:
    ours, numpys = BINARY[name]
    a, b = (E.tensor(n, (None, None), "float64") for n in "ab")
    row, n = E.tensor("row", (1, None), "float64"), E.tensor("n", (), "float64")
    pairs = [
        (ours(a, b), numpys(A, B)),
        (ours(a, 0.5), numpys(A, 0.5)),
        (ours(pt.constant(0.5), b), numpys(0.5, B)),
        (ours(a, n), numpys(A, 1.5)),
        (ours(n, b), numpys(1.5, B)),
        (ours(a, row), numpys(A, B[1:])),
        (ours(row, a + 7.25), numpys(B[1:], A + 7.25)),
        (ours(n, n + 1), numpys(np.float64(1.5), np.float64(2.5))),
    ]
    results = E.function([a, b, row, n], [y for y, _ in pairs])(A, B, B[1:], 1.5)
    for k, (result, (symbol, expected)) in enumerate(zip(results, pairs, strict=True)):
        assert result.dtype == symbol.dtype and result.shape == np.shape(expected), k
        np.testing.assert_allclose(result, np.asarray(expected).astype(result.dtype), rtol=1e-12, err_msg=str(k))


@pytest.mark.parametrize(
    "name", ["add", "subtract", "multiply", "floor division", "modulus", "maximum", "less", "equal"]
)
@pytest.mark.parametrize("dtypes", [("int32", "int64"), ("uint8", "uint8"), ("int8", "int32"), ("uint8", "int8")])
def test_integers_of_several_dtypes(name, dtypes) -> None:
    ours, numpys = BINARY[name]
    x, y = (E.tensor(n, (None,), dtype) for n, dtype in zip("xy", dtypes, strict=True))
    a, b = np.array([0, 7, 100, 3], dtypes[0]), np.array([1, 2, 9, 3], dtypes[1])
    symbol = ours(x, y)
    result = E.function([x, y], symbol)(a, b)
    assert result.dtype == symbol.dtype
    np.testing.assert_array_equal(result, numpys(a.astype("int64"), b.astype("int64")).astype(result.dtype))


UNARY = {
    "round half to even": (lambda x: pt.round(x, "half_to_even"), np.round),
    "round half away": (lambda x: pt.round(x, "half_away_from_zero"), lambda x: np.sign(x) * np.floor(np.abs(x) + 0.5)),
    "log of minus expm1": (lambda x: pt.log1mexp(-abs(x) - 0.1), lambda x: np.log(-np.expm1(-np.abs(x) - 0.1))),
    "error function": (pt.erfcx, scipy.special.erfcx),
    "softplus": (pt.softplus, lambda x: np.log1p(np.exp(x))),
    "bessel": (lambda x: pt.i0(x) + pt.j1(x), lambda x: scipy.special.i0(x) + scipy.special.j1(x)),
    "gamma": (lambda x: pt.gammainc(2.0, abs(x)), lambda x: scipy.special.gammainc(2.0, np.abs(x))),
    "upper gamma": (lambda x: pt.gammaincc(abs(x) + 1, 2.0), lambda x: scipy.special.gammaincc(np.abs(x) + 1, 2.0)),
    "digamma": (lambda x: pt.psi(abs(x) + 1), lambda x: scipy.special.psi(np.abs(x) + 1)),
    "reciprocal": (lambda x: pt.reciprocal(x + 5), lambda x: 1 / (x + 5)),
    "infinite": (lambda x: pt.isinf(x / 0), lambda x: x != 0),
}


@pytest.mark.parametrize("name", UNARY)
def test_functions_of_one_number(name) -> None:
    ours, numpys = UNARY[name]
    x = E.tensor("x", (None, None), "float64")
    symbol = ours(x)
    result = E.function([x], symbol)(A)
    assert result.dtype == symbol.dtype
    np.testing.assert_allclose(result, numpys(A).astype(result.dtype), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32"])
def test_bits_and_truth_values(dtype) -> None:
    x, y = E.tensor("x", (None,), dtype), E.tensor("y", (None,), dtype)
    a, b = np.array([0, 1, 0, 1], dtype), np.array([0, 0, 1, 1], dtype)
    made = [x & y, x | y, x ^ y, ~x]
    for result, expected in zip(E.function([x, y], made)(a, b), [a & b, a | b, a ^ b, ~a], strict=True):
        assert result.dtype == dtype
        np.testing.assert_array_equal(result, expected)


def test_a_condition_on_the_host_broadcasts_like_one_on_the_device() -> None:
    x, n = E.tensor("x", (None, None), "float64"), E.tensor("n", (), "int64")
    row = E.tensor("row", (1, None), "float64")
    f = E.function([x, row, n], [pt.switch(n, x, row), pt.switch(n, row, x), pt.switch(n > 2, x, 0.5)])
    for number in (0, 1, 5):
        expected = [
            np.where(number, A, B[1:]),
            np.where(number, B[1:], A),
            np.where(number > 2, A, 0.5),
        ]
        for result, want in zip(f(A, B[1:], number), expected, strict=True):
            np.testing.assert_array_equal(result, want)


def test_numbers_keep_the_dtype_of_arrays() -> None:
    x = E.tensor("x", (None,), "float32")
    with E.building():
        made = [x * 0.1, 1 / (x + 2), pt.maximum(x, 0.3), x**2, pt.switch(x > 0, x, 0.1), pt.clip(x, -0.5, 0.5)]
    a = np.float32([-1, 0.25, 3])
    want = [
        a * np.float32(0.1),
        1 / (a + 2),
        np.maximum(a, np.float32(0.3)),
        a * a,
        np.where(a > 0, a, np.float32(0.1)),
    ]
    want.append(np.clip(a, np.float32(-0.5), np.float32(0.5)))
    for result, expected in zip(E.function([x], made)(a), want, strict=True):
        assert result.dtype == "float32"
        np.testing.assert_allclose(result, expected, rtol=1e-6)


@pytest.mark.parametrize("sizes", [((1, 4), (2, 4)), ((2, 1), (2, 4)), ((2, 4), (3, 4))])
def test_lengths_that_differ_are_refused_whichever_operand_is_shorter(sizes) -> None:
    x, y = (E.tensor(n, (None, None), "float32") for n in "xy")
    f = E.function([x, y], [pt.switch(x > y, x, y), pt.exp(x) * y])
    for a, b in (sizes, sizes[::-1]):
        with pytest.raises(ValueError, match="differ along axis") as caught:
            f(np.ones(a), np.ones(b))
        assert str(a) in str(caught.value) and str(b) in str(caught.value)
