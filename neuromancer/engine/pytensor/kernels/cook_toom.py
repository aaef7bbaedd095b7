"""Matrices of short convolutions with fewer products (Toom 1963, Cook 1966; Winograd 1980), found exactly.

``m`` outputs of a correlation with ``r`` taps follow from ``n = m + r - 1`` products:
``y = A ((G w) * (B x))`` for inputs x (n,) and taps w (r,). In two dimensions the matrices apply to either axis
(Lavin & Gray 2016, arXiv:1509.09308).
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache

import numpy as np

POINTS = (Fraction(0), Fraction(1), Fraction(-1), Fraction(1, 2), Fraction(-2))
"""Where the polynomials are evaluated, besides infinity: of all sets of this size with small numbers the one that loses
the least precision in single precision, 2e-6 of the largest value."""
N = len(POINTS) + 1


@cache
def matrices(taps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The matrices A (m, n), G (n, r) and B (n, n) for a number of taps; ``m = n + 1 - taps`` outputs.

    B does not depend on the number of taps.

    Examples
    --------
    >>> A, G, B = matrices(4)
    >>> x, w = np.arange(6.0) ** 2, np.array([1.0, -2.0, 3.0, 4.0])
    >>> np.allclose(A @ ((G @ w) * (B @ x)), np.correlate(x, w, 'valid'))
    True
    """
    outputs = N + 1 - taps
    a = np.zeros((outputs, N))
    g = np.zeros((N, taps))
    b = np.zeros((N, N))
    for i, point in enumerate(POINTS):
        others = [p for p in POINTS if p != point]
        scale = Fraction(1)
        for p in others:
            scale *= point - p
        a[:, i] = [point**k for k in range(outputs)]
        g[i] = [point**k / scale for k in range(taps)]
        b[i, : N - 1] = _coefficients(others)
    a[-1, -1] = g[-1, -1] = 1
    b[-1] = _coefficients(POINTS)
    return a, g, b


def _coefficients(roots: tuple[Fraction, ...] | list[Fraction]) -> list[float]:
    """Coefficients, lowest power first, of the polynomial with these roots."""
    result = [Fraction(1)]
    for root in roots:
        shifted, scaled = [Fraction(0), *result], [*(c * root for c in result), Fraction(0)]
        result = [s - c for s, c in zip(shifted, scaled, strict=True)]
    return [float(c) for c in result]
