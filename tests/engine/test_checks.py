"""Values that shared variables, constants and arguments accept: kinds of dtypes, ranges, shapes, memory, masks."""

from __future__ import annotations

import numpy as np
import pytest

from neuromancer import engine as E
from neuromancer.config import config
from neuromancer.engine.common.checks import new_value, numeric_array
from neuromancer.errors import ArgumentError, InputTypeError, ShapeError

T = E.T

ACCEPTED = [
    ("float32", np.float64([0.5, 2])),
    ("float32", np.array([1, 2])),
    ("float32", np.array([True, False])),
    ("float32", np.array([1.5, 2], ">f4")),
    ("float32", np.float16([0.5, 2])),
    ("float64", np.float32([0.5, 2])),
    ("float32", [np.nan, np.inf]),
    ("int32", np.array([5, -7])),
    ("uint8", np.array([0, 255])),
    ("int64", np.array([3, 4], "uint8")),
    ("bool", np.array([True, False])),
]
REFUSED_KINDS = [
    ("int32", np.array([0.0, 1.0])),
    ("bool", np.array([0, 1])),
    ("float32", np.array([1j, 2])),
    ("float32", np.array(["a", "b"])),
    ("float32", np.array([None, 1])),
]
REFUSED_VALUES = [
    ("uint8", np.array([0, 256]), 256),
    ("uint8", np.array([-1, 0]), -1),
    ("int8", np.array([0, 128]), 128),
    ("int32", np.array([2**31, 0]), 2**31),
    ("float32", np.array([0, 1e39]), 1e39),
    ("float32", np.array([-1e39, 0]), -1e39),
]


def ids(table):
    return [f"{dtype}-{np.asarray(row[0]).dtype}-{k}" for k, (dtype, *row) in enumerate(table)]


def ways(dtype):
    """Return functions that take an array of two numbers as a shared variable's value and as an argument."""
    p = E.SharedVariable(np.zeros(2, dtype), "p")
    x = E.tensor("x", (None,), dtype)
    f = E.function([x], x, name="same")

    def stored(value):
        p.set_value(value)
        return p.get_value()

    return [("p", stored), ("same", f)]


@pytest.mark.parametrize(("dtype", "value"), ACCEPTED, ids=ids(ACCEPTED))
def test_values_that_the_dtype_can_represent(dtype, value) -> None:
    for _, use in ways(dtype):
        result = use(value)
        assert result.dtype == dtype and result.dtype.isnative
        np.testing.assert_array_equal(result, np.asarray(value).astype(dtype))


@pytest.mark.parametrize(("dtype", "value"), REFUSED_KINDS, ids=ids(REFUSED_KINDS))
def test_values_of_another_kind_are_refused(dtype, value) -> None:
    for where, use in ways(dtype):
        with pytest.raises(InputTypeError) as caught:
            use(value)
        assert where in caught.value.node


@pytest.mark.parametrize(("dtype", "value", "culprit"), REFUSED_VALUES, ids=ids(REFUSED_VALUES))
def test_values_out_of_range_are_reported_not_wrapped(dtype, value, culprit) -> None:
    for where, use in ways(dtype):
        with pytest.raises(ArgumentError) as caught:
            use(value)
        assert where in caught.value.node and float(str(caught.value.got)) == culprit


def test_masked_values_are_refused_as_data_and_as_parameters() -> None:
    masked = np.ma.masked_array([1.0, 2.0], [False, True])
    uses = [use for _, use in ways("float32")]
    uses += [E.constant, lambda v: E.SharedVariable(v, "s"), lambda v: E.constant(v, dtype="float64")]
    for use in uses:
        with pytest.raises(InputTypeError):
            use(masked)
    for use in (use for _, use in ways("float32")):
        assert use(np.ma.masked_array([1.0, 2.0])).tolist() == [1, 2], "a mask of nothing hides nothing"


@pytest.mark.parametrize("value", [np.zeros(3), np.zeros((1, 2)), np.float32(1), np.zeros((2, 1)), []])
def test_a_shared_variable_keeps_its_shape(value) -> None:
    p = E.SharedVariable(np.arange(2.0), "weights")
    with pytest.raises(ShapeError) as caught:
        p.set_value(value)
    assert "weights" in caught.value.node and caught.value.got == np.shape(value)
    assert p.get_value().tolist() == [0, 1], "and its value"


