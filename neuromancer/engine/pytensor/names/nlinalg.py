"""Theano's ``theano.tensor.nlinalg``: linear algebra of NumPy."""

from __future__ import annotations

from typing import Any

from pytensor.graph.basic import Variable
from pytensor.tensor import diag, trace
from pytensor.tensor import diagonal as extract_diag
from pytensor.tensor.linalg import (
    det,
    eig,
    lstsq,
    matrix_dot,
    matrix_inverse,
    matrix_power,
    norm,
    pinv,
    svd,
    tensorinv,
    tensorsolve,
)
from pytensor.tensor.linalg import eigh as _eigh
from pytensor.tensor.linalg import qr as _qr

__all__ = [
    "alloc_diag", "det", "diag", "eig", "eigh", "extract_diag", "lstsq", "matrix_dot", "matrix_inverse",
    "matrix_power", "norm", "pinv", "qr", "svd", "tensorinv", "tensorsolve", "trace",
]  # fmt: skip

alloc_diag = diag


def eigh(a: Any, UPLO: str = "L") -> Any:
    """Return eigenvalues and eigenvectors of a symmetric matrix, of which one triangle is read: 'L' or 'U'."""
    return _eigh(a, lower=UPLO == "L")


def qr(a: Any, mode: str = "reduced") -> Variable | list[Variable]:
    """Return q and r with a = q r, of the smallest sizes; 'complete': q is square; 'r': only r."""
    return _qr(a, mode=mode)
