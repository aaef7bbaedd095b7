"""Theano's ``theano.tensor.slinalg``: linear algebra of SciPy."""

from __future__ import annotations

from typing import Any

from pytensor.graph.basic import Variable
from pytensor.tensor.linalg import cholesky, eigvalsh, expm, kron, solve, solve_triangular

__all__ = [
    "cholesky", "eigvalsh", "expm", "kron", "solve", "solve_lower_triangular", "solve_symmetric",
    "solve_upper_triangular",
]  # fmt: skip


def solve_lower_triangular(a: Any, b: Any) -> Variable:
    """Return the x with a x = b, where only the lower triangle of a is read."""
    return solve_triangular(a, b, lower=True)


def solve_upper_triangular(a: Any, b: Any) -> Variable:
    """Return the x with a x = b, where only the upper triangle of a is read."""
    return solve_triangular(a, b, lower=False)


def solve_symmetric(a: Any, b: Any) -> Variable:
    """Return the x with a x = b, where a is symmetric."""
    return solve(a, b, assume_a="sym")
