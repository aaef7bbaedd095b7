"""What common operations cost, in seconds."""

from __future__ import annotations

from typing import NamedTuple

WORTH_MEASURING = 5e10
"""Products of direct convolutions, of a prediction or layer, from which on the speed of the machine is measured first.

They take about as long as the measurement, which is made once per machine.
"""


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
