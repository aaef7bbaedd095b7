"""split: positions, numbers of parts, names, bad arguments."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import neuromancer as nm
from neuromancer import engine as E
from neuromancer.errors import ArgumentError, InputTypeError, ShapeError


def source(shape=(2, 6, 5, 4), tags="b,f,y,x", **kwargs):
    return nm.Input(shape, tags, print_repr=False, **kwargs)


X = np.arange(240, dtype="float32").reshape(2, 6, 5, 4)


def test_equal_parts():
    parts = nm.split(source(), n_out=3)
    assert [p.shape.shape for p in parts] == [[2, 2, 5, 4]] * 3
    for k, part in enumerate(parts):
        np.testing.assert_array_equal(part(X), X[:, 2 * k : 2 * k + 2])


def test_index_takes_precedence():
    parts = nm.split(source(), "y", index=2, n_out=5)
    assert [p.shape["y"] for p in parts] == [2, 3]
    np.testing.assert_array_equal(parts[1](X), X[:, :, 2:])


def test_axis_by_position_and_numpy_index():
    parts = nm.split(source(), 3, index=np.array([1, 3]))
    assert [p.shape["x"] for p in parts] == [1, 2, 1]


def test_stripping_keeps_longer_parts():
    a, b = nm.split(source(), index=1, strip_singleton_dims=True)
    assert a.shape.tags == ["b", "y", "x"]
    assert b.shape.tags == ["b", "f", "y", "x"]
    np.testing.assert_array_equal(a(X), X[:, 0])


def test_stripping_a_spatial_axis_keeps_the_geometry_consistent():
    first, *_ = nm.split(source(strides=[2, 3]), "y", n_out=5, strip_singleton_dims=True)
    assert first.shape.strides.tolist() == [3]
    assert first.shape.fov == [1]


def test_unknown_size_can_be_split_by_index():
    a, b = nm.split(source((None, 6, 5, 4)), "b", index=1)
    assert [a.shape["b"], b.shape["b"]] == [1, None]
    assert b(X).shape == (1, 6, 5, 4)
    with pytest.raises(ShapeError, match="unknown size can only be split by index"):
        nm.split(source((None, 6, 5, 4)), "b", n_out=2)


def test_names(fresh_model):
    inp = source()
    assert [p.name for p in nm.split(inp, n_out=2)] == ["split1", "split2"]
    assert [p.name for p in nm.split(inp, n_out=2)] == ["split4", "split5"]
    assert [p.name for p in nm.split(inp, n_out=2, name=["left", "right"])] == ["left", "right"]
    assert set(fresh_model.splits) == {"split", "split3", "split6"}


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({}, ArgumentError, "needs index or n_out"),
        (
            {"n_out": 4},
            ShapeError,
            r"size 6 cannot be divided into 4.*one of \[1, 2, 3, 6\]; nearest valid: 3",
        ),
        ({"n_out": 0}, ArgumentError, "n_out must be a number of parts"),
        ({"n_out": 2.0}, ArgumentError, "n_out must be a number of parts"),
        (
            {"index": 6},
            ShapeError,
            r"a cut is out of range; got \[6\] for size 6; expected cuts from 1 to 5; nearest valid: \[5\]",
        ),
        ({"index": [0, 2]}, ShapeError, "a cut is out of range"),
        ({"index": [-1]}, ShapeError, "a cut is out of range"),
        ({"index": [3, 1]}, ArgumentError, r"cuts must be ascending; got \[3, 1\]; nearest valid: \[1, 3\]"),
        ({"index": [2, 2]}, ArgumentError, "cuts must be ascending"),
        ({"index": 1.5}, ArgumentError, "index must be a position"),
        ({"index": []}, ArgumentError, "index must be a position"),
        ({"axis": "z", "n_out": 2}, ShapeError, "no axis has tag 'z'"),
        ({"axis": 4, "n_out": 2}, ShapeError, "no such axis"),
        (
            {"n_out": 2, "name": ["a"]},
            ArgumentError,
            "one name per part is needed; got .'a'.; expected 2 names",
        ),
        ({"n_out": 2, "name": ["a", "a"]}, ArgumentError, "the parts' names clash"),
    ],
)
def test_bad_cuts_leave_nothing_behind(fresh_model, kwargs, error, message):
    inp = source()
    with pytest.raises(error, match=message):
        nm.split(inp, **kwargs)
    assert list(fresh_model.nodes) == ["input"]
    assert fresh_model.splits == {}


def test_only_nodes_with_a_tensor_can_be_split():
    with pytest.raises(InputTypeError, match="can only split a node"):
        nm.split(nm.GenericInput(print_repr=False), n_out=2)


@settings(deadline=None, max_examples=25)
@given(st.integers(2, 9), st.data())
def test_concat_undoes_split(size, data):
    nm.model_manager.newmodel(None)
    cuts = sorted(data.draw(st.sets(st.integers(1, size - 1), min_size=1)))
    inp = source((2, size), "b,f")
    parts = nm.split(inp, index=cuts)
    x = np.random.default_rng(0).random((2, size)).astype("float32")
    np.testing.assert_array_equal(nm.Concat(list(parts), print_repr=False)(x), x)
    assert sum(p.shape["f"] for p in parts) == size


@pytest.mark.parametrize("index", [[1.0], [True, 2], ["1"], np.array([0.5])], ids=repr)
def test_cuts_are_integers(index):
    with pytest.raises(ArgumentError, match="index must hold integers"):
        nm.split(source(), index=index)


@pytest.mark.parametrize(("n_out", "nearest"), [(9_999, "10000"), (3, "2"), (70_001, "70000"), (500_000, "70000")])
def test_numbers_of_parts_of_a_large_axis(n_out, nearest):
    """Divisors are searched for near the number and at the ends only: 1, 2, ..., 10,000, ..., 70,000."""
    with pytest.raises(ShapeError, match=rf"expected a divisor of the size; nearest valid: {nearest}$"):
        nm.split(source((1, 70_000), "b,f"), n_out=n_out)


def test_a_single_voxel_cannot_be_cut():
    with pytest.raises(ShapeError, match="out of range") as caught:
        nm.split(source((2, 1), "b,f"), index=1)
    assert "nearest" not in str(caught.value)
    assert [p.shape["f"] for p in nm.split(source((2, 1), "b,f"), n_out=1)] == [1]


@pytest.mark.parametrize(("axis", "equivariant"), [("b", True), ("f", True), ("y", False)])
def test_only_a_split_in_space_breaks_equivariance(axis, equivariant):
    assert {p.equivariant for p in nm.split(source(), axis, index=1)} == {equivariant}


def test_the_last_part_takes_what_is_there():
    *_, last = nm.split(source((None, 6, 5, 4)), "b", index=[1, 2])
    assert [last(np.zeros((n, 6, 5, 4), "float32")).shape[0] for n in (3, 7)] == [1, 5]


def test_gradients_reach_only_the_part():
    part = nm.split(source((1, 4), "b,f"), index=[1, 3])[1]
    (gradient,) = E.grad(part.output.sum(), part.input_tensors)
    assert nm.make_func(part.input_tensors, gradient)(np.zeros((1, 4), "float32")).tolist() == [[0, 1, 1, 0]]
