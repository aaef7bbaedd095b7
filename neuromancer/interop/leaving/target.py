"""The operations that a library must have for networks to leave for it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuromancer.interop.leaving.weights import Weight
from neuromancer.nodes.node import Node

Ends = Sequence[tuple[int, int]]
"""Voxels before and after, per spatial axis."""


@dataclass(frozen=True)
class Convolution:
    """Arguments of a correlation (kernels are not flipped), per spatial axis.

    Attributes
    ----------
    w : Weight
        (n_f, n_in / groups, *kernel); of a transposed one (n_in, n_f / groups, *kernel).
    b : Weight or None
        (n_f,)
    stride, dilation : tuple of int
    ends : sequence of (int, int)
        Padding; of a transposed one, voxels removed from the result.
    border : {'constant', 'reflect', 'replicate'}
    groups : int
    output_padding : tuple of int
        Of a transposed one.
    """

    w: Weight
    b: Weight | None
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    ends: Ends
    border: str = "constant"
    groups: int = 1
    output_padding: tuple[int, ...] = ()

    @property
    def kernel(self) -> tuple[int, ...]:
        """Size of the kernel."""
        return self.w.array.shape[2:]


@dataclass(frozen=True)
class Pooling:
    """Arguments of a pool, per spatial axis.

    Attributes
    ----------
    size, stride, dilation : tuple of int
    ends : sequence of (int, int)
        Padding.
    slack : tuple of int
        How far the last window reaches beyond the padding, at most.
    counted : bool
        Whether averages count the padding; what lies beyond it never counts.
    """

    size: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    ends: Ends
    slack: tuple[int, ...]
    counted: bool = True


@dataclass(frozen=True)
class ResponseNorm:
    """Batch normalisation of a layer: ``gamma * (x - mean) / std + bias``.

    Attributes
    ----------
    gamma, mean, std, bias : Weight
    mode : {'train', 'fadeout', 'predict'}
    rate : float
        1 normalises, 0 does not.
    """

    gamma: Weight
    mean: Weight
    std: Weight
    bias: Weight
    mode: str
    rate: float


@dataclass(frozen=True)
class Standardisation:
    """A normalisation: ``gamma * (x - mean) / sqrt(var + eps) + beta``.

    Attributes
    ----------
    features : int
        Number of features; 0 if there is no such axis.
    eps : float
    gamma, beta, mean, var : Weight or None
        Per feature; of layer normalisation, with the sizes of the last axes.
    momentum : float
    frozen : bool
        Whether the running statistics are used in training, too.
    """

    features: int
    eps: float
    gamma: Weight | None = None
    beta: Weight | None = None
    mean: Weight | None = None
    var: Weight | None = None
    momentum: float = 0.0
    frozen: bool = False


class Target(ABC):
    """A library for which a network leaves. Values are whatever stands for a tensor there.

    Images are (b, f, *spatial).

    Attributes
    ----------
    library : str
        For messages.
    label : str
        The network, for messages.
    values : dict of Node to value
        What is translated so far.
    """

    library: str

    def __init__(self, label: str) -> None:
        self.label = label
        self.values: dict[Node, Any] = {}

    # ---- nodes
    @abstractmethod
    def begin(self, node: Node) -> None:
        """Name the following operations after a node."""

    @abstractmethod
    def end(self, node: Node, value: Any) -> Any:
        """Return the value of a node, named after it."""

    @abstractmethod
    def nothing(self, node: Node) -> Any:
        """Return a value in place of that of a node that cannot be translated."""

    @abstractmethod
    def input(self, node: Node) -> Any:
        """Return the value of a source."""

    @abstractmethod
    def operand(self, weight: Weight) -> Any:
        """Return the value of a parameter."""

    # ---- layers on images
    @abstractmethod
    def conv(self, x: Any, c: Convolution) -> Any:
        """Correlate an image with kernels."""

    @abstractmethod
    def conv_transpose(self, x: Any, c: Convolution) -> Any:
        """Emit the adjoint of a correlation with stride."""

    @abstractmethod
    def linear(self, x: Any, w: Weight, b: Weight | None) -> Any:
        """Multiply the last axis by w, (n_in, n_out), and add b."""

    @abstractmethod
    def max_pool(self, x: Any, p: Pooling) -> Any:
        """Take the maximum over windows; padding is never the maximum."""

    @abstractmethod
    def average_pool(self, x: Any, p: Pooling) -> Any:
        """Average without dilation."""

    @abstractmethod
    def adaptive_pool(self, x: Any, mode: str, sizes: Sequence[int]) -> Any:
        """Reduce equal parts of an image by 'average' or 'max'."""

    @abstractmethod
    def resize(self, x: Any, sizes: Sequence[Any] | None, factors: Sequence[int], mode: str, corners: bool) -> Any:
        """Interpolate to `sizes`, or by `factors` if that is None."""

    @abstractmethod
    def pixel_shuffle(self, x: Any, factor: int) -> Any:
        """Spread features over two axes."""

    # ---- normalisation and activation
    @abstractmethod
    def response_norm(self, x: Any, axis: int, ndim: int, norm: ResponseNorm) -> Any:
        """Normalise the responses of a layer; `axis` is that of the features, `ndim` the number of axes."""

    @abstractmethod
    def batch_norm(self, x: Any, ndim: int, s: Standardisation) -> Any:
        """Normalise axis 1 over all others; `ndim` is the number of axes, 2 to 5."""

    @abstractmethod
    def instance_norm(self, x: Any, ndim: int, s: Standardisation) -> Any:
        """Normalise axis 1 over space."""

    @abstractmethod
    def group_norm(self, x: Any, ndim: int, n_groups: int, features: int, s: Standardisation) -> Any:
        """Normalise groups of features over space."""

    @abstractmethod
    def layer_norm(self, x: Any, n_axes: int, sizes: Sequence[int | None], s: Standardisation) -> Any:
        """Normalise over the last axes."""

    @abstractmethod
    def function(self, name: str, x: Any, *numbers: float) -> Any:
        """Apply an elementwise function."""

    @abstractmethod
    def prelu(self, x: Any, axis: int, ndim: int, slope: Weight) -> Any:
        """Multiply negative values by a slope, one or one per feature."""

    @abstractmethod
    def softmax(self, x: Any, axis: int, log: bool = False) -> Any:
        """Apply softmax, or its logarithm."""

    @abstractmethod
    def dropout(self, x: Any, rate: float, axis: int | None) -> Any:
        """Drop elements, or whole features on `axis`, in training."""

    # ---- arithmetic
    @abstractmethod
    def binary(self, name: str, x: Any, y: Any) -> Any:
        """Apply add, sub, mul, div, pow, maximum or minimum to two values, or a value and a number."""

    @abstractmethod
    def reduce(self, x: Any, mode: str, axes: Sequence[int], keepdims: bool = True) -> Any:
        """Reduce by 'average', 'max' or 'sum'."""

    @abstractmethod
    def cast(self, x: Any, dtype: str) -> Any:
        """Convert to a dtype."""

    @abstractmethod
    def ones_like(self, x: Any) -> Any:
        """Return ones of the sizes of a value."""

    @abstractmethod
    def constant_gradient(self, x: Any) -> Any:
        """Return x, as a constant to gradients."""

    # ---- arrangement
    @abstractmethod
    def size(self, x: Any, axis: int) -> Any:
        """Return the size of an axis, to be used as one of the sizes of other operations."""

    @abstractmethod
    def times(self, size: Any, factor: int) -> Any:
        """Multiply a size."""

    @abstractmethod
    def reshape(self, x: Any, sizes: Sequence[Any]) -> Any:
        """Reshape; one size may be -1."""

    @abstractmethod
    def expand(self, x: Any, sizes: Sequence[Any]) -> Any:
        """Repeat axes of size 1."""

    @abstractmethod
    def permute(self, x: Any, order: Sequence[int]) -> Any:
        """Reorder the axes."""

    @abstractmethod
    def unsqueeze(self, x: Any, axes: Sequence[int]) -> Any:
        """Insert axes of size 1, at these positions of the result."""

    @abstractmethod
    def squeeze(self, x: Any, axes: Sequence[int]) -> Any:
        """Remove axes by taking their first entry."""

    @abstractmethod
    def cut(self, x: Any, ranges: Mapping[int, tuple[int, int | None]]) -> Any:
        """Take ranges (start, stop) of axes; a negative stop counts from the end."""

    @abstractmethod
    def pad(self, x: Any, ndim: int, ends: Mapping[int, tuple[int, int]], border: str, value: float = 0.0) -> Any:
        """Add entries (before, after) to axes."""

    @abstractmethod
    def take(self, x: Any, axis: int, indices: np.ndarray) -> Any:
        """Take entries of an axis by their indices."""

    @abstractmethod
    def concat(self, values: Sequence[Any], axis: int) -> Any:
        """Concatenate values."""

    @abstractmethod
    def faithless_concat(self, values: Sequence[Any], axis: int, failing: float, hard: float) -> Any:
        """Concatenate two values, one of which is zeroed at random in training."""
