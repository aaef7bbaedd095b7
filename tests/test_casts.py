"""Value-preserving casts."""

from __future__ import annotations

import re

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.arrays import as_array
from neuromancer.casts import exact_cast, fits_kind, holds, limits
from neuromancer.errors import ArgumentError, InputTypeError

INTEGERS = [f"{sign}int{bits}" for bits in (8, 16, 32, 64) for sign in ("", "u")]


@pytest.mark.parametrize("target", INTEGERS)
@pytest.mark.parametrize("source", INTEGERS)
def test_integers_fit_or_are_refused(source, target):
    values = {0, 1, *(int(f(np.iinfo(d))) for d in INTEGERS for f in (lambda i: i.min, lambda i: i.max))}
    inside = [v for v in values if np.iinfo(source).min <= v <= np.iinfo(source).max]
    fitting = [v for v in inside if np.iinfo(target).min <= v <= np.iinfo(target).max]
    result = exact_cast(np.array(fitting, source), target)
    assert result.dtype == target and result.tolist() == fitting
    for v in set(inside) - set(fitting):
        with pytest.raises(ArgumentError, match=f"does not fit {target}; got {v}; expected whole numbers from"):
            exact_cast(np.array([0, v, 1], source), target)


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (0.5, "uint8"),
        (-0.1, "int64"),
        (256.0, "uint8"),
        (-1.0, "uint8"),
        (np.nan, "int16"),
        (np.inf, "int64"),
        (2.0**63, "int64"),
        (1e300, "float32"),
        (-1e39, "float32"),
        (70000.0, "float16"),
        (70000, "float16"),
        (2, "bool"),
        (0.5, "bool"),
    ],
)
def test_values_that_would_change_are_refused(value, dtype):
    with pytest.raises(ArgumentError, match="got"):
        exact_cast(np.array([[0, value]]), dtype)
    assert not holds(dtype, value)


@pytest.mark.parametrize(
    ("value", "dtype", "result"),
    [
        (3.0, "uint8", 3),
        (0.1, "float32", np.float32(0.1)),
        (1e-300, "float32", 0.0),
        (np.inf, "float32", np.inf),
        (2**24 + 1, "float32", 2.0**24),
        (True, "float32", 1.0),
        (1, "bool", True),
        (2**64 - 1, "uint64", 2**64 - 1),
    ],
)
def test_floats_are_rounded(value, dtype, result):
    cast = exact_cast(np.array(value), dtype)
    assert cast.dtype == dtype and cast == result and holds(dtype, value)


def test_nan_and_infinity_are_preserved():
    np.testing.assert_array_equal(exact_cast(np.array([np.nan, 1.0, -np.inf]), "float32"), [np.nan, 1, -np.inf])


def test_identifiers_are_not_rounded():
    assert exact_cast(np.array([2**24, -(2**24)]), "float32", ids=True).dtype == "float32"
    for array in (np.array([2**24 + 1]), np.array([2.0**24 + 1]), np.array([2**63], "uint64")):
        with pytest.raises(ArgumentError, match=r"does not fit float32.*up to 16777216"):
            exact_cast(array, "float32", ids=True)
    with pytest.raises(ArgumentError, match="does not fit float64"):
        exact_cast(np.array([2**53 + 1]), "float64", ids=True)
    same = np.array([2.0**30 + 1])
    assert exact_cast(same, "float64", ids=True) is same


@pytest.mark.parametrize("value", ["a", 1j, None, [{}], b"x", np.datetime64("now")])
def test_only_real_numbers_are_accepted(value):
    with pytest.raises(InputTypeError, match="does not contain real numbers"):
        exact_cast(value, "float32", "conv", "the weight")


def test_lossless_casts_do_not_inspect_values(monkeypatch):
    for name in ("max", "min", "isfinite"):
        monkeypatch.setattr(np, name, lambda *a: pytest.fail("values were inspected"))
    for source, target in (("uint8", "int16"), ("float32", "float64"), ("bool", "uint8"), ("uint16", "float32")):
        assert exact_cast(np.ones(3, source), target).dtype == target
    array = np.ones(3, "float32")
    assert exact_cast(array, "float32") is array


def test_empty_arrays_fit():
    for dtype in ("uint8", "float32", "bool"):
        assert exact_cast(np.zeros((0, 3)), dtype).shape == (0, 3)


def test_kinds_and_limits():
    assert fits_kind("int64", "uint8") and fits_kind("float64", "float32") and fits_kind("bool", "int8")
    assert not fits_kind("float32", "int64") and not fits_kind("complex64", "float32") and not fits_kind("int8", "bool")
    assert limits("bool") == "whole numbers from 0 to 1"


def test_as_array_keeps_the_dtype():
    for kind in ("float16", "float32", "float64", "longdouble", "int8", "bool"):
        assert as_array(np.ones(2, kind)).dtype == kind and as_array([np.ones(2, kind)]).dtype == kind
    assert as_array([[0.1, 1]]).dtype == "float64"


# ---- inputs and parameters
def image(dtype):
    return nm.Input((1, 2), "b,f", dtype=dtype, name="i", print_repr=False)


