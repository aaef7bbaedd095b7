"""Masked arrays are split into data and mask, or refused; a mask is never dropped silently."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer import engine as E
from neuromancer.affinities import affinities_from_segmentation
from neuromancer.errors import InputTypeError
from neuromancer.masked import chosen, hides, split, unmasked


def hole(shape=(4, 5)):
    array = np.ma.array(np.arange(np.prod(shape)).reshape(shape), mask=np.zeros(shape, bool))
    array[1] = np.ma.masked
    return array


def test_split():
    data, hidden = split(hole())
    assert type(data) is np.ndarray and data[1, 0] == 5 and hidden.sum() == 5
    for nothing in (np.ma.array([1, 2]), np.ma.array([1, 2], mask=[False, False]), np.ma.array([1, 2], mask=False)):
        data, hidden = split(nothing)
        assert type(data) is np.ndarray and hidden is None
    data, hidden = split(np.ma.array([1, 2], mask=True))
    assert hidden.tolist() == [True, True]
    data, hidden = split([hole(), hole()])
    assert data.shape == (2, 4, 5) and hidden[:, 1].all()
    plain = np.zeros(3)
    assert split(plain)[0] is plain


def test_split_of_dask():
    array = pytest.importorskip("dask.array")
    data, hidden = split(array.from_array(hole(), chunks=2))
    np.testing.assert_array_equal(data.compute(), hole().data)
    np.testing.assert_array_equal(hidden.compute(), hole().mask)


def test_masked_values_are_refused():
    assert type(unmasked(np.ma.array([1.0]), "raw")) is np.ndarray
    for value in (hole(), [hole()], np.ma.masked):
        with pytest.raises(
            InputTypeError, match=r"'raw': masked .* of .* values masked; expected array.filled\(value\)"
        ):
            unmasked(value, "raw")


def test_masked_segmentations_are_refused():
    with pytest.raises(InputTypeError, match="masked values"):
        affinities_from_segmentation(hole(), [[-1, 0]])


def test_a_masked_mask_selects_nothing_where_it_is_masked():
    assert chosen(np.ma.array([1, 1, 0], mask=[0, 1, 0])).tolist() == [1, 0, 0]


def test_nodes_and_compiled_functions_refuse_masked_arrays(fresh_model):
    inp = nm.Input((1, 1, 4, 5), "b,f,y,x", print_repr=False)
    node = nm.Conv(inp, 1, (2, 2), print_repr=False)
    patch = np.ma.array(np.zeros((1, 1, 4, 5), "float32"))
    patch[0, 0, 1] = np.ma.masked
    with pytest.raises(InputTypeError, match=r"masked values are not supported here; got .*filled"):
        node(patch)
    with pytest.raises(InputTypeError, match="masked"):
        nm.make_func(node.input_tensors, node.output)(patch)
    np.testing.assert_array_equal(node(np.ma.array(patch.data)), node(patch.data))


def test_lists_of_masked_arrays_are_stacked():
    expected = np.stack([hole((4, 5)).mask, np.zeros((4, 5), bool)])
    for value in ([hole(), hole().data], [list(hole()), hole().data], [[list(row) for row in hole()], hole().data]):
        data, hidden = split(value)
        np.testing.assert_array_equal(hidden, expected)
        np.testing.assert_array_equal(data[0][~expected[0]], hole().compressed())
        with pytest.raises(InputTypeError, match="5 of 40 values masked"):
            unmasked(value, "raw")
    assert unmasked([[np.ma.array([1, 2])]], "raw").tolist() == [[[1, 2]]]
    with pytest.raises(InputTypeError, match="lists of equal lengths"):
        split([[hole()], [hole(), hole()]])


def test_dask_blocks_that_are_masked_but_not_declared_so():
    array = pytest.importorskip("dask.array")
    plain = array.from_array(hole().data, chunks=2)
    for below, refused in ((5, True), (-1, False)):
        lazy = plain.map_blocks(np.ma.masked_less, below, dtype=int, meta=plain._meta)
        assert unmasked(lazy, "raw", lazy=True) is lazy and not hides(lazy)
        for value in (lazy, [lazy]):
            if refused:
                with pytest.raises(InputTypeError, match="5 of 20 values masked"):
                    unmasked(value, "raw")
            else:
                np.testing.assert_array_equal(np.reshape(unmasked(value, "raw"), (4, 5)), hole().data)


def test_objects_that_convert_to_masked_arrays():
    class Given:
        def __array__(self, dtype=None, copy=None):
            return hole()

    with pytest.raises(InputTypeError, match="masked"):
        unmasked(Given(), "raw")


def test_xarray_around_dask():
    xarray, array = pytest.importorskip("xarray"), pytest.importorskip("dask.array")
    lazy = xarray.DataArray(array.zeros((4, 5), chunks=2), dims=("y", "x"))
    lazy.variable._data = array.from_array(hole(), chunks=2)  # the constructor would replace masked values by NaN
    data, hidden = split(lazy)
    assert data.dims == hidden.dims == ("y", "x")
    np.testing.assert_array_equal(hidden.values, hole().mask)
    np.testing.assert_array_equal(chosen(lazy).values[1], 0)
    with pytest.raises(InputTypeError, match="5 of 20 values masked"):
        unmasked(lazy, "raw")


def test_parameters_and_constants_refuse_masked_arrays():
    for make in (lambda: E.SharedVariable(hole().astype("float32"), "w"), lambda: E.constant(hole())):
        with pytest.raises(InputTypeError, match="5 of 20 values masked"):
            make()
    w = E.SharedVariable(np.zeros((4, 5), "float32"), "w")
    with pytest.raises(InputTypeError, match="5 of 20 values masked"):
        w.set_value(hole().astype("float32"))
