"""Interpolation to other sizes, against NumPy: modes, symbolic sizes, gradients, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from neuromancer import engine as E
from neuromancer.errors import ArgumentError, InputTypeError
from tests.nodes.spatial import resized


@pytest.mark.parametrize(("mode", "align"), [("nearest", False), ("linear", False), ("linear", True)])
@pytest.mark.parametrize(("size", "sizes"), [((5,), (8,)), ((4, 6), (4, 3)), ((3, 4, 2), (6, 5, 1))])
def test_values_and_gradients(mode, align, size, sizes) -> None:
    rng = np.random.default_rng(0)
    array = rng.normal(size=(2, 3, *size))
    x = E.tensor("x", (None,) * array.ndim, "float64")
    y = E.resize(x, sizes, mode, align)
    assert E.NAME != "pytensor" or E.known_shape(y)[2:] == sizes
    want = resized(array, sizes, mode, align)
    weights = rng.normal(size=want.shape)
    got, gradient = E.function([x], [y, E.grad((y * weights).sum(), [x])[0]])(array)
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)
    step = rng.normal(size=array.shape)
    np.testing.assert_allclose((gradient * step).sum(), (resized(step, sizes, mode, align) * weights).sum())


def test_sizes_may_be_computed() -> None:
    array = np.random.default_rng(0).normal(size=(1, 1, 5))
    x = E.tensor("x", (None, None, None), "float64")
    np.testing.assert_allclose(
        E.function([x], E.resize(x, [2 * x.shape[2] + 1], "linear"))(array), resized(array, [11], "linear")
    )


def test_refusals() -> None:
    with pytest.raises(ArgumentError, match=r"got cubic.*linear"):
        E.resize(E.tensor("x", (1, 1, 4), "float64"), [8], "cubic")
    with pytest.raises(InputTypeError, match="floating point"):
        E.resize(E.tensor("x", (1, 1, 4), "int32"), [8])
