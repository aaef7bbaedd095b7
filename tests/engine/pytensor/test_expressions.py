"""Expressions of vectors: every operation against float64, on each width of vectors."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from llvmlite import ir
from scipy import special

from neuromancer.engine.pytensor.kernels.expressions import Expression, emit
from neuromancer.engine.pytensor.kernels.native import FLOAT, FLOATS, INT, build, counted

x, y = Expression.operand(0), Expression.operand(1)
FINITE = np.finfo(np.float32)
SPECIAL = np.array(
    [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, -1.5, 2.5, np.inf, -np.inf, np.nan, FINITE.max, FINITE.min, FINITE.tiny,
     -FINITE.tiny, FINITE.smallest_subnormal, -FINITE.smallest_subnormal, 1e-40, -1e-40, 88.72283, 88.72284, -103.97,
     -103.98, 0.49999997],
    np.float32,
)  # fmt: skip


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def evaluate(expression, *arrays, lanes=8):
    """Compute an expression of arrays by a compiled loop over vectors."""
    n = len(arrays[0])
    arrays = [np.concatenate([a, np.ones(-n % lanes, np.float32)]).astype(np.float32) for a in arrays]
    out = np.empty_like(arrays[0])

    def body(module, builder, count, target, *sources):
        vector = ir.VectorType(FLOAT, lanes)
        with counted(builder, count, step=lanes) as k:
            at = lambda base: builder.bitcast(builder.gep(base, [k]), vector.as_pointer())  # noqa: E731
            operands = [builder.load(at(s), align=4, typ=vector) for s in sources]
            builder.store(emit(builder, expression, operands, lanes), at(target), align=4)

    function = build("f", [INT, FLOATS, *[FLOATS] * len(arrays)], body)
    function(len(out), out.ctypes.data, *(a.ctypes.data for a in arrays))
    return out[:n]


def samples(low, high, rng):
    """Return numbers dense in an interval, with all exponents, and special ones."""
    dense = rng.uniform(low, high, 200_000)
    exponents = np.ldexp(rng.uniform(1, 2, 200_000), rng.integers(-149, 128, 200_000)) * rng.choice([-1, 1], 200_000)
    with np.errstate(over="ignore", under="ignore"):
        return np.concatenate([dense, exponents, SPECIAL]).astype(np.float32)


def ulps(found, exact):
    """Return the distance from the exact values in units of the last place of the result."""
    with np.errstate(all="ignore"):
        rounded = exact.astype(np.float32)
    same = (found == rounded) | (np.isnan(found) & np.isnan(rounded))
    with np.errstate(all="ignore"):
        distance = np.abs(found.astype(np.float64) - exact) / np.spacing(
            np.abs(np.clip(rounded, FINITE.min, FINITE.max))
        )
    return np.where(same, 0, np.where(np.isnan(distance), np.inf, distance))


FUNCTIONS = {
    "exp": (np.exp, (-110, 100), 2),
    "expm1": (np.expm1, (-40, 100), 2),
    "log": (np.log, (0, 10), 2),
    "log1p": (np.log1p, (-1, 10), 2),
    "tanh": (np.tanh, (-11, 11), 3),
    "sigmoid": (special.expit, (-110, 30), 3),
    "softplus": (lambda v: np.logaddexp(0, v), (-110, 30), 3),
    "erf": (special.erf, (-5, 5), 2),
    "erfc": (special.erfc, (-5, 11), 4),
    "sqrt": (np.sqrt, (0, 10), 0.5001),
    "reciprocal": (np.reciprocal, (-10, 10), 0.5001),
    "sqr": (np.square, (-10, 10), 0.5001),
    "abs": (np.abs, (-10, 10), 0),
    "neg": (np.negative, (-10, 10), 0),
    "sign": (np.sign, (-10, 10), 0),
    "floor": (np.floor, (-10, 10), 0),
    "ceil": (np.ceil, (-10, 10), 0),
    "trunc": (np.trunc, (-10, 10), 0),
    "round": (np.rint, (-10, 10), 0),
    "round_half_away": (lambda v: np.copysign(np.floor(np.abs(v) + 0.5), v), (-10, 10), 0),
}


@pytest.mark.parametrize("lanes", [4, 8, 16])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_accurate(name, lanes, rng):
    function, interval, bound = FUNCTIONS[name]
    values = samples(*interval, rng)
    with np.errstate(all="ignore"):
        exact = np.asarray(function(values.astype(np.float64)))
    errors = ulps(evaluate(Expression(name, x), values, lanes=lanes), exact)
    worst = np.argmax(errors)
    assert errors[worst] <= bound, (values[worst], exact[worst], errors[worst])


@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_gelu_is_accurate_relative_to_its_argument(lanes, rng):
    values = samples(-7, 7, rng)
    with np.errstate(invalid="ignore"):
        exact = values.astype(np.float64) * special.ndtr(values.astype(np.float64))
    found = evaluate(Expression("gelu", x), values, lanes=lanes)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(exact))
    usual = np.isfinite(values)
    bounds = 1.6e-7 * np.abs(values[usual].astype(np.float64)) + 1e-44
    assert (np.abs(found[usual] - exact[usual]) <= bounds).all()
    assert found[values == np.inf] == np.inf


@pytest.mark.parametrize("name", ["expm1", "log1p", "tanh", "erf", "gelu", "neg", "trunc"])
def test_zero_keeps_its_sign(name):
    zeros = np.array([0.0, -0.0], np.float32)
    expected = [False, True] if name != "neg" else [True, False]
    assert np.signbit(evaluate(Expression(name, x), zeros)).tolist() == expected


@pytest.mark.parametrize("exponent", [-3.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0])
def test_powers(exponent, rng):
    values = np.abs(samples(0, 10, rng)) if exponent % 1 else samples(-10, 10, rng)
    values = values[(np.abs(values) > 1e-5) & (np.abs(values) < 1e5)]
    exact = np.power(values.astype(np.float64), exponent)
    assert ulps(evaluate(Expression("power", x, exponent), values), exact).max() <= 4


@pytest.mark.parametrize("lanes", [4, 16])
@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "maximum", "minimum"])
def test_pairs(name, lanes, rng):
    a = np.repeat(SPECIAL, len(SPECIAL))
    b = np.tile(SPECIAL, len(SPECIAL))
    function = {"div": np.divide, "mul": np.multiply, "sub": np.subtract}.get(name) or getattr(np, name)
    with np.errstate(all="ignore"):
        expected = function(a, b)
    np.testing.assert_array_equal(evaluate(Expression(name, x, y), a, b, lanes=lanes), expected)


@pytest.mark.parametrize(("name", "bound"), [("maximum", 0.0), ("minimum", 0.0), ("maximum", 1.5), ("minimum", -1.5)])
def test_extremes_with_numbers(name, bound):
    number = Expression.number(bound)
    expected = getattr(np, name)(SPECIAL, np.float32(bound))
    for expression in (Expression(name, x, number), Expression(name, number, x)):
        np.testing.assert_array_equal(evaluate(expression, SPECIAL), expected)


def test_clip():
    expression = Expression("clip", x, Expression.number(-0.25), Expression.number(0.75))
    np.testing.assert_array_equal(evaluate(expression, SPECIAL), np.clip(SPECIAL, -0.25, 0.75))


@pytest.mark.parametrize("name", ["lt", "le", "gt", "ge", "eq", "ne"])
def test_comparisons(name):
    a, b = np.repeat(SPECIAL, len(SPECIAL)), np.tile(SPECIAL, len(SPECIAL))
    function = getattr(
        np,
        {"lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal", "eq": "equal", "ne": "not_equal"}[
            name
        ],
    )
    chosen = Expression("select", Expression(name, x, y), x, y)
    np.testing.assert_array_equal(evaluate(chosen, a, b), np.where(function(a, b), a, b))


def test_masks():
    mask = Expression("or", Expression("is_nan", x), Expression("is_inf", x))
    one, zero = Expression.number(1), Expression.number(0)
    found = evaluate(Expression("select", Expression("not", mask), one, zero), SPECIAL)
    np.testing.assert_array_equal(found, np.isfinite(SPECIAL))
    filled = Expression("select", Expression("and", Expression("nonzero", x), Expression("xor", mask, mask)), one, zero)
    assert not evaluate(filled, SPECIAL).any()


def test_equal_expressions_are_one_object():
    assert Expression("add", x, Expression.number(1)) is Expression("add", x, Expression.number(1.0))
    assert Expression.number(0.0) is not Expression.number(-0.0)
    assert Expression.number(float("nan")) is Expression.number(float("nan"))
    expression = Expression("mul", x, Expression("sigmoid", x))
    assert pickle.loads(pickle.dumps(expression)) is expression
    assert repr(expression) == "mul(x0, sigmoid(x0))"


def test_parts_used_often_are_computed_once():
    """A chain of squares has as many parts as it is long, although the tree below it doubles at each step."""
    expression = x
    for _ in range(40):
        expression = Expression("mul", expression, expression)
    assert len(list(expression.nodes())) == 41
    assert evaluate(expression, np.ones(3, np.float32)).tolist() == [1, 1, 1]
