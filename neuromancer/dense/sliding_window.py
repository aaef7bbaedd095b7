"""Sliding windows: where the patches of a blended prediction lie, and how much each of their voxels counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from itertools import combinations
from math import ceil, inf, isfinite
from typing import Any

import numpy as np

from neuromancer.casts import is_number, is_whole
from neuromancer.dense.arguments import checked_choice, checked_sizes
from neuromancer.errors import ArgumentError, InputTypeError, ShapeError

CONVENTIONS, WEIGHTS = ("nnunet", "monai"), ("gaussian", "constant")
PADDINGS = ("constant", "reflect", "replicate", "circular")
MOST_AXES = 3
LEAST_WEIGHT = 1e-3
"""Least weight of a voxel in the convention of MONAI."""
TRUNCATED = 4
"""Standard deviations at which the filter that makes the weights in the convention of nnU-Net ends."""


@dataclass(frozen=True)
class SlidingWindow:
    """Patches at which a network is evaluated, one by one, and the weights with which their predictions are averaged.

    This is the inference with which nnU-Net and MONAI publish their results. It is an approximation of one evaluation
    of the whole image, and depends on the patch; see ``docs/dense.md``. :meth:`nnunet` and :meth:`monai` take the
    arguments of these libraries.

    Parameters
    ----------
    patch : sequence of int
        Voxels of a patch per spatial axis of the network. A smaller image is padded to it, half before it (rounded
        down) and half behind it.
    overlap : float or sequence of float
        Least part of a patch, from 0 to below 1, that it shares with the next along an axis; one for all axes, or one
        per axis.
    weights : {'gaussian', 'constant'}
        Weight of a voxel by its place in the patch: a Gaussian around the centre, or the same everywhere.
    sigma : float or sequence of float
        Standard deviation of the Gaussian as part of the patch.
    convention : {'nnunet', 'monai'}
        'nnunet': patches are evenly spaced, ``overlap`` or more; the Gaussian is that of a filter that ends after four
        standard deviations, and weights of 0 become the least other one. 'monai': patches are
        ``int(patch * (1 - overlap))`` voxels apart, at least one, and the last is moved back to the border; weights
        are at least 0.001 of the maximum.
    mirror : bool or sequence of int
        Spatial axes, counted from 0, along which patches are mirrored as well: the prediction of a patch is the mean
        over all combinations of them. True stands for all axes.
    padding : {'constant', 'reflect', 'replicate', 'circular'}
        Padding of an image smaller than the patch: with `padding_value`, mirrored without repeating the edge, with the
        edge, or periodic.
    padding_value : float
        In the units of the network, in which 8-bit images extend from 0 to 1.

    Raises
    ------
    ShapeError, ArgumentError, InputTypeError
        If a value is invalid.

    References
    ----------
    Isensee, Jaeger, Kohl, Petersen, Maier-Hein (2021), "nnU-Net: a self-configuring method for deep learning-based
    biomedical image segmentation", Nature Methods 18, 203-211. Cardoso et al. (2022), "MONAI: an open-source framework
    for deep learning in healthcare", arXiv:2211.02701.

    Examples
    --------
    >>> window = SlidingWindow((64,), overlap=0.5)
    >>> window.starts(0, 110), SlidingWindow.monai((64,), overlap=0.5).starts(0, 110)
    ((0, 23, 46), (0, 32, 46))
    >>> [f"{w:.4f}" for w in SlidingWindow((4,)).importance((4,))]
    ['0.0003', '0.1353', '1.0000', '0.1353']
    """

    patch: tuple[int, ...]
    overlap: float | Sequence[float] = 0.5
    weights: str = "gaussian"
    sigma: float | Sequence[float] = 0.125
    convention: str = "nnunet"
    mirror: bool | Sequence[int] = ()
    padding: str = "constant"
    padding_value: float = 0.0

    def __post_init__(self) -> None:
        patch = checked_sizes("patch", self.patch, "voxels per spatial axis")
        if len(patch) > MOST_AXES:
            raise ShapeError("too many axes", where="patch", got=patch, expected=f"at most {MOST_AXES}")
        n = len(patch)
        checked_choice("weights", self.weights, WEIGHTS)
        checked_choice("convention", self.convention, CONVENTIONS)
        checked_choice("padding", self.padding, PADDINGS)
        if not is_number(self.padding_value) or not isfinite(self.padding_value):
            raise InputTypeError("not a finite number", where="padding_value", got=self.padding_value)
        values = {
            "patch": patch,
            "overlap": _per_axis("overlap", self.overlap, n, 0, 1, "from 0 to below 1"),
            "sigma": _per_axis("sigma", self.sigma, n, np.finfo(float).tiny, inf, "above 0"),
            "mirror": _axes(self.mirror, n),
            "padding_value": float(self.padding_value),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @classmethod
    def nnunet(cls, patch: Sequence[int], step: float = 0.5, mirror: bool | Sequence[int] = True) -> SlidingWindow:
        """Return the sliding window of nnU-Net.

        Parameters
        ----------
        patch : sequence of int
            ``patch_size``.
        step : float
            ``tile_step_size``: distance of patches as part of the patch, above 0 and at most 1.
        mirror : bool or sequence of int
            ``allowed_mirroring_axes``; True for all axes, False for none.

        Examples
        --------
        >>> SlidingWindow.nnunet((64, 64), step=0.3).overlap
        (0.7, 0.7)
        """
        if not is_number(step) or not 0 < step <= 1:
            raise ArgumentError("not a part of the patch", where="step", got=step, expected="above 0 and at most 1")
        return cls(patch, overlap=_complement(step), mirror=mirror)  # type: ignore[arg-type]

    @classmethod
    def monai(
        cls,
        roi_size: Sequence[int],
        overlap: float | Sequence[float] = 0.25,
        mode: str = "constant",
        sigma_scale: float | Sequence[float] = 0.125,
        padding_mode: str = "constant",
        cval: float = 0.0,
    ) -> SlidingWindow:
        """Return the sliding window of ``monai.inferers.sliding_window_inference``, with its arguments and defaults.

        Examples
        --------
        >>> SlidingWindow.monai((96, 96, 96), overlap=0.5, mode="gaussian").convention
        'monai'
        """
        return cls(
            roi_size, overlap, mode, sigma_scale, "monai", padding=padding_mode, padding_value=cval  # type: ignore[arg-type]
        )  # fmt: skip

    def starts(self, axis: int, size: int) -> tuple[int, ...]:
        """Return the first voxels of the patches along an axis, ascending; the last patch ends with the image.

        Parameters
        ----------
        axis : int
        size : int
            Voxels of the image, padded to at least the patch.
        """
        patch, overlap = self.patch[axis], self.overlap[axis]  # type: ignore[index]
        last = size - patch
        if self.convention == "monai":
            interval = patch if not last else max(1, int(patch * (1 - overlap)))
            return tuple(min(k * interval, last) for k in range(ceil(last / interval) + 1))
        count = ceil(last / (patch * _complement(overlap)))
        return tuple(round(last / count * k) for k in range(count + 1)) if count else (0,)

    def importance(self, sizes: Sequence[int]) -> np.ndarray:
        """Return the weights of the voxels of a predicted patch.

        Parameters
        ----------
        sizes : sequence of int
            Voxels of the prediction of a patch, which may be fewer than those of the patch. The Gaussian spans them.

        Returns
        -------
        numpy.ndarray, float32
            The maximum is about 1; all are positive.
        """
        if self.weights == "constant":
            return np.ones(tuple(sizes), np.float32)
        result = np.ones((1,) * len(sizes))
        for k, (n, part) in enumerate(zip(sizes, self.sigma, strict=True)):  # type: ignore[arg-type]
            line = self._gaussian(n, part * n)
            result = result * line.reshape([-1 if j == k else 1 for j in range(len(sizes))])
        weights = result.astype(np.float32)
        if self.convention == "monai":
            return np.maximum(weights, np.float32(max(float(weights.min()), LEAST_WEIGHT)))
        weights[weights == 0] = weights[weights > 0].min()
        return weights

    def _gaussian(self, n: int, sigma: float) -> np.ndarray:
        places = np.arange(n, dtype=float) - ((n - 1) / 2 if self.convention == "monai" else n // 2)
        values: np.ndarray = np.exp(-0.5 * np.square(places / sigma))
        if self.convention == "nnunet":
            values[np.abs(places) > int(TRUNCATED * sigma + 0.5)] = 0
        return values

    @property
    def flips(self) -> tuple[tuple[int, ...], ...]:
        """Axes along which a patch is mirrored, for every evaluation; the first is the patch itself."""
        axes: Sequence[int] = self.mirror  # type: ignore[assignment]
        return tuple(chosen for n in range(len(axes) + 1) for chosen in combinations(axes, n))

    @property
    def label(self) -> str:
        """Text of all values; part of a run's fingerprint."""
        return ", ".join(f"{field.name}={getattr(self, field.name)!r}" for field in fields(self))


