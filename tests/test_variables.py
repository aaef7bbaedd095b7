"""Parameters and initial weights."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import ArgumentError, EngineError, InputTypeError, NeuromancerError, ShapeError
from neuromancer.variables import ConstantParam, VariableParam, VariableWeight, initweights


class TestVariableParam:
    def test_attributes_and_name(self):
        p = VariableParam(np.ones(3, "float32"), name="w", apply_reg=3.0)
        assert (p.name, p.apply_train, p.apply_reg, p.constant, p.updates) == ("w", True, 3.0, False, None)
        assert VariableParam(1.0, name="m", apply_train=False).name == "m_noTrain"
        assert VariableParam(1.0, apply_train=False).name is None

    def test_python_numbers_take_floatx(self):
        assert VariableParam(1).dtype == "float32"
        assert VariableParam([1, 2]).dtype == "float32"
        assert VariableParam(np.arange(2)).dtype == "int64"
        assert VariableParam(1, dtype="float64").dtype == "float64"

    def test_get_value_is_a_copy(self):
        p = VariableParam(np.zeros(3))
        p.get_value()[:] = 5
        np.testing.assert_array_equal(p.get_value(), 0)

    def test_initial_value_is_not_aliased(self):
        a = np.zeros(3, "float32")
        p = VariableParam(a)
        a[:] = 5
        np.testing.assert_array_equal(p.get_value(), 0)

    def test_only_untrained_parameters_have_updates(self):
        free = VariableParam(1.0, "m", apply_train=False, apply_reg=False)
        free.updates = (free, free * 2)
        assert free.updates[0] is free
        for kwargs in ({"apply_reg": False}, {"apply_train": False}):
            with pytest.raises(ArgumentError, match="can have its own update"):
                VariableParam(1.0, "w", **kwargs).updates = (free, free)

    def test_needs_a_value(self):
        with pytest.raises(ArgumentError, match="needs a value"):
            VariableParam()

    @pytest.mark.parametrize("value", ["a", [[1], [1, 2]], 1j, object(), {}])
    def test_values_are_numbers(self, value):
        for parameter in (VariableParam, VariableWeight, ConstantParam):
            with pytest.raises(InputTypeError) as caught:
                parameter(value=value, name="w")
            assert caught.value.node == "w"
        with pytest.raises(InputTypeError):
            VariableWeight((2,), value=value)

    def test_flags_are_kept_and_named_only_if_there_is_a_name(self):
        p = VariableParam(1.0, name="w", apply_train=False, apply_reg=0.5)
        assert (p.apply_train, p.apply_reg, p.name) == (False, 0.5, "w_noTrain")
        assert VariableWeight((2,), {"mode": "const", "scale": 1}, apply_train=False, name="w").name == "w_noTrain"


class TestVariableWeight:
    @pytest.mark.parametrize("shape", [3, (2, -1), (0,), (2.0, 3), (True, 2), ("a",), "23", np.ones((2, 2), int)])
    def test_shapes_are_positive_integers(self, shape):
        for make in (
            lambda: VariableWeight(shape, value=1.0, name="w"),
            lambda: VariableWeight(shape, {"mode": "const", "scale": 1.0}, name="w"),
        ):
            with pytest.raises(ShapeError) as caught:
                make()
            assert caught.value.node in ("w", "initweights")
        assert VariableWeight(np.array([2, 3]), value=1).get_value().shape == (2, 3)

    @pytest.mark.parametrize("given", [[1], {"std": 1}, "const", {"shape": (2,), "mode": "const"}])
    def test_init_kwargs_are_those_of_initweights(self, given):
        with pytest.raises(ArgumentError) as caught:
            VariableWeight((2,), given, name="w")
        assert caught.value.node == "w" and "scale" in str(caught.value.expected)

    def test_value_goes_before_init_and_is_copied(self):
        value = np.arange(2, dtype="float32")
        w = VariableWeight((2,), {"mode": "const", "scale": 7.0}, value)
        value[:] = -1
        assert w.get_value().tolist() == [0, 1]
        w.set_value(value)
        value[:] = 5
        assert w.get_value().tolist() == [-1, -1]
        with pytest.raises(ArgumentError):
            w.set_value(1e300)
        assert w.get_value().tolist() == [-1, -1]

    @pytest.mark.parametrize("floatX", ["float32", "float64"])
    def test_the_dtype_is_floatx_whatever_the_value_has(self, floatX):
        nm.config.floatX = floatX
        assert VariableWeight(value=np.arange(3)).dtype == VariableWeight((3,), value=np.ones(3)).dtype == floatX
        assert VariableWeight(value=np.arange(3), dtype="int16").dtype == "int16"
        assert initweights((2, 2)).dtype == initweights((2, 2), mode="ortho").dtype == floatX
        assert initweights((2, 2), "float64").dtype == "float64"
        assert ConstantParam(np.arange(2)).dtype == "int64" and ConstantParam([1, 2]).dtype == floatX
        assert ConstantParam(np.ones(2)).dtype == ConstantParam(np.float16(1)).dtype == floatX


def test_a_constant_is_copied_both_ways():
    value = np.zeros(2, "float32")
    c = ConstantParam(value)
    value[:] = 1
    c.get_value()[:] = 2
    assert c.get_value().tolist() == [0, 0] and c.name is None


class TestWeightValues:
    def test_value_is_broadcast_to_shape(self):
        np.testing.assert_array_equal(VariableWeight((2, 3), value=[1, 2, 3]).get_value(), [[1, 2, 3]] * 2)
        with pytest.raises(ShapeError, match=r"the value does not fit the shape; got \(4,\); expected \(2, 3\)"):
            VariableWeight((2, 3), value=np.ones(4))

    def test_needs_value_or_shape_and_init(self):
        for kwargs in ({}, {"shape": (2,)}, {"init_kwargs": {}}):
            with pytest.raises(ArgumentError, match="needs both shape and init_kwargs"):
                VariableWeight(**kwargs)

    def test_set_value(self):
        w = VariableWeight(value=np.zeros((2, 2)), name="w")
        w.set_value(3)
        np.testing.assert_array_equal(w.get_value(), 3)
        w.set_value(np.arange(4.0).reshape(2, 2))
        assert w.get_value().dtype == "float32"
        with pytest.raises(ShapeError, match=r"'w': the value has the wrong shape; got \(3,\); expected \(2, 2\)"):
            w.set_value(np.ones(3))


def test_constants_are_folded_and_cannot_be_set():
    c = ConstantParam(np.ones(2), name="c")
    assert (c.name, c.constant, c.apply_train, c.apply_reg, c.updates, c.dtype) == (
        "c_const",
        True,
        False,
        False,
        None,
        "float32",
    )
    np.testing.assert_array_equal(nm.make_func([], c + 1)(), [2, 2])
    with pytest.raises(EngineError, match="a constant cannot be set"):
        c.set_value(1)


class TestInitweights:
    def test_numbers(self):
        np.testing.assert_array_equal(initweights((2, 2), mode="const", scale=0.5), np.full((2, 2), 0.5))
        np.testing.assert_array_equal(initweights((2, 2), mode="prelu", scale=0.5), [[0.5, 1], [0.5, 1]])
        values = initweights((1000,), mode="fix-uni", scale=0.1)
        assert np.abs(values).max() <= 0.1
        assert np.abs(values).max() > 0.09

    @pytest.mark.parametrize("mode", ["normal", "uni", "ortho"])
    @pytest.mark.parametrize(
        ("shape", "kwargs", "sigma"),
        [
            ((300, 200), {}, (2 / 500) ** 0.5),
            ((40, 30, 3, 3), {"spatial_axes": (2, 3), "pool": (2, 2)}, (2 / ((30 + 10) * 9)) ** 0.5),
            ((40, 3, 30, 3, 2), {"spatial_axes": (1, 3, 4)}, (2 / ((30 + 40) * 18)) ** 0.5),
        ],
    )
    def test_glorot_standard_deviation(self, mode, shape, kwargs, sigma):
        values = initweights(shape, mode=mode, **kwargs)
        assert values.shape == shape
        assert values.std() == pytest.approx(sigma, rel=0.03)

    def test_ortho_is_orthogonal(self):
        w = initweights((64, 16), mode="ortho").astype("float64")
        gram = w.T @ w
        np.testing.assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-5)
        k = initweights((8, 4, 3, 3), mode="ortho", spatial_axes=(2, 3)).reshape(8, -1).astype("float64")
        np.testing.assert_allclose(k @ k.T, np.eye(8) * (k @ k.T)[0, 0], atol=1e-5)

    @pytest.mark.parametrize(
        ("kwargs", "message"),
        [
            ({"mode": "glorot"}, "unknown initialisation mode"),
            ({"mode": "normal", "scale": 1.0}, "the scale does not match mode 'normal'"),
            ({"mode": "const"}, "the scale does not match mode 'const'"),
            ({"mode": ["const"], "scale": 1.0}, "unknown initialisation mode"),
            ({"mode": "normal", "scale": "he"}, "the scale does not match mode 'normal'"),
            ({"mode": "ortho", "scale": None}, "the scale does not match mode 'ortho'"),
            *[
                ({"mode": "const", "scale": scale}, "the scale does not match")
                for scale in (None, [1.0], 1j, "1", True)
            ],
            ({"mode": "prelu", "scale": 1.0}, "prelu parameters have two columns"),
            *[({"spatial_axes": axes}, "must leave two axes") for axes in ((), (0, 1), (3,), (-1,), (0, 0))],
            ({"mode": "const", "scale": 0.5, "dtype": "int32"}, "got 0.5"),
            ({}, "convolution weights need spatial_axes"),
        ],
    )
    def test_bad_arguments(self, kwargs, message):
        with pytest.raises(NeuromancerError, match=message):
            initweights((2, 3, 4), **kwargs)

    @pytest.mark.parametrize("n_out", [3, 8, 30])
    def test_ortho_rows_or_columns_are_orthogonal_whichever_are_fewer(self, n_out):
        w = initweights((n_out, 4, 2), "float64", mode="ortho", spatial_axes=(2,)).reshape(n_out, 8)
        gram = w @ w.T if n_out <= 8 else w.T @ w
        np.testing.assert_allclose(gram, np.eye(len(gram)) * gram[0, 0], atol=1e-12)

    def test_uniform_weights_have_sharp_ends(self):
        values, end = initweights((50, 50), "float64", mode="uni"), (3 * 2 / 100) ** 0.5
        assert 0.99 * end < np.abs(values).max() <= end

    def test_seeded_and_independent_of_numpy(self):
        state = np.random.get_state()[1].copy()  # noqa: NPY002
        nm.seed(1)
        a = initweights((3, 3))
        nm.seed(1)
        np.testing.assert_array_equal(a, initweights((3, 3)))
        nm.seed(None)
        np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
