"""Local response normalisation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from neuromancer import engine as E
from neuromancer.errors import ArgumentError, nearest_name
from neuromancer.graph.demand import Demand, product
from neuromancer.graph.geometry import window_shape
from neuromancer.graph.window import Window
from neuromancer.nodes.layout import (
    as_float,
    axis_name,
    is_int,
    per_axis,
    require_features,
    require_layout,
    require_tensor,
    swap_layout,
)
from neuromancer.nodes.node import Node
from neuromancer.variables import ConstantParam, VariableParam

LRN_MODES = ("spatial", "channel")


class LRN(Node):
    """Local response normalisation, ``x / (k + alpha * ms) ** beta`` with the local mean ms of x^2.

    Parameters
    ----------
    parent : Node
        For mode 'spatial': layout b,f and one to three spatial axes, or b,z,f,y,x. For 'channel': any with an axis f.
    filter_shape : sequence of int, or int
        Size of the neighbourhood, odd: voxels per spatial axis for 'spatial', number of features for 'channel'.
    mode : {'spatial', 'channel'}
        'spatial': mean over neighbouring voxels of the same feature, zero-padded (zeros count in the mean). 'channel':
        mean over neighbouring features at the same position; the first and last feature are repeated as padding.
    alpha, k, beta : float
        Constants of the formula; stored as non-trainable parameters.
    name : str
    print_repr : bool

    Raises
    ------
    ArgumentError
        For an unknown mode, a size that is not odd and positive, or a constant that is not finite.
    ShapeError
        For an unsupported layout or a wrong number of sizes.

    Notes
    -----
    After Krizhevsky, Sutskever & Hinton 2012, with the mean instead of the sum. The cost is one operation per element.

    Examples
    --------
    >>> from neuromancer import Input
    >>> inp = Input((1, 2), "b,f", print_repr=False)
    >>> LRN(inp, 3, "channel", alpha=4, k=0, beta=0.5, print_repr=False)([[1, 1]]).tolist()
    [[0.5, 0.5]]
    """

    def __init__(
        self,
        parent: Node,
        filter_shape: Sequence[int] | int,
        mode: str = "spatial",
        alpha: float = 0.0001,
        k: float = 1,
        beta: float = 0.75,
        name: str = "LRN",
        print_repr: bool = True,
    ) -> None:
        super().__init__(parent, name, print_repr)
        if mode not in LRN_MODES:
            raise ArgumentError(
                "unknown mode of normalisation",
                node=self,
                got=mode,
                expected=f"one of {LRN_MODES}",
                nearest=nearest_name(mode, LRN_MODES),
            )
        self.norm_mode = mode
        self.extents = self._check_spatial(filter_shape) if mode == "spatial" else self._check_channel(filter_shape)
        for key, value in (("alpha", alpha), ("beta", beta), ("k", k)):
            if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not np.isfinite(value):
                raise ArgumentError(f"{key} must be a finite number", node=self, got=value)
            self.params[key] = VariableParam(
                float(value), name=f"{self.name}_{key}", apply_train=False, apply_reg=False
            )
        if mode == "spatial":
            weights = np.full((1, 1, *self.extents), 1 / np.prod(self.extents))
            self.params["filter"] = ConstantParam(weights, name=f"{self.name}_filter")

    @classmethod
    def demand(cls, arguments: Mapping[str, Any]) -> Demand:
        elements = product(arguments.get("filter_shape"))
        channel = arguments.get("mode") == "channel"
        return Demand(32 + 4 * elements) if channel else Demand(32, 2 * elements)

    def _check_spatial(self, filter_shape: Any) -> tuple[int, ...]:
        shape = require_layout(self.parent, self)
        extents = per_axis(filter_shape, "filter_shape", shape, self)
        for i, n in enumerate(extents):
            self._require_odd(n, f"filter_shape {n} on axis {axis_name(shape, i)}")
        return extents

    def _check_channel(self, filter_shape: Any) -> tuple[int, ...]:
        require_tensor(self.parent, self)
        require_features(self.parent, self)
        if not is_int(filter_shape) or filter_shape < 1:
            raise ArgumentError(
                "filter_shape must be the number of neighbouring features", node=self, got=filter_shape,
                expected="an odd int",
            )  # fmt: skip
        self._require_odd(int(filter_shape), f"filter_shape {filter_shape}")
        return (int(filter_shape),)

    def _require_odd(self, n: int, got: str) -> None:
        if n % 2 == 0:
            raise ArgumentError(
                "the size of the neighbourhood must be odd", node=self, got=got, expected="odd numbers",
                nearest=f"{n - 1} or {n + 1}",
            )  # fmt: skip

    def _make_output(self) -> None:
        x = as_float(self.parent.output)
        mean_square = self._spatial_mean(x**2) if self.norm_mode == "spatial" else self._channel_mean(x**2)
        p = self.params
        self.output = x / (p["k"] + p["alpha"] * mean_square) ** p["beta"]

    def _spatial_mean(self, square: Any) -> Any:
        shape, dilation = self.parent.shape, self.dilation
        square = swap_layout(square, shape)
        sizes = [square.shape[i] for i in range(square.ndim)]
        # Features become batch items, so that each is averaged separately.
        single = square.reshape([sizes[0] * sizes[1], 1, *sizes[2:]])
        pad = tuple(n // 2 * d for n, d in zip(self.extents, dilation, strict=True))
        mean = E.conv(single, self.params["filter"], dilation=dilation, pad=pad)
        return swap_layout(mean.reshape(sizes), shape)

    def _channel_mean(self, square: Any) -> Any:
        axis, n = self.parent.shape.tag2index("f"), self.extents[0]
        n_f = self.parent.shape["f"]

        def features(start: int, stop: int) -> Any:
            return square[(*[slice(None)] * axis, slice(start, stop))]

        half = n // 2
        padded = E.T.concatenate([features(0, 1)] * half + [square] + [features(n_f - 1, n_f)] * half, axis=axis)
        parts = [padded[(*[slice(None)] * axis, slice(i, i + n_f))] for i in range(n)]
        return sum(parts[1:], parts[0]) / n

    def _calc_shape(self) -> None:
        if self.norm_mode == "spatial":
            self.shape = window_shape(self, [Window(size=n, before=n // 2, after=n // 2) for n in self.extents])
        else:
            self.shape = self.parent.shape.copy()

    def _repr_extra(self) -> str:
        return f"{self.norm_mode}, filter_shape={self.extents}, "
