"""Shapes on torch against numpy: transposing, joining, splitting, repeating, creating arrays from sizes, checks."""

from __future__ import annotations

import numpy as np
import pytensor.tensor as pt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pytensor.ifelse import ifelse
from pytensor.raise_op import Assert

from neuromancer import engine as E
from neuromancer.errors import EngineError, ShapeError


def values(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def compare(inputs, pairs, arrays) -> None:
    """Assert that symbolic outputs have the values of the numpy arrays beside them."""
    results = E.function(inputs, [symbolic for symbolic, _ in pairs])(*arrays)
    for result, (symbolic, expected) in zip(results, pairs, strict=True):
        assert result.shape == expected.shape and result.dtype == symbolic.dtype
        np.testing.assert_allclose(result, expected, rtol=1e-12)


# ---- axes
@settings(max_examples=20, deadline=None)
@given(st.permutations([0, 2, 3, "x", "x"]), st.integers(0, 3))
def test_axes_are_permuted_inserted_and_dropped_at_once(order, ones) -> None:
    order = [k for k in order if k != "x"] if ones == 0 else order
    x = E.tensor("x", (None, 1, None, None), "float64")
    a = values((2, 1, 3, 4))
    expected = a[:, 0].transpose([{0: 0, 2: 1, 3: 2}[k] for k in order if k != "x"])
    expected = expected[tuple(None if k == "x" else slice(None) for k in order)]
    y = x.dimshuffle(*order)
    gradient = E.grad((y**2).sum(), [x])[0]
    compare([x], [(y, expected), (y * 2, expected * 2), (gradient, 2 * a)], [a])


@pytest.mark.parametrize(
    "make", [lambda x: x.squeeze(1), lambda x: pt.squeeze(x, (1,)) * 2, lambda x: x.dimshuffle(2, 0)]
)
def test_an_axis_that_turns_out_longer_is_not_dropped(make) -> None:
    x = E.tensor("x", (None, None, None), "float32")
    f = E.function([x], make(x))
    assert f(np.ones((2, 1, 3))).ndim == 2
    for length in (0, 2):
        with pytest.raises(ShapeError) as caught:
            f(np.ones((2, length, 3)))
        assert str((2, length, 3)) in caught.value.got and "[1]" in caught.value.expected


@pytest.mark.parametrize(("shape", "fits"), [((2, 3), True), ((2, 4), False), ((3, 3), False)])
def test_specified_sizes_are_checked(shape, fits) -> None:
    x, n = E.tensor("x", (None, None), "float32"), E.tensor("n", (), "int64")
    f = E.function([x, n], pt.specify_shape(x, (2, n)) * 2)
    if fits:
        assert f(np.ones(shape), 3).shape == shape
        return
    with pytest.raises(ShapeError) as caught:
        f(np.ones(shape), 3)
    assert str(shape) in caught.value.got


def test_reshaping_to_another_number_of_elements_is_an_error_that_names_the_sizes() -> None:
    x, n = E.tensor("x", (None, None), "float32"), E.tensor("n", (), "int64")
    f = E.function([x, n], x.reshape((n, -1)))
    assert f(np.ones((2, 6)), 4).shape == (4, 3)
    with pytest.raises(EngineError) as caught:
        f(np.ones((2, 6)), 5)
    assert "(2, 6)" in str(caught.value)


# ---- several arrays
@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
def test_joining_splitting_and_stacking(axis) -> None:
    x, y = (E.tensor(name, (None,) * 3, "float64") for name in "xy")
    shapes = [[2, 3, 4], [2, 3, 4]]
    shapes[1][axis] = 5
    a, b = (values(shape, k) for k, shape in enumerate(shapes))
    joined = np.concatenate([a, b, a], axis)
    sizes = E.tensor("sizes", (2,), "int64")
    first, second = pt.split(pt.concatenate([x, y], axis), sizes, n_splits=2, axis=axis % 3)
    alone = pt.split(x, [a.shape[axis]], n_splits=1, axis=axis % 3)
    pairs = [(pt.concatenate([x, y, x], axis), joined), (first, a), (second, b), (alone, a)]
    pairs.append((pt.stack([x, x * 2], axis), np.stack([a, a * 2], axis)))
    compare([x, y, sizes], pairs, [a, b, [a.shape[axis], 5]])


def test_splitting_into_parts_that_do_not_add_up_is_an_error() -> None:
    x, sizes = E.tensor("x", (None,), "float32"), E.tensor("sizes", (2,), "int64")
    f = E.function([x, sizes], pt.split(x, sizes, n_splits=2))
    assert [v.shape for v in f(np.ones(5), [5, 0])] == [(5,), (0,)]
    with pytest.raises(EngineError):
        f(np.ones(5), [2, 2])


def test_vectors_of_numbers_from_device_and_host() -> None:
    x = E.tensor("x", (None, None), "float32")
    f = E.function([x], [pt.stack([x[0, 0], x.sum()]), pt.stack([x.shape[0], 7, x.shape[1]]), pt.stack([x.max(), 2.5])])
    mixed, sizes, number = f(np.arange(6).reshape(2, 3))
    assert mixed.tolist() == [0, 15] and sizes.tolist() == [2, 7, 3] and number.tolist() == [5, 2.5]
    assert (mixed.dtype, sizes.dtype) == ("float32", "int64")


@pytest.mark.parametrize("axis", [0, 1, None])
def test_repeating_by_a_number_or_a_number_each(axis) -> None:
    x, n, each = E.tensor("x", (None, None), "float64"), E.tensor("n", (), "int64"), E.tensor("e", (None,), "int64")
    a = values((2, 3))
    counts = np.arange(a.size if axis is None else a.shape[axis]) % 3
    pairs = [(pt.repeat(x, n, axis), np.repeat(a, 2, axis)), (pt.repeat(x, each, axis), np.repeat(a, counts, axis))]
    compare([x, n, each], pairs, [a, 2, counts])
    assert E.function([x, n], pt.repeat(x, n, axis))(a, 0).size == 0


# ---- arrays from sizes
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool"])
def test_arrays_of_symbolic_sizes(dtype) -> None:
    n = E.tensor("n", (), "int64")
    row = E.tensor("row", (None,), dtype)
    r = np.array([1, 0, 1]).astype(dtype)
    pairs = [(pt.eye(n, n + 1, k, dtype), np.eye(3, 4, k, dtype)) for k in (-2, 0, 1, 5)]
    pairs += [
        (pt.zeros((n, 2), dtype), np.zeros((3, 2), dtype)),
        (pt.ones((2, n), dtype), np.ones((2, 3), dtype)),
        (pt.alloc(row, n, 2, 3), np.broadcast_to(r, (3, 2, 3))),
        (pt.set_subtensor(pt.empty((n, 3), dtype)[:], row), np.broadcast_to(r, (3, 3))),
        (pt.diagonal(pt.alloc(row, n, 3), 1), r[1:]),
    ]
    compare([n, row], pairs, [3, r])


@pytest.mark.parametrize(("offset", "axes"), [(0, (0, 1)), (1, (0, 2)), (-1, (1, 2)), (0, (2, 0))])
def test_diagonals_of_any_two_axes(offset, axes) -> None:
    x = E.tensor("x", (None,) * 3, "float64")
    a = values((3, 4, 5))
    y, expected = pt.diagonal(x, offset, *axes), np.diagonal(a, offset, *axes)
    compare([x], [(y, expected), (y * 2, expected * 2)], [a])


def test_expanded_results_may_be_written_to() -> None:
    row = E.tensor("row", (None,), "float32")
    f = E.function([row], pt.alloc(row, 2, 3))
    result = f([1, 2, 3])
    result[0] = 0
    assert result[1].tolist() == [1, 2, 3] and f([1, 2, 3]).tolist() == [[1, 2, 3]] * 2


# ---- conditions and checks
def test_a_condition_chooses_results_of_different_shapes() -> None:
    x, which = E.tensor("x", (None,), "float32"), E.tensor("which", (), "bool")
    short, total = ifelse(which, [x[:1], x.sum()], [x, x.max()])
    f = E.function([x, which], [short * 2, total, ifelse(x.sum() > 5, x + 1, x - 1)])
    assert [v.tolist() for v in f([1, 2], True)] == [[2], 3, [0, 1]]
    assert [v.tolist() for v in f([1, 9], False)] == [[2, 18], 9, [2, 10]]


def test_assertions_about_sizes_and_data_raise_their_own_message() -> None:
    x = E.tensor("x", (None,), "float32")
    for condition, bad in ((pt.eq(x.shape[0], 2), [1, 2, 3]), (pt.all(x > 0), [-1, 1])):
        f = E.function([x], Assert("not of my kind")(x, condition) * 2)
        assert f([1, 2]).tolist() == [2, 4]
        with pytest.raises(AssertionError, match="not of my kind"):
            f(bad)