def checked_window(window: Any) -> SlidingWindow | None:
    """Return `sliding_window`; raise InputTypeError for another type."""
    if window is not None and not isinstance(window, SlidingWindow):
        raise InputTypeError(
            "not an object of class SlidingWindow",
            where="sliding_window",
            got=window,
            expected="neuromancer.SlidingWindow(patch, ...)",
        )
    return window


def _complement(part: float) -> float:
    """1 - part, exact in decimals: 0.7 for 0.3."""
    return float(1 - Fraction(repr(float(part))))


def _per_axis(name: str, value: Any, n: int, low: float, high: float, expected: str) -> tuple[float, ...]:
    values = list(value) if isinstance(value, (tuple, list, np.ndarray)) and np.ndim(value) == 1 else [value] * n
    if len(values) != n or not all(is_number(v) and low <= v < high for v in values):
        raise ArgumentError(
            "not a part of the patch",
            where=name,
            got=value,
            expected=f"a number {expected}, or one for each of {n} axes",
        )
    return tuple(float(v) for v in values)


def _axes(mirror: Any, n: int) -> tuple[int, ...]:
    if isinstance(mirror, (bool, np.bool_)):
        return tuple(range(n)) if mirror else ()
    listed = mirror if isinstance(mirror, (tuple, list, np.ndarray)) else None
    if listed is None or not all(is_whole(a) and 0 <= a < n for a in listed) or len({*map(int, listed)}) < len(listed):
        raise ArgumentError(
            "not axes of the patch", where="mirror", got=mirror, expected=f"True, False, or some of {list(range(n))}"
        )
    return tuple(int(a) for a in listed)