@pytest.mark.parametrize(
    ("dtype", "given"),
    [
        ("uint8", np.array([[256, 300]], "uint16")),
        ("uint8", np.array([[0, -1]])),
        ("uint8", [[0, 300]]),
        ("int16", np.array([[65536, 0]], "uint32")),
        ("int32", np.array([[2**32 + 5, 1]])),
        ("int64", np.array([[2**64 - 1, 1]], "uint64")),
        ("float32", np.array([[1e300, 1]])),
        ("float32", [[-1e39, 1]]),
    ],
)
def test_sources_refuse_values_out_of_range(fresh_model, dtype, given):
    node = nm.ApplyFunc(image(dtype), lambda v: v + 0, name="d", print_repr=False)
    worst = re.escape(str(max(np.asarray(given).ravel().tolist(), key=abs)))
    for call in (node, node.infer):
        with pytest.raises(ArgumentError, match=rf"'d': input 'i' does not fit {dtype}; got {worst}"):
            call(given)
    with pytest.raises(ArgumentError, match=f"argument i does not fit {dtype}"):
        nm.make_func(node.input_tensors, node.output)(given)


def test_sources_accept_values_in_range(fresh_model):
    node = nm.ApplyFunc(image("uint8"), lambda v: v + 0, name="d", print_repr=False)
    for given in ([[3, 255]], np.array([[3, 255]]), np.array([[3, 255]], "uint64"), [[True, False]]):
        assert node(given).tolist() == np.asarray(given).astype(int).tolist()
    with pytest.raises(InputTypeError, match="wrong dtype"):
        node([[0.5, 1.0]])
    with pytest.raises(InputTypeError, match="wrong dtype"):
        node(np.array([[1.0, 2.0]]))
    wide = nm.ApplyFunc(image("float32"), lambda v: v * 1, name="f", print_repr=False)
    assert wide([[2**24 + 1, 0.1]]).tolist() == [[2.0**24, np.float32(0.1)]]  # intensities may be rounded


def test_parameters_refuse_values_out_of_range(fresh_model):
    x = nm.Input((1, 2), "b,f", print_repr=False)
    layer = nm.Perceptron(x, 1, name="layer", print_repr=False)
    before = layer.get_param_values()
    for value in (np.full((2, 1), 1e300), 1e39):
        with pytest.raises(ArgumentError, match=r"does not fit float32; got 1e\+"):
            layer.set_param_values({"b": [0.5], "w": value})
        with pytest.raises(ArgumentError, match=r"layer_w.*does not fit float32"):
            layer.w.set_value(value)
    for key, value in before.items():
        np.testing.assert_array_equal(layer.params[key].get_value(), value)
    for given in (np.full((2, 1), 1e300), [np.full((2, 1), -1e300), "const"]):
        with pytest.raises(ArgumentError, match="does not fit float32"):
            nm.Perceptron(x, 1, w=given, print_repr=False)
    with pytest.raises(ArgumentError, match="does not fit float32"):
        nm.variables.initweights((2,), mode="const", scale=1e300)
    with pytest.raises(ArgumentError, match=r"dropout_rate.*got 0.9999999999"):
        nm.Perceptron(x, 1, dropout_rate=1 - 1e-10, print_repr=False)


@pytest.mark.parametrize(
    ("dtype", "value"), [("uint8", 300), ("uint8", 0.5), ("uint8", [[1, -1]]), ("float32", 1e300), ("int32", 2**40)]
)
def test_value_nodes_refuse_values_out_of_range(fresh_model, dtype, value):
    with pytest.raises(ArgumentError, match=f"the value does not fit {dtype}"):
        nm.ValueNode((1, 2), "b,f", dtype=dtype, value=value, print_repr=False)
    assert nm.ValueNode((1, 2), "b,f", dtype="uint8", value=2.0, print_repr=False).get_value().tolist() == [[2, 2]]


def test_constants_and_weights_of_losses(fresh_model):
    with pytest.raises(ArgumentError, match="does not fit uint8; got 300"):
        nm.engine.constant([1, 300], dtype="uint8")
    with pytest.raises(ArgumentError, match="does not fit float32"):
        nm.engine.constant(1e300)
    with pytest.raises(ArgumentError, match="does not fit float32"):
        nm.as_floatX(1e300)
    probs = nm.Softmax(nm.Input((1, 2), "b,f", name="raw", print_repr=False), print_repr=False)
    labels = nm.Input_like(probs, "int16", override_f=1, name="labels", print_repr=False)
    with pytest.raises(ArgumentError, match="class weights does not fit float32"):
        nm.MultinoulliNLL(probs, labels, True, class_weights=[1, 1e300], print_repr=False)
    nll = nm.MultinoulliNLL(probs, labels, True, class_weights=[1, 2], print_repr=False)
    with pytest.raises(ArgumentError, match=r"class_weights.*does not fit float32"):
        nll.class_weights.set_value([1.0, 1e300])
    with pytest.raises(ArgumentError, match="mixing weights does not fit float32"):
        nm.AggregateLoss([nll], [1e300], print_repr=False)
