"""Values repeated along axes: static shapes as PyTensor infers them, without rewriting the graph behind the sizes."""

from __future__ import annotations

import numpy as np
import pytensor.tensor as pt
import pytest
from pytensor.tensor.type import TensorType

import neuromancer as nm
from neuromancer import T
from neuromancer import engine as E
from neuromancer.errors import InputTypeError, ShapeError

X = TensorType("float32", shape=(None, 3, 1))("x")


@pytest.mark.parametrize(
    "sizes",
    [
        (X.shape[0], X.shape[1], 4),
        (2, X.shape[0], X.shape[1], X.shape[1] * 2),
        (X.shape[0], 3, np.int8(5)),
        (7, X.shape[0], 3, X.shape[0]),
        (X.shape[0], X.shape[1] - 2 + X.shape[2] * 2, 1),
    ],
)
def test_static_shapes_are_those_of_pytensor(sizes):
    repeated, theirs = T.alloc(X, *sizes), pt.alloc(X, *sizes)
    assert repeated.type == theirs.type
    value = np.arange(6, dtype="float32").reshape(2, 3, 1)
    compute = E.function([X], [repeated, pt.grad((repeated**2).sum(), X)])
    result, gradient = compute(value)
    np.testing.assert_array_equal(result, np.broadcast_to(value, result.shape))
    np.testing.assert_allclose(gradient, 2 * value * (result.size // value.size))


def test_the_graph_behind_the_sizes_is_not_rewritten(monkeypatch):
    monkeypatch.setattr(pt.basic, "infer_static_shape", None)
    raw = nm.Input((1, 4, 6, 6, 6), "b,f,z,y,x")
    assert nm.GroupNorm(raw, 2)(np.ones((1, 4, 6, 6, 6), "float32")).shape == (1, 4, 6, 6, 6)


def test_bad_sizes_are_refused():
    with pytest.raises(InputTypeError, match="sizes must be integers"):
        T.alloc(X, X.shape[0], 3, 2.5)
    with pytest.raises(ShapeError, match="3 axes and 2 sizes"):
        T.alloc(X, 3, 1)
    with pytest.raises(ShapeError, match="length 3; expected length 1 or 4"):
        T.alloc(X, 2, 4, 1)
