"""Reshape: values, unknown sizes, bad inputs."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import ArgumentError, ShapeError


def source(shape, tags):
    return nm.Input(shape, tags, print_repr=False)


def test_keeps_the_order_of_elements():
    node = nm.Reshape(source((2, 12), "b,f"), (2, 3, 4), "b,f,x", strides=(2,), fov=(5,), print_repr=False)
    x = np.arange(24, dtype="float32").reshape(2, 12)
    np.testing.assert_array_equal(node(x), x.reshape(2, 3, 4))
    assert (node.shape.strides.tolist(), node.shape.fov) == ([2], [5])


def test_takes_a_tagged_shape():
    shape = nm.TaggedShape([2, 3, 4], "b,f,x", strides=[3])
    assert nm.Reshape(source((2, 12), "b,f"), shape, print_repr=False).shape == shape


@pytest.mark.parametrize("batch", [1, 3])
def test_unknown_batch_follows_from_the_data(batch):
    node = nm.Reshape(source((None, 12), "b,f"), (None, 3, 4), "b,f,x", print_repr=False)
    assert node(np.zeros((batch, 12), "float32")).shape == (batch, 3, 4)


def test_two_unknown_sizes_that_the_parent_leaves_open_too():
    node = nm.Reshape(source((None, 6, None), "b,f,x"), (None, None, 2, 3), "b,x,f,y", print_repr=False)
    assert node(np.zeros((2, 6, 5), "float32")).shape == (2, 5, 2, 3)


def test_axes_can_be_merged_with_the_batch():
    node = nm.Reshape(source((2, 3, 4), "b,x,f"), (6, 4), "b,f", print_repr=False)
    assert node(np.zeros((2, 3, 4), "float32")).shape == (6, 4)


@pytest.mark.parametrize(
    ("shape", "tags", "error", "message"),
    [
        ((2, 11), "b,f", ShapeError, "the number of elements differs; got [(2,b), (11,f)]: 22; expected 24"),
        ((None, 11), "b,f", ShapeError, "11 per batch item; expected 12"),
        ((2, 12), None, ArgumentError, "needs tags"),
        ((None, None, 4), "b,f,x", ShapeError, "too many unknown sizes"),
    ],
)
def test_refusals(fresh_model, shape, tags, error, message):
    parent = source((2, 12), "b,f")
    with pytest.raises(error) as caught:
        nm.Reshape(parent, shape, tags, print_repr=False)
    assert message in str(caught.value)
    assert "reshape" not in fresh_model
