"""The matrices of the Cook-Toom algorithm (Toom 1963, Cook 1966; Winograd 1980), computed in exact arithmetic.

``m`` outputs of a correlation with ``r`` taps follow from ``n = m + r - 1`` products, ``y = A ((G w) * (B x))`` for
inputs x (n,) and taps w (r,). In two dimensions they are applied along both axes (Lavin & Gray 2016, arXiv:1509.09308).
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache, reduce

import numpy as np
import torch

POINTS: dict[int, tuple[Fraction, ...]] = {
    6: (Fraction(0), Fraction(1), Fraction(-1), Fraction(1, 2), Fraction(-2)),
    7: (Fraction(0), Fraction(1), Fraction(-1), Fraction(-1, 2), Fraction(-2), Fraction(3, 2)),
}
"""Interpolation points by tile size, besides infinity: of all sets of small fractions the most precise ones. Errors are
2e-6 (size 6) and 5e-6 (size 7) of the largest value, in single precision with 300 terms per output."""


@cache
def matrices(taps: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the matrices A (m, n), G (n, r) and B (n, n) for r taps and tiles of n inputs; ``m = n + 1 - r``.

    B does not depend on the number of taps.

    Examples
    --------
    >>> A, G, B = matrices(4, 6)
    >>> x, w = np.arange(6.0) ** 2, np.array([1.0, -2.0, 3.0, 4.0])
    >>> np.allclose(A @ ((G @ w) * (B @ x)), np.correlate(x, w, 'valid'))
    True
    """
    points = POINTS[size]
    outputs = size + 1 - taps
    a = np.zeros((outputs, size))
    g = np.zeros((size, taps))
    b = np.zeros((size, size))
    for i, point in enumerate(points):
        others = [p for p in points if p != point]
        scale = Fraction(1)
        for p in others:
            scale *= point - p
        a[:, i] = [point**k for k in range(outputs)]
        g[i] = [point**k / scale for k in range(taps)]
        b[i, : size - 1] = _coefficients(others)
    a[-1, -1] = g[-1, -1] = 1
    b[-1] = _coefficients(points)
    return a, g, b


def _coefficients(roots: tuple[Fraction, ...] | list[Fraction]) -> list[float]:
    """Return the coefficients, lowest power first, of the polynomial with these roots."""
    result = [Fraction(1)]
    for root in roots:
        shifted, scaled = [Fraction(0), *result], [*(c * root for c in result), Fraction(0)]
        result = [s - c for s, c in zip(shifted, scaled, strict=True)]
    return [float(c) for c in result]


@cache
def kernel_matrix(*axes: tuple[int, int]) -> torch.Tensor:
    """Return the matrix (points, taps) that transforms a kernel along some axes at once, each with (size, taps).

    An axis of size 1 has one tap, which it leaves as it is.

    Examples
    --------
    >>> kernel_matrix((6, 3), (1, 1)).shape, kernel_matrix((6, 3), (7, 5)).shape
    (torch.Size([6, 3]), torch.Size([42, 15]))
    """
    factors = [matrices(taps, size)[1] if size > 1 else np.ones((1, 1)) for size, taps in axes]
    return torch.from_numpy(reduce(np.kron, factors).astype("float32"))
