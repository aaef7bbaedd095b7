"""What the weights of a node cost when it is evaluated."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Work:
    """Cost of applying a node's weights to an input of known sizes.

    Parameters
    ----------
    products : float
        Multiply-accumulates of the definition.
    seconds : float
        Time on this machine; see `Engine.conv_cost`.
    prepared, scratch : float
        Bytes of transformed weights, kept between calls, and of the workspace.
    inside : float
        Bytes of the largest intermediate result, such as a convolution before its pooling.
    pooled : int
        Number of axes along which that result is pooled.
    in_parts : bool
        Whether features that are joined for the node alone are read without a copy.
    planar : bool, optional
        Whether images are read and written channel by channel; if not, such an image is copied. See `Engine.is_planar`.
    complete : bool
        Whether `seconds` contain reading the input, and the activation function.
    """

    products: float
    seconds: float
    prepared: float = 0.0
    scratch: float = 0.0
    inside: float = 0.0
    pooled: int = 0
    in_parts: bool = False
    planar: bool | None = None
    complete: bool = False
