"""Encoding of node arguments as JSON, and decoding."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from neuromancer import TaggedShape
from neuromancer.io.limits import Budget
from neuromancer.io.values import Arrays, Decoder, Encoder


def again(value):
    arrays = Arrays()
    encoded = Encoder([], arrays)(value, SimpleNamespace(name="node"), "argument")
    budget = Budget({"nodes": []}, arrays.by_path)
    return Decoder(arrays.by_path, {}, {}, budget)(encoded)


@pytest.mark.parametrize("centre", [None, [1, 2.5], [0, 0]])
def test_shapes_keep_everything(centre):
    shape = TaggedShape([2, None, 9], "b,y,x", strides=[2, 1], mfp_offsets=[[0, 0], [1, 0]], fov=[5, 3], centre=centre)
    got = again(shape)
    assert got == shape and got.centre == shape.centre and got.offsets == shape.offsets
    assert got.strides.tolist() == [2, 1] and got.mfp_offsets.tolist() == [[0, 0], [1, 0]] and got.fov == [5, 3]


def test_arrays_are_shared_only_if_they_are_the_same():
    arrays = Arrays()
    first = arrays.add(np.zeros(2, "float32"))
    assert arrays.add(np.zeros(2, "float32")) == first
    others = [np.zeros(2, "int32"), np.zeros((1, 2), "float32"), np.zeros(4, "int16"), np.ones(2, "float32")]
    paths = [arrays.add(array)["array"] for array in others]
    assert len({first["array"], *paths}) == 5
    for path, array in zip(paths, others, strict=True):
        assert arrays.by_path[path].dtype == array.dtype and arrays.by_path[path].shape == array.shape
