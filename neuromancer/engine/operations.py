"""The operations on tensors that every symbolic engine provides; a part of the interface of engines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from neuromancer.engine.unit_costs import UnitCosts

Symbol = Any
"""A symbolic variable, of the engine's own class."""
Ints = tuple[int, ...]


class Operations(Protocol):
    """Operations on tensors with the axis order (batch, channels, \\*spatial)."""

    def conv(self, x: Symbol, w: Symbol, stride: Any = 1, dilation: Any = 1, pad: Any = 0, groups: int = 1) -> Symbol:
        """Cross-correlate `x` with `w` over 1 to 3 spatial axes.

        Parameters
        ----------
        x : Variable, (b, n_in, *spatial)
        w : Variable, (n_out, n_in / groups, *kernel)
        stride, dilation : int or tuple of int
            Per spatial axis.
        pad : int or tuple of int
            Zeros added on both ends of every spatial axis.
        groups : int
            Inputs and outputs are split into as many groups, convolved one by one.

        Returns
        -------
        Variable
            (b, n_out, *windows) with ``(n + 2 pad - dilation (k - 1) - 1) // stride + 1`` windows per axis.

        Raises
        ------
        ShapeError, InputTypeError, ArgumentError
            If operands or arguments do not fit, as far as sizes are known.

        Examples
        --------
        >>> import numpy as np
        >>> from neuromancer.engine import conv, function, tensor
        >>> x, w = tensor("x", (None, 1, None), "float32"), tensor("w", (1, 1, 2), "float32")
        >>> function([x, w], conv(x, w))(np.ones((1, 1, 3)), np.ones((1, 1, 2))).tolist()
        [[[2.0, 2.0]]]
        """

    def conv_transpose(
        self,
        x: Symbol,
        w: Symbol,
        stride: Any = 1,
        dilation: Any = 1,
        pad: Any = 0,
        groups: int = 1,
        output_padding: Any = 0,
    ) -> Symbol:
        """Up-convolve `x` with `w`: the adjoint of `conv`, at the smallest size that has `x` as its windows.

        Parameters
        ----------
        x : Variable, (b, n_in, *spatial)
        w : Variable, (n_in, n_out / groups, *kernel)
        stride, dilation, pad, groups : int or tuple of int
            Those of the convolution, per spatial axis.
        output_padding : int or tuple of int
            Elements added at the far end, below the stride: the convolution skips as many.

        Returns
        -------
        Variable
            (b, n_out, *sizes) with ``(n - 1) stride - 2 pad + dilation (k - 1) + 1 + output_padding`` elements per
            axis.

        Raises
        ------
        ShapeError, InputTypeError, ArgumentError
            If operands or arguments do not fit, as far as sizes are known.
        """

    def conv_cost(
        self,
        x_shape: Ints,
        w_shape: Ints,
        dilation: Ints,
        dtype: str,
        groups: int = 1,
        stride: Ints = (),
        in_parts: bool = False,
    ) -> tuple[float, float, float]:
        """Return the cost of a convolution without padding: (seconds, bytes kept, bytes of scratch).

        `in_parts` tells whether its image is joined for it alone, see `reads_parts`.
        Seconds are those of this machine, once `measure_speed` was called in this or an earlier process; before,
        those of a typical one.
        """

    def reads_parts(
        self, x_shape: Ints, w_shape: Ints, dilation: Ints, dtype: str, groups: int = 1, stride: Ints = ()
    ) -> bool:
        """Return whether a convolution without padding reads images that are joined for it alone without a copy.

        Such convolutions also compute the activation function before they store a value.
        """

    def is_planar(
        self,
        x_shape: Ints,
        w_shape: Ints,
        dilation: Ints,
        dtype: str,
        groups: int = 1,
        stride: Ints = (),
        in_parts: bool = False,
    ) -> bool | None:
        """Return whether a convolution without padding reads and writes images channel by channel.

        If not, it copies such an image first. None where images have one memory format, or nobody knows.
        """

    def unit_costs(self, dtype: str) -> UnitCosts:
        """Return the seconds of other operations, which are measured and typical in the same way."""

    def measure_speed(self, dtype: str) -> bool:
        """Measure the speed of the configured device in about a second, if that was never done.

        The result is kept in the user's cache folder. Until then, costs are those of a typical machine.

        Returns
        -------
        bool
            Whether costs have changed.
        """

    def pool(self, x: Symbol, size: Any, stride: Any = None, dilation: Any = 1, mode: str = "max") -> Symbol:
        """Pool `x` (b, f, *spatial) over valid windows.

        Parameters
        ----------
        size : int or tuple of int
            Taps of a window per spatial axis.
        stride : int or tuple of int, optional
            Default: `size`.
        dilation : int or tuple of int
            Distance between neighbouring taps.
        mode : {'max', 'average', 'sum'}
            If several elements of a window equal its maximum, the gradient goes to the first; with Theano it goes to
            all of them, unless the window is dilated.

        Returns
        -------
        Variable
            (b, f, *windows) with ``(n - dilation (size - 1) - 1) // stride + 1`` windows per axis.

        Raises
        ------
        ShapeError, InputTypeError, ArgumentError
            If `x` or an argument does not fit.

        Examples
        --------
        >>> from neuromancer.engine import function, pool, tensor
        >>> x = tensor("x", (1, 1, None), "float32")
        >>> function([x], pool(x, 2, stride=1, dilation=2))([[[1, 5, 3, 2]]]).tolist()
        [[[3.0, 5.0]]]
        """

    def pad(
        self, x: Symbol, before: Any, after: Any, mode: str = "constant", value: float = 0.0, dilation: Any = 1
    ) -> Symbol:
        """Extend the spatial axes of `x` (b, f, *spatial) beyond their ends.

        Parameters
        ----------
        x : Variable
        before, after : int or tuple of int
            Steps per spatial axis, of `dilation` elements each.
        mode : {'constant', 'reflect', 'replicate'}
            `value`, mirrored about the outermost element, or the outermost element repeated.
        value : float
        dilation : int or tuple of int
            Every axis is extended as so many interleaved ones.

        Raises
        ------
        ShapeError, InputTypeError, ArgumentError
            If the axis is too short to be reflected, or arguments do not fit.
        """

    def resize(self, x: Symbol, sizes: Sequence[Any], mode: str = "nearest", align_corners: bool = False) -> Symbol:
        """Interpolate `x` (b, f, *spatial) to other spatial sizes.

        Parameters
        ----------
        x : Variable
        sizes : sequence of int or Variable
            Per spatial axis.
        mode : {'nearest', 'linear'}
            Element j of m is element ``floor(j n / m)`` of n, or lies at ``(j + 1/2) n / m - 1/2``, within the axis.
        align_corners : bool
            For 'linear': at ``j (n - 1) / (m - 1)``, so that the outermost elements stay where they are.

        Raises
        ------
        InputTypeError, ArgumentError
            If arguments do not fit.
        """

    def pool_copies(self, axes: int, dtype: str) -> int:
        """Return how many arrays max pooling over `axes` axes allocates besides its input."""

    def relu(self, x: Symbol) -> Symbol:
        """Return max(x, 0) of floats, with gradient 0 at 0.

        Examples
        --------
        >>> from neuromancer.engine import function, grad, relu, tensor
        >>> x = tensor("x", (None,), "float32")
        >>> [result.tolist() for result in function([x], [relu(x), grad(relu(x).sum(), [x])[0]])([-1, 0, 2])]
        [[0.0, 0.0, 2.0], [0.0, 0.0, 1.0]]
        """

    def softmax(self, x: Symbol, axis: int) -> Symbol:
        """Return exp(x) / sum(exp(x)) along `axis`, without overflow."""

    def log_softmax(self, x: Symbol, axis: int) -> Symbol:
        """Return log(softmax(x)) along `axis`, without overflow."""

    def fence(self, x: Symbol) -> Symbol:
        """Return `x` behind a barrier that graph simplification does not cross.

        Compiling turns ``(x - a) - b`` into ``x - (a + b)``, which rounds differently; ``fence(x - a) - b`` is kept.

        Examples
        --------
        >>> import numpy as np
        >>> from neuromancer.engine import fence, function, tensor
        >>> x = tensor("x", (None,), "float32")
        >>> function([x], fence(x - 1e6) - 0.25)(np.float32([1e6, 1e6 + 1])).tolist()
        [-0.25, 0.75]
        """

    def maximin_pairs(
        self, affinity: Symbol, target: Symbol, labels: Symbol, neighbourhood: Any, unrestricted: bool = True
    ) -> list[Any]:
        """Count, for every edge of an affinity graph, the pairs of voxels whose connection depends on it.

        Two voxels are connected as well as the weakest edge of their best path, and that edge counts the pair
        (Turaga, Briggman, Helmstaedter, Denk & Seung 2009, arXiv:0911.5372).

        Parameters
        ----------
        affinity : Variable, (1, n_edges, *spatial)
            Edge k of voxel v leads to v + neighbourhood[k].
        target : Variable, (1, n_edges, *spatial)
            True affinities, 0 or 1.
        labels : Variable of integers, (1, 1, *spatial)
            True objects; voxels with labels below 1 belong to none.
        neighbourhood : (n_edges, n_spatial) integers
        unrestricted : bool
            Judge wrong connections by `affinity` alone. Otherwise true edges count as connected, so that only the
            edges between objects matter.

        Returns
        -------
        list of two Variables, (1, n_edges, *spatial), int64
            Pairs of the same label, by the smaller of affinity and target along the edges of the target; pairs of
            different labels. Constant to gradients.

        Raises
        ------
        ShapeError, InputTypeError
            If the operands do not fit, or there is more than one volume.
        """
