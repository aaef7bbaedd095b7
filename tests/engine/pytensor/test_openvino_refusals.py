"""Graphs, sizes and indices that OpenVINO refuses: a function that asks for it then gives torch's result or error."""

from __future__ import annotations

import logging

import numpy as np
import pytensor.tensor as pt
import pytest
from pytensor.raise_op import Assert

from neuromancer import engine as E

pytest.importorskip("openvino")

from neuromancer.engine.pytensor.link.openvino import Missing, Unsupported
from tests.engine.pytensor.runners import assert_same, by_openvino, check

F = "float32"
COUNT = np.arange(12, dtype=F).reshape(3, 4)


def x(shape=(None, None), dtype=F, name="x"):
    return E.tensor(name, shape, dtype)


def product(y):
    """Return `y` beside a product, without which a function stays on torch anyway."""
    a = E.SharedVariable(np.eye(4, dtype=F), "eye")
    return [y, pt.dot(x0, a)]


x0 = x()
k = E.tensor("k", (), "int64")
v = E.tensor("v", (None,), "int64")

REFUSED = {
    # name: (outputs of the matrix x0 and a number k or a vector v, its value)
    "an index from an argument": (x0[k], 1),
    "a slice from an argument": (x0[:, :k], 2),
    "a shape from an argument": (x0.reshape((k, -1)), 6),
    "a size from an argument": (pt.alloc(x0[0, 0], k, 2), 3),
    "repetitions from an argument": (pt.repeat(x0, k, axis=0), 2),
    "different repetitions": (pt.repeat(x0, [1, 0, 2], axis=0), 0),
    "index arrays from an argument": (x0[v], [2, 0]),
    "two index arrays": (x0[[0, 1], [2, 3]], 0),
    "an index array beside a slice": (x0[[0, 1], 1:], 0),
    "a mask": (x0[x0 > 3], 0),
    "setting with steps": (pt.set_subtensor(x0[::2], 5), 0),
    "adding by an index array": (pt.inc_subtensor(x0[[0, 0]], 1), 0),
    "setting integers": (pt.set_subtensor(pt.cast(x0 > 3, "int32")[1:], 5), 0),
    "an empty slice": (x0[:, 2:2], 0),
    "joining dtypes": (pt.concatenate([x0, pt.cast(x0 > 3, "int32")]), 0),
    "a vector of dtypes": (pt.stack([pt.cast(x0[0, 0], "float64"), x0.sum()]), 0),
    "a cast to integers": (pt.cast(x0, "int32"), 0),
    "sums of integers": ((x0 > 3).sum(axis=0), 0),
    "the largest integer": (pt.argmax(pt.cast(x0 > 3, "int32"), axis=1), 0),
    "products of integers": (pt.dot(pt.cast(x0 > 3, "int32"), pt.cast(x0 > 3, "int32").T), 0),
    "sorting": (pt.sort(x0, axis=1), 0),
    "cumulative sums": (pt.cumsum(x0, axis=1), 0),
    "a check of data": (Assert("data")(x0, pt.all(x0 >= 0)), 0),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_openvino_refuses_runs_on_torch(name, caplog) -> None:
    y, value = REFUSED[name]
    inputs = [x0, v if isinstance(value, list) else k]
    arrays = [COUNT, np.array(value, "int64")]
    with pytest.raises(Unsupported):
        by_openvino(inputs, [y], arrays)
    want = E.function(inputs, product(y), backend="torch")(*arrays)
    with caplog.at_level(logging.ERROR, "neuromancer"):
        asked = E.function(inputs, product(y), backend="openvino")
        for result, expected in zip(asked(*arrays), want, strict=True):
            assert_same(result, expected)
    assert asked.accelerator is None or asked.accelerator.calls == 0


FAILING = {
    # name: (output of x0, shape that fails)
    "another specified size": (pt.specify_shape(x0, (3, None)), (2, 4)),
    "a failing check of sizes": (Assert("sizes")(x0, pt.eq(x0.shape[0], 3)), (2, 4)),
    "a dropped axis that is longer": (pt.squeeze(x0, 0), (2, 4)),
    "parts that do not add up": (pt.split(x0, [1, 2], n_splits=2, axis=0)[1], (4, 4)),
    "an index beyond the axis": (x0[2], (2, 4)),
    "an index array beyond the axis": (x0[[0, 2]], (2, 4)),
    "operands of different lengths": (x0 + x0[:3], (5, 4)),
    "factors of different lengths": (pt.dot(x0, x0), (3, 4)),
}


@pytest.mark.parametrize("name", FAILING)
def test_sizes_that_fail_give_torchs_error_and_others_run_on_openvino(name) -> None:
    y, shape = FAILING[name]
    with pytest.raises(Unsupported):
        by_openvino([x0], [y], [np.ones(shape, F)])
    errors = []
    for backend in ("torch", "openvino"):
        function = E.function([x0], product(y), backend=backend)
        with pytest.raises(Exception) as caught:
            function(np.ones(shape, F))
        errors.append(caught.value)
    assert type(errors[0]) is type(errors[1]) and str(errors[0]) == str(errors[1])
    assert function.accelerator.calls == 0
    good = {"a dropped axis that is longer": (1, 4), "factors of different lengths": (4, 4)}.get(name, (3, 4))
    function(np.ones(good, F))
    assert function.accelerator.calls == 1


def test_forms_that_rewrites_make_simple() -> None:
    check([x0], [pt.repeat(x0, 2), x0[np.array([[0, 1], [2, 0]])], pt.set_subtensor(x0[::-1], x0)], [COUNT])


def test_checks_and_specified_sizes_that_hold() -> None:
    y = Assert("sizes")(pt.specify_shape(x0, (3, None)), pt.eq(x0.shape[0], 3), pt.gt(x0.shape[1], 1))
    check([x0], [y * 2, pt.squeeze(x0[:1], 0), pt.split(x0, [1, 2], n_splits=2, axis=0)[1]], [COUNT])


@pytest.mark.parametrize("shape", [(0, 4), (3, 0)])
def test_empty_arguments_run_on_torch(shape) -> None:
    with pytest.raises(Unsupported, match="empty"):
        by_openvino([x0], [x0 * 2], [np.ones(shape, F)])
    w = E.SharedVariable(np.ones((shape[1], 2), F), "w")
    function = E.function([x0], [pt.dot(x0, w), x0.sum(axis=0)], backend="openvino")
    y, total = function(np.ones(shape, F))
    assert y.shape == (shape[0], 2) and not y.any() and total.shape == (shape[1],)


@pytest.mark.parametrize("dtype", ["uint16", "uint32", "complex64", "float16"])
def test_dtypes_without_a_form_are_named(dtype) -> None:
    z = E.tensor("z", (None,), dtype)
    with pytest.raises(Missing) as caught:
        by_openvino([z], [z[::-1]], [np.ones(3, dtype)])
    assert dtype in str(caught.value)


@pytest.mark.parametrize("axis", [(0, 1), (0, 2), (1, 2)])
@pytest.mark.parametrize("function", [pt.special.softmax, pt.special.log_softmax])
def test_softmax_over_two_axes(function, axis) -> None:
    y = E.tensor("y", (None,) * 3, F)
    check([y], [function(y, axis=axis)], [10 * np.random.default_rng(0).standard_normal((2, 3, 4)).astype(F)])


@pytest.mark.parametrize(
    "index", [(slice(None), 1), (slice(1, 3), slice(None)), (-1,), (slice(-2, None), slice(0, 2)), (2, slice(1, -1))]
)
@pytest.mark.parametrize("kind", ["set", "add", "set a number", "into a constant"])
def test_parts_are_set_and_incremented(index, kind) -> None:
    part = COUNT[index] * 3
    whole = pt.full(x0.shape, np.float32(2)) if kind == "into a constant" else x0
    y = {
        "set": lambda: pt.set_subtensor(x0[index], part),
        "add": lambda: pt.inc_subtensor(x0[index], part),
        "set a number": lambda: pt.set_subtensor(x0[index], np.float32(-1)),
        "into a constant": lambda: pt.set_subtensor(whole[index], x0[index]),
    }[kind]()
    check([x0], [y], [COUNT])
