"""Masked arrays are taken apart, or refused; their mask is never dropped in silence."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.affinities import affinities_from_segmentation
from neuromancer.errors import InputTypeError
from neuromancer.masked import chosen, split, unmasked


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


def test_what_is_masked_is_refused():
    assert type(unmasked(np.ma.array([1.0]), "raw")) is np.ndarray
    for value in (hole(), [hole()], np.ma.masked):
        with pytest.raises(
            InputTypeError, match=r"'raw': masked .* of .* values masked; expected array.filled\(value\)"
        ):
            unmasked(value, "raw")


def test_labels_of_objects_are_not_masked():
    with pytest.raises(InputTypeError, match="masked values"):
        affinities_from_segmentation(hole(), [[-1, 0]])


def test_a_mask_of_a_mask():
    assert chosen(np.ma.array([1, 1, 0], mask=[0, 1, 0])).tolist() == [1, 0, 0]


def test_nodes_refuse_it(fresh_model):
    inp = nm.Input((1, 1, 4, 5), "b,f,y,x", print_repr=False)
    node = nm.Conv(inp, 1, (2, 2), print_repr=False)
    patch = np.ma.array(np.zeros((1, 1, 4, 5), "float32"))
    patch[0, 0, 1] = np.ma.masked
    with pytest.raises(InputTypeError, match=r"masked values have no meaning here; got .*filled"):
        node(patch)
    with pytest.raises(InputTypeError, match="masked"):
        node._output_func(patch)
    np.testing.assert_array_equal(node(np.ma.array(patch.data)), node(patch.data))
