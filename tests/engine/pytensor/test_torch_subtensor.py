"""Indexing on torch against numpy: reading, setting and incrementing, with constant and symbolic bounds."""

from __future__ import annotations

import numpy as np
import pytensor.tensor as pt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromancer import engine as E

SHAPE = (4, 3, 5)


def values(shape=SHAPE, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


bounds = st.none() | st.integers(-7, 7)
slices = st.builds(slice, bounds, bounds, st.none() | st.sampled_from([1, 2, 3, -1, -2, -3]))
indices = st.tuples(*(slices | st.integers(-n, n - 1) for n in SHAPE)).flatmap(
    lambda index: st.integers(1, len(index)).map(lambda k: index[:k])
)


def symbolic(index):
    """Replace the numbers of an index by symbolic ones; return inputs, the new index, and the numbers."""
    inputs, numbers = [], []

    def symbol(number):
        if number is None:
            return None
        inputs.append(E.tensor(f"i{len(inputs)}", (), "int64"))
        numbers.append(number)
        return inputs[-1]

    new = tuple(slice(symbol(i.start), symbol(i.stop), i.step) if isinstance(i, slice) else symbol(i) for i in index)
    return inputs, new, numbers


# ---- basic indexing
@settings(max_examples=25, deadline=None)
@given(indices)
def test_slices_and_integers_read_set_and_increment(index) -> None:
    x = E.tensor("x", (None,) * 3, "float64")
    a = values()
    part = a[index]
    new = values(part.shape, 1)
    y = E.constant(new)
    outputs = [x[index], pt.set_subtensor(x[index], y), pt.inc_subtensor(x[index], y), pt.set_subtensor(x[index], 7)]
    outputs.append(E.grad((x[index] * y).sum(), [x])[0])
    read, put, added, filled, gradient = E.function([x], outputs)(a)
    wanted = [a.copy(), a.copy(), a.copy(), np.zeros_like(a)]
    wanted[0][index] = new
    wanted[1][index] += new
    wanted[2][index] = 7
    wanted[3][index] = new
    np.testing.assert_array_equal(read, part)
    for result, want in zip((put, added, filled, gradient), wanted, strict=True):
        np.testing.assert_allclose(result, want, rtol=1e-12)


@settings(max_examples=20, deadline=None)
@given(indices)
def test_symbolic_bounds_give_the_same(index) -> None:
    x = E.tensor("x", (None,) * 3, "float64")
    inputs, new, numbers = symbolic(index)
    a = values()
    read, put = E.function([x, *inputs], [x[new], pt.set_subtensor(x[new], -1.0)])(a, *numbers)
    want = a.copy()
    want[index] = -1
    np.testing.assert_array_equal(read, a[index])
    np.testing.assert_array_equal(put, want)


@pytest.mark.parametrize("make", [lambda x, i: x[i], lambda x, i: x[:, i], lambda x, i: pt.set_subtensor(x[i], 0)])
def test_an_index_beyond_the_axis_is_an_error(make) -> None:
    x, i = E.tensor("x", (None, None), "float32"), E.tensor("i", (), "int64")
    f = E.function([x, i], make(x, i))
    assert np.isfinite(f(np.ones((3, 3)), -3)).all()
    for index in (3, -4):
        with pytest.raises(IndexError) as caught:
            f(np.ones((3, 3)), index)
        assert any("(3, 3)" in note for note in caught.value.__notes__)


# ---- index arrays
INDEX = np.array([[2, 0], [3, 3]])
ARRAYS = {
    "first axis": lambda i: (i,),
    "last axis": lambda i: (slice(None), slice(None), i),
    "two axes": lambda i: (i, i // 2),
    "apart": lambda i: (i, slice(None), i),
    "with an integer": lambda i: (i, 1),
    "with slices": lambda i: (slice(1, 4), i // 2, slice(None, None, 2)),
    "broadcast": lambda i: (i[:1], i[:, :1] // 2),
    "negative": lambda i: (-i - 1,),
}


@pytest.mark.parametrize(
    ("name", "dtype"),
    [(n, d) for n in ARRAYS for d in ("int64", "int32", "uint8") if (n, d) != ("negative", "uint8")],
)
def test_index_arrays_of_every_kind(name, dtype) -> None:
    x, i = E.tensor("x", (None,) * 3, "float64"), E.tensor("i", (2, 2), dtype)
    a, where = values(), ARRAYS[name](INDEX.astype(dtype))
    symbols = ARRAYS[name](i)
    new = values(a[where].shape, 1)
    y = E.constant(new)
    outputs = [x[symbols], pt.inc_subtensor(x[symbols], y), E.grad((x[symbols] * y).sum(), [x])[0]]
    read, added, gradient = E.function([x, i], outputs)(a, INDEX)
    want = np.zeros_like(a)
    np.add.at(want, where, new)
    np.testing.assert_array_equal(read, a[where])
    np.testing.assert_allclose(added, a + want, rtol=1e-12)
    np.testing.assert_allclose(gradient, want, rtol=1e-12)


def test_set_by_index_arrays_and_masks() -> None:
    x = E.tensor("x", (None, None), "float64")
    i = E.tensor("i", (None,), "int64")
    outputs = [
        pt.set_subtensor(x[i], 0),
        pt.set_subtensor(x[:, i], x[:, :1]),
        pt.set_subtensor(x[x > 0], -1),
        pt.inc_subtensor(x[x > 0], 10),
        x[x[:, 0] > 0],
        x[:, i][x[:, i] < 0],
    ]
    a, index = values((4, 5)), np.array([3, 1])
    want = [a.copy() for _ in range(4)]
    want[0][index] = 0
    want[1][:, index] = a[:, :1]
    want[2][a > 0] = -1
    want[3][a > 0] += 10
    want += [a[a[:, 0] > 0], a[:, index][a[:, index] < 0]]
    for result, expected in zip(E.function([x, i], outputs)(a, index), want, strict=True):
        np.testing.assert_array_equal(result, expected)


BACKWARDS = {
    "after": lambda i: (i, slice(None, None, -1)),
    "before": lambda i: (slice(None, None, -2), slice(None), i),
    "between": lambda i: (i, slice(None, None, -1), i),
    "and forwards": lambda i: (i, slice(0, 2), slice(3, None, -3)),
}


@pytest.mark.parametrize("name", BACKWARDS)
def test_reversed_slices_beside_index_arrays(name) -> None:
    x, i = E.tensor("x", (None,) * 3, "float64"), E.tensor("i", (None,), "int64")
    a, index = values((4, 3, 4)), np.array([3, 1, 1])
    index = index % 3 if name == "between" else index
    where, symbols = BACKWARDS[name](index), BACKWARDS[name](i)
    new = values(a[where].shape, 1)
    y = E.constant(new)
    outputs = [x[symbols], pt.set_subtensor(x[symbols], 9), pt.inc_subtensor(x[symbols], y)]
    outputs.append(E.grad((x[symbols] * y).sum(), [x])[0])
    read, put, added, gradient = E.function([x, i], outputs)(a, index)
    changed, sums = a.copy(), np.zeros_like(a)
    changed[where] = 9
    np.add.at(sums, where, new)
    np.testing.assert_array_equal(read, a[where])
    np.testing.assert_array_equal(put, changed)
    np.testing.assert_allclose(added, a + sums, rtol=1e-12)
    np.testing.assert_allclose(gradient, sums, rtol=1e-12)


@pytest.mark.parametrize("index", [(slice(None, None, -1),), (slice(None, None, -1), slice(None, None, 2))])
def test_reversed_slices_beside_a_mask_of_two_axes(index) -> None:
    x, m = E.tensor("x", (None,) * 4, "float64"), E.tensor("m", (None, None), "bool")
    a = values((3, 3, 3, 4))
    mask = a[..., 0, 0] > 0
    assert mask.any() and not mask.all()
    read, gradient = E.function([x, m], [x[(m, *index)], E.grad((x[(m, *index)] ** 2).sum(), [x])[0]])(a, mask)
    want = np.zeros_like(a)
    want[(mask, *index)] = 2 * a[(mask, *index)]
    np.testing.assert_array_equal(read, a[(mask, *index)])
    np.testing.assert_allclose(gradient, want, rtol=1e-12)


def test_nonzero_elements() -> None:
    x = E.tensor("x", (None, None), "float32")
    a = np.float32([[0, 1, 0], [2, 0, 3]])
    rows, columns = E.function([x], list(pt.nonzero(x)))(a)
    assert (rows.tolist(), columns.tolist()) == ([0, 1, 1], [1, 0, 2])
    v = E.tensor("v", (None,), "int64")
    assert E.function([v], pt.nonzero(v)[0])([0, 4, 0, 5]).tolist() == [1, 3]


@pytest.mark.parametrize("dtype", ["float32", "int64", "uint8", "bool"])
def test_the_dtype_of_the_whole_stays(dtype) -> None:
    x = E.tensor("x", (None,), dtype)
    one = np.ones((), dtype)
    put, added = E.function([x], [pt.set_subtensor(x[1:], one), pt.inc_subtensor(x[:1], one)])(np.zeros(3, dtype))
    assert put.dtype == added.dtype == dtype
    assert put.tolist() == [0, 1, 1] and added.tolist() == [1, 0, 0]