@pytest.mark.parametrize("shape", [(), (1,), (0, 3), (2, 3, 4)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_stored_values_are_contiguous_copies(shape, order) -> None:
    value = np.asarray(np.random.default_rng(0).random(shape), order=order)
    first = new_value(value, "p", "float64", shape)
    second = numeric_array(value, "p")
    for copy in (first, second):
        assert copy.shape == shape and not np.shares_memory(copy, value)
        np.testing.assert_array_equal(copy, value)
    assert first.flags.c_contiguous
    p = E.SharedVariable(value, "p")
    got = p.get_value()
    assert got.shape == shape and got.flags.c_contiguous and got.flags.writeable and got is not p.get_value()


def test_scalars_and_lists_are_values() -> None:
    p = E.SharedVariable(np.float32(1.5), "p")
    p.set_value(2)
    assert p.get_value().shape == () and p.get_value() == 2 and E.known_shape(p) == ()
    q = E.SharedVariable(np.zeros((2, 2), "float32"), "q")
    q.set_value([[1, 2], [3, 4]])
    assert q.get_value().tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool", "uint8"])
def test_a_snapshot_restores_the_value_even_after_updates(dtype) -> None:
    value = np.array([1, 0, 1], dtype)
    p = E.SharedVariable(value, "p")
    step = E.function([], [], updates=[(p, T.cast(1 - T.cast(p, "int64"), dtype))])
    before = p.snapshot()
    step()
    middle = p.snapshot()
    np.testing.assert_array_equal(p.get_value(), (1 - value.astype("int64")).astype(dtype))
    p.set_value(np.zeros(3, dtype))
    p.restore(middle)
    np.testing.assert_array_equal(p.get_value(), (1 - value.astype("int64")).astype(dtype))
    step()
    p.restore(before)
    np.testing.assert_array_equal(p.get_value(), value)
    step()
    p.restore(before)
    assert p.get_value().dtype == dtype
    np.testing.assert_array_equal(p.get_value(), value)


# ---- arguments
@pytest.mark.parametrize(
    ("declared", "shape", "fits"),
    [
        ((None, 3), (0, 3), True),
        ((None, 3), (5, 3), True),
        ((None, 3), (3, 5), False),
        ((2, None), (3, 2), False),
        ((), (), True),
        ((), (1,), False),
        ((1, None), (2, 2), False),
        ((None,), (2, 2), False),
        ((None, None, 1), (2, 3, 1), True),
        ((None, None, 1), (2, 3, 2), False),
    ],
)
def test_arguments_have_the_declared_sizes(declared, shape, fits) -> None:
    x = E.tensor("image", declared, "float32")
    f = E.function([x], x + 1, name="plus")
    if fits:
        assert f(np.zeros(shape)).shape == shape
        return
    with pytest.raises(ShapeError) as caught:
        f(np.zeros(shape))
    assert "image" in caught.value.problem and "plus" in caught.value.node and caught.value.got == shape


def test_ragged_lists_and_objects_are_no_arguments() -> None:
    x = E.tensor("image", (None, None), "float32")
    f = E.function([x], x)
    for value in ([[1, 2], [3]], object(), {"a": 1}, None, "text"):
        with pytest.raises(InputTypeError) as caught:
            f(value)
        assert "image" in str(caught.value)


def test_an_argument_is_not_changed_by_a_cast() -> None:
    x = E.tensor("x", (None,), "float32")
    value = np.array([1.0, 2.0])
    result = E.function([x], T.exp(x * 0) * x)(value)
    assert value.dtype == "float64" and value.tolist() == [1, 2] and result.dtype == "float32"


# ---- constants
@pytest.mark.parametrize("floatX", ["float32", "float64"])
def test_constants_of_python_numbers_take_the_configured_dtype_and_arrays_keep_theirs(floatX) -> None:
    config.floatX = floatX
    for value in (1.5, [1.0, 2.0], [[0.5]], (1, 2.5)):
        assert E.constant(value).dtype == floatX
    for dtype in ("float32", "float64", "int8", "uint8", "bool"):
        assert E.constant(np.ones(2, dtype)).dtype == dtype
        assert E.constant(np.ones((), dtype)[()]).dtype == dtype
    assert E.constant(3).dtype.startswith("int") and E.constant([True]).dtype == "bool"


def test_constants_of_a_given_dtype_are_in_its_range() -> None:
    assert E.constant([1, 255], dtype="uint8").dtype == "uint8"
    assert E.constant(2.0, dtype="int32").dtype == "int32"
    for value, dtype in ((256, "uint8"), (0.5, "int32"), (1e300, "float32")):
        with pytest.raises(ArgumentError) as caught:
            E.constant([0, value], dtype=dtype)
        assert float(str(caught.value.got)) == value
    with pytest.raises(InputTypeError):
        E.constant("a", dtype="float32")


def test_a_constant_does_not_follow_the_array_it_was_made_from() -> None:
    value = np.ones(2, "float32")
    c = E.ConstantVariable(value, "c")
    x = E.tensor("x", (2,), "float32")
    f = E.function([x], c + x)
    value[:] = 5
    assert f([0, 0]).tolist() == [1, 1]
