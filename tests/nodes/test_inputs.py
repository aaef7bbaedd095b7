"""Sources."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer import engine as E
from neuromancer.errors import ArgumentError, InputTypeError, ShapeError


def test_documented_example():
    inp = nm.Input((4, 10), "b,f")
    data = nm.utils.as_floatX(np.random.default_rng(0).random((4, 10)))
    np.testing.assert_array_equal(inp(data), data)
    assert inp.computational_cost == 0
    assert inp.is_source
    assert inp.output.dtype == "float32"


@pytest.mark.parametrize(("rank", "tags"), [(2, "bf"), (3, "bfx"), (4, "bfyx"), (5, "bfzyx")])
def test_default_tags(rank, tags):
    assert nm.Input((2,) * rank, print_repr=False).shape.tags == list(tags)
    with pytest.raises(ShapeError, match="an input of this rank needs tags"):
        nm.Input((2,) * 6)


def test_dtype_strides_and_fov_are_kept():
    inp = nm.Input((1, 2, 9), "b,f,x", strides=[2], fov=[5], dtype="int64", print_repr=False)
    assert inp.shape.strides.tolist() == [2]
    assert inp.shape.fov == [5]
    assert inp(np.ones((1, 2, 9), "int32")).dtype == "int64"


@pytest.mark.parametrize("dtype", [np.float32, "floaty", 3, "object"])
def test_bad_dtype(dtype):
    with pytest.raises(InputTypeError, match="Input 'input': dtype must be the name of a numeric dtype"):
        nm.Input((1, 2), "b,f", dtype=dtype)


def test_bad_shape_registers_nothing(fresh_model):
    with pytest.raises(ShapeError, match="duplicate tags"):
        nm.Input((1, 2, 3), "b,x,x")
    assert list(fresh_model.nodes) == []


def test_hardcoded_shape_is_compiled_in():
    inp = nm.Input((2, 3), "b,f", hardcoded_shape=True, print_repr=False)
    assert E.known_shape(inp.output) == (2, 3)
    assert inp(np.ones((2, 3))).shape == (2, 3)
    with pytest.raises(ShapeError, match="wrong shape"):
        inp(np.ones((3, 3)))
    with pytest.raises(ArgumentError, match="must be known"):
        nm.Input((None, 3), "b,f", hardcoded_shape=True)


class TestInputLike:
    def test_copies_everything_but_f(self):
        ref = nm.Input((1, 4, 9), "b,f,x", strides=[2], fov=[5], dtype="int32", print_repr=False)
        like = nm.Input_like(ref, override_f=1, name="target", print_repr=False)
        assert like.name == "target"
        assert like.shape.shape == [1, 1, 9]
        assert like.shape.strides.tolist() == [2]
        assert like.shape.fov == [5]
        assert like.output.dtype == "int32"
        assert nm.Input_like(ref, dtype="float64", print_repr=False).output.dtype == "float64"

    def test_accepts_a_tagged_shape(self):
        shape = nm.TaggedShape([1, 4], "b,f")
        assert nm.Input_like(shape, dtype="float32", print_repr=False).shape == shape
        with pytest.raises(InputTypeError, match="no dtype"):
            nm.Input_like(shape)

    @pytest.mark.parametrize("ref", [(1, 2), None, "b,f"])
    def test_refuses_anything_else(self, ref):
        with pytest.raises(InputTypeError, match="needs a node with a shape, or a TaggedShape"):
            nm.Input_like(ref)


def test_generic_input_passes_any_object():
    class Thing:
        pass

    inp, thing = nm.GenericInput(print_repr=False), Thing()
    assert inp(thing) is thing
    assert inp.shape is None
    assert repr(inp) == "<GenericInput-Node> 'generic_input' "
