"""Extension of axes beyond their ends, against NumPy: modes, interleaved axes, gradients, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from neuromancer import engine as E
from neuromancer.errors import ArgumentError, ShapeError

MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}


def extended(x, before, after, mode, value, dilation):
    """Extend every one of the interleaved axes by NumPy."""
    for axis, (a, b, d) in enumerate(zip(before, after, dilation, strict=True), 2):
        options = {"constant_values": value} if mode == "constant" else {}
        result = np.empty([n + (a + b) * d if k == axis else n for k, n in enumerate(x.shape)])
        for phase in range(d):
            at = tuple(slice(phase, None, d) if k == axis else slice(None) for k in range(x.ndim))
            width = [(a, b) if k == axis else (0, 0) for k in range(x.ndim)]
            result[at] = np.pad(x[at], width, MODES[mode], **options)
        x = result
    return x


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("size", "before", "after", "dilation"),
    [
        ((5,), (2,), (0,), (1,)),
        ((7,), (1,), (2,), (2,)),
        ((4, 6), (1, 0), (2, 3), (1, 1)),
        ((5, 9), (1, 2), (0, 1), (2, 3)),
        ((3, 4, 6), (1, 0, 2), (1, 2, 0), (1, 1, 2)),
    ],
)
@pytest.mark.parametrize("known", [True, False])
def test_values_and_gradients(mode, size, before, after, dilation, known) -> None:
    rng = np.random.default_rng(0)
    array = rng.normal(size=(2, 3, *size))
    x = E.tensor("x", array.shape if known else (None,) * array.ndim, "float64")
    y = E.pad(x, before, after, mode, 0.5, dilation)
    want = extended(array, before, after, mode, 0.5, dilation)
    weights = rng.normal(size=want.shape)
    got, gradient = E.function([x], [y, E.grad((y * weights).sum(), [x])[0]])(array)
    np.testing.assert_allclose(got, want)
    step = rng.normal(size=array.shape)
    change = extended(array + step, before, after, mode, 0.5, dilation) - want
    np.testing.assert_allclose((gradient * step).sum(), (change * weights).sum())


def test_nothing_to_add_is_the_variable_itself() -> None:
    x = E.tensor("x", (1, 1, 4), "float64")
    assert E.pad(x, 0, 0) is x


def test_refusals() -> None:
    x = E.tensor("x", (1, 1, 4), "float64")
    with pytest.raises(ArgumentError, match=r"got mirror.*reflect"):
        E.pad(x, 1, 1, "mirror")
    with pytest.raises(ArgumentError, match="-1"):
        E.pad(x, -1, 1)
    for pad, dilation in ((4, 1), (2, 2)):
        with pytest.raises(ShapeError, match=f"{pad} elements on spatial axis 0 of length 4"):
            E.pad(x, pad, 0, "reflect", dilation=dilation)
