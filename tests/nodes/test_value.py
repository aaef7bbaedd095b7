"""ValueNode and InitialState_like."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer import engine as E
from neuromancer.errors import ArgumentError, EngineError, NeuromancerError, ShapeError


def source():
    return nm.Input((2, 3), "b,f", print_repr=False)


def value(*args, **kwargs):
    return nm.ValueNode(*args, print_repr=False, **kwargs)


class TestValueNode:
    def test_default_is_constant_zeros(self):
        node = value((2, 3), "b,f")
        np.testing.assert_array_equal(node(), np.zeros((2, 3)))
        assert node.params["value"].constant
        assert node.param_count == 0
        assert node.computational_cost == 0
        with pytest.raises(EngineError, match="a constant cannot be set"):
            node.params["value"].set_value(1.0)

    @pytest.mark.parametrize("given", [3.0, [1, 2, 3], np.ones((2, 3)), [np.ones(3), "const"], [2]])
    def test_values_are_broadcast(self, given):
        node = value((2, 3), "b,f", value=given)
        plain = given[0] if isinstance(given, list) and "const" in [g for g in given if isinstance(g, str)] else given
        np.testing.assert_array_equal(node.get_value(), np.broadcast_to(plain, (2, 3)))

    def test_trainable_matrix(self):
        node = value((2, 3), "b,f", apply_train=True, value=np.arange(6.0).reshape(2, 3))
        total = nm.Add(source(), node, print_repr=False)
        assert list(total.all_trainable_params) == ["value_state_value"]
        assert total.all_params_count == 6
        (gradient,) = E.grad((total.output**2).sum(), [node.params["value"]])
        x = np.ones((2, 3), "float32")
        np.testing.assert_allclose(nm.make_func(total.input_tensors, gradient)(x), 2 * (x + np.arange(6).reshape(2, 3)))
        node.set_param_values({"value": 1.0})
        np.testing.assert_allclose(total(x), 2 * x)

    def test_drawn_values_are_reproducible(self):
        nm.seed(5)
        a = value((4, 3), "b,f", apply_train=True, init_kwargs={"mode": "normal"}).get_value()
        nm.seed(5)
        b = value((4, 3), "b,f", init_kwargs={"mode": "normal"}).get_value()
        np.testing.assert_array_equal(a, b)
        nm.seed(None)

    @pytest.mark.parametrize(
        ("kwargs", "message"),
        [
            ({"value": np.ones(4)}, r"the value does not fit the shape; got \(4,\); expected \(2, 3\)"),
            ({"value": [1.0, "fixed"]}, "unknown mark of a value"),
            (
                {"value": 1.0, "init_kwargs": {"mode": "const", "scale": 1.0}},
                "give either a value or init_kwargs",
            ),
        ],
    )
    def test_bad_arguments(self, kwargs, message):
        with pytest.raises(NeuromancerError, match=message):
            value((2, 3), "b,f", **kwargs)

    def test_unknown_size(self):
        with pytest.raises(ShapeError, match="a value needs a known shape"):
            value((None, 3), "b,f")


class TestInitialState:
    def test_repeats_its_vector_over_the_other_axes(self):
        node = nm.InitialState_like(source(), 4, init_kwargs={"mode": "fix-uni", "scale": 1.0}, print_repr=False)
        out = node(np.ones((2, 3)))
        np.testing.assert_array_equal(out, np.tile(node.get_value(), (2, 1)))
        assert node.shape.shape == [2, 4]
        assert node.param_count == 4

    def test_default_is_zero_and_trainable(self):
        node = nm.InitialState_like(source(), 4, print_repr=False)
        np.testing.assert_array_equal(node.get_value(), np.zeros(4))
        (gradient,) = E.grad(node.output.sum(), [node.params["value"]])
        np.testing.assert_array_equal(nm.make_func(node.input_tensors, gradient)(np.ones((2, 3), "float32")), [2] * 4)

    @pytest.mark.parametrize("n", [0, -1, 2.5, None, True])
    def test_bad_number_of_features(self, n):
        with pytest.raises(ArgumentError, match="override_f must be a positive integer"):
            nm.InitialState_like(source(), n)

    def test_needs_features(self):
        with pytest.raises(NeuromancerError, match="needs an axis tagged 'f'"):
            nm.InitialState_like(nm.Input((2, 3), "b,x", print_repr=False), 2)

    @pytest.mark.parametrize(
        ("parent", "dtype", "want"),
        [
            ("float64", None, "float64"),
            ("float32", "float64", "float64"),
            ("int16", None, "float32"),
            ("bool",) * 2 + ("float32",),
        ],
    )
    def test_the_vector_is_of_floating_point(self, parent, dtype, want):
        node = nm.InitialState_like(nm.Input((2, 3), "b,f", dtype=parent, print_repr=False), 4, dtype, print_repr=False)
        assert node.get_value().dtype == want

    def test_it_follows_the_sizes_of_the_data_and_the_axis_of_features(self):
        inp = nm.Input((None, 3, None), "b,f,x", print_repr=False)
        node = nm.InitialState_like(inp, 2, print_repr=False)
        node.set_param_values({"value": [1.0, 2.0]})
        out = node(np.zeros((5, 3, 4), "float32"))
        assert node.shape.shape == [None, 2, None] and out.shape == (5, 2, 4)
        np.testing.assert_array_equal(out, np.broadcast_to([[[1], [2]]], (5, 2, 4)))

    def test_the_vector_is_copied(self):
        node = nm.InitialState_like(source(), 4, print_repr=False)
        node.get_value()[:] = 7
        np.testing.assert_array_equal(node.get_value(), np.zeros(4))


@pytest.mark.parametrize("dtype", ["int8", "uint16", "bool", "float64"])
def test_values_keep_their_dtype_and_must_fit_it(dtype):
    node = value((2,), "f", dtype=dtype, value=[0, 1])
    assert node.output.dtype == node().dtype == node.get_value().dtype == dtype
    if dtype != "float64":
        with pytest.raises(NeuromancerError, match="the value"):
            value((2,), "f", dtype=dtype, value=[0, 1 << 20])
        with pytest.raises(ArgumentError, match=f"only floating-point values can be trained; got dtype={dtype}"):
            value((2,), "f", dtype=dtype, apply_train=True)


def test_a_constant_mark_beats_apply_train():
    node = value((2,), "f", value=[3.0, "const"], apply_train=True)
    assert node.params["value"].constant and not node.all_trainable_params


@pytest.mark.parametrize("train", [False, True])
def test_the_value_is_copied_when_it_comes_and_goes(train):
    given = np.ones((2, 3), "float32")
    node = value((2, 3), "b,f", value=given, apply_train=train)
    given[:] = 7
    node.get_value()[:] = 8
    np.testing.assert_array_equal(node.get_value(), np.ones((2, 3)))


@pytest.mark.filterwarnings("ignore")  # earlier versions of NumPy only warn of ragged lists
@pytest.mark.parametrize("given", ["text", object(), [[1, 2], [3]], np.array(["a"]), None])
def test_only_numbers_are_values(given):
    if given is None:
        assert not value((2,), "f", value=given).get_value().any()
    else:
        with pytest.raises(NeuromancerError):
            value((2,), "f", value=given)
