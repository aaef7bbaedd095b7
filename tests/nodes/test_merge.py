"""Concat, Add, MultMerge."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer import engine as E
from neuromancer.errors import InputTypeError, ShapeError

RNG = np.random.default_rng(0)


def source(shape, tags="b,f,x", name="input"):
    return nm.Input(shape, tags, name=name, print_repr=False)


def test_concat_on_every_axis():
    a, b = RNG.random((2, 3, 4)), RNG.random((2, 3, 4))
    for axis, tag in enumerate("bfx"):
        for key in (axis, tag):
            node = nm.Concat([source((2, 3, 4)), source((2, 3, 4))], axis=key, print_repr=False)
            np.testing.assert_allclose(node(a, b), np.concatenate([a, b], axis).astype("float32"))
            assert node.shape.shape == list(np.concatenate([a, b], axis).shape)


def test_concat_cost_and_unknown_sizes():
    node = nm.Concat([source((None, 3, 4)), source((2, 5, None))], print_repr=False)
    assert node.shape.shape == [2, 8, 4]
    assert node.computational_cost == 0


@pytest.mark.parametrize(("cls", "function", "cost"), [(nm.Add, np.add, 0), (nm.MultMerge, np.multiply, 24)])
def test_elementwise(cls, function, cost):
    a, b = RNG.random((2, 3, 4)).astype("float32"), RNG.random((2, 3, 4)).astype("float32")
    node = cls(source((2, 3, 4)), source((2, 3, 4)), print_repr=False)
    np.testing.assert_allclose(node(a, b), function(a, b), rtol=1e-6)
    assert node.computational_cost == cost
    assert node.shape.shape == [2, 3, 4]


@pytest.mark.parametrize("merge", [lambda a, b: nm.Concat([a, b]), nm.Add, nm.MultMerge])
def test_sizes_must_fit(fresh_model, merge):
    a, b = source((2, 3, 4), name="a"), source((2, 3, 6), name="b")
    with pytest.raises(
        ShapeError,
        match=r"sizes differ on axis 'x'; got a: .*\(4,x\)\]; b: .*\(6,x\)\].*nearest valid: crop to 4",
    ):
        merge(a, b)
    assert list(fresh_model.nodes) == ["a", "b"]
    assert a.children == {}


@pytest.mark.parametrize("merge", [lambda a, b: nm.Concat([a, b]), nm.Add, nm.MultMerge])
def test_axes_must_fit(merge):
    with pytest.raises(ShapeError, match="the inputs have different axes"):
        merge(source((2, 3, 4)), source((2, 3, 4), "b,f,y"))


def test_add_needs_equal_features_too():
    with pytest.raises(ShapeError, match="sizes differ on axis 'f'"):
        nm.Add(source((2, 3, 4)), source((2, 2, 4)))


@pytest.mark.parametrize("parents", [None, [], "ab", [3]])
def test_concat_needs_nodes(parents):
    with pytest.raises(InputTypeError, match="Concat 'concat'"):
        nm.Concat(parents)


def test_generic_inputs_cannot_be_merged():
    with pytest.raises(InputTypeError, match="an input has no shape"):
        nm.Add(nm.GenericInput(print_repr=False), source((2, 3, 4)))


@pytest.mark.parametrize("merge", [nm.Add, nm.MultMerge, lambda a, b, **k: nm.Concat([a, b], **k)])
def test_known_sizes_win_and_two_unknown_ones_stay_open(merge):
    node = merge(source((None, 3, None)), source((2, 3, None)), print_repr=False)
    assert [node.shape["b"], node.shape["x"]] == [2, None]


def test_a_concatenated_axis_is_unknown_if_a_part_is():
    node = nm.Concat([source((2, 3, None)), source((2, 3, 4))], axis="x", print_repr=False)
    assert node.shape.shape == [2, 3, None]
    assert node(np.zeros((2, 3, 5), "float32"), np.ones((2, 3, 4), "float32"))[0, 0].tolist() == [0] * 5 + [1] * 4


def test_parts_of_other_sizes_at_run_time_are_reported():
    node = nm.Concat([source((None, 3, 4)), source((None, 3, 4))], print_repr=False)
    with pytest.raises(nm.errors.NeuromancerError):
        node(np.zeros((2, 3, 4), "float32"), np.zeros((1, 3, 4), "float32"))


@pytest.mark.parametrize(("axis", "error"), [("y", "'y'"), (3, "axis"), (-4, "axis")])
def test_axes_that_the_parts_do_not_have(fresh_model, axis, error):
    with pytest.raises(ShapeError, match=error):
        nm.Concat([source((2, 3, 4)), source((2, 3, 4), name="b")], axis=axis)
    assert list(fresh_model.nodes) == ["input", "b"]


@pytest.mark.parametrize(("tag", "equivariant"), [("b", True), ("f", True), ("x", False)])
def test_only_a_concatenation_in_space_breaks_equivariance(tag, equivariant):
    assert nm.Concat([source((2, 3, 4)), source((2, 3, 4))], axis=tag, print_repr=False).equivariant is equivariant


@pytest.mark.parametrize(("cls", "slopes"), [(nm.Add, (1, 1)), (nm.MultMerge, (3, 2))])
def test_gradients_flow_to_both_inputs(cls, slopes):
    node = cls(source((1, 1, 2)), source((1, 1, 2)), print_repr=False)
    gradients = nm.make_func(node.input_tensors, E.grad(node.output.sum(), node.input_tensors))
    got = gradients(np.full((1, 1, 2), 2, "float32"), np.full((1, 1, 2), 3, "float32"))
    assert [g.ravel().tolist() for g in got] == [[s, s] for s in slopes]


@pytest.mark.parametrize(("cls", "want"), [(nm.Add, 6), (nm.MultMerge, 9)])
def test_a_node_can_be_merged_with_itself(cls, want):
    inp = source((1, 1, 1))
    assert cls(inp, inp, print_repr=False)([[[3]]]).item() == want
    assert nm.Concat([inp, inp, inp], print_repr=False)([[[3]]]).ravel().tolist() == [3] * 3
