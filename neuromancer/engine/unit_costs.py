"""What common operations cost, in seconds."""

from __future__ import annotations

from typing import NamedTuple


class UnitCosts(NamedTuple):
    """Seconds that common operations take.

    Attributes
    ----------
    product : float
        Multiply-add of a convolution or matrix product.
    transposed : float
        Multiply-add of a transposed convolution.
    byte : float
        Byte read or written by an operation on large arrays.
    page : float
        Byte of new memory, which the system has to clear.
    step : float
        An operation, however small.
    function : float
        Value of a function like exp or tanh.
    """

    product: float
    transposed: float
    byte: float
    page: float
    step: float
    function: float
