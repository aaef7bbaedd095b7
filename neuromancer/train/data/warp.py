"""Smooth deformation of patches: rotation, scaling, shear and elastic displacement in one interpolation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from neuromancer.errors import ArgumentError
from neuromancer.train.checks import amount
from neuromancer.train.data.frame import PatchFrame
from neuromancer.train.data.geometric import Geometric, axes_of, probability
from neuromancer.train.data.placement import PatchPlacement

SPLINE = 4
"""Number of control points that a cubic spline depends on at any point."""
LEAST_DISTANCE = 8.0


@dataclass(frozen=True)
class Warp(Geometric):
    """Random rotation, scaling, shear and elastic deformation.

    They form a single map from the patch to the raw data, so raw values are interpolated once (linearly). Labels are
    taken from the nearest voxels, at the target's positions only. The raw data that the map needs is read, so nothing
    is padded: near the border of a volume the patch is moved inwards, and if a volume is too small, the warp is
    weakened.

    Lengths are in units of `spacing`, so anisotropic data is rotated in physical space.

    Parameters
    ----------
    rotation : float or dict of str to float
        Largest angle in degrees, in either direction: for the plane of the last two axes, or by plane, e.g.
        ``{"yx": 180, "zx": 10}``.
    scaling : float
        Largest change of size: 0.1 for factors from 1/1.1 to 1.1, equal on all axes.
    shear : float
        Largest shift per distance, in the plane of the last two axes.
    elastic : float or sequence of float
        Bound of the elastic displacement, in voxels per spatial axis; a number is in voxels of the finest axis and
        bounds the same physical length on coarser axes.
    distance : float, optional
        Distance between independent elastic displacements, in voxels of the finest axis; default: a third of the patch,
        but at least 8. Below four times `elastic`, the map may fold.
    spacing : sequence of float, optional
        Voxel size per spatial axis of the network; default: isotropic.
    p : float
        Probability of warping a patch.

    Examples
    --------
    >>> warp = Warp(rotation=15, scaling=0.1, elastic=4, spacing=(30, 10, 10))
    """

    rotation: float | Mapping[str, float] = 0.0
    scaling: float = 0.0
    shear: float = 0.0
    elastic: float | Sequence[float] = 0.0
    distance: float | None = None
    spacing: Sequence[float] | None = None
    p: float = 1.0

    def check(self, frame: PatchFrame) -> None:
        """Raise ArgumentError for invalid amounts, or axes that the patches do not have."""
        probability(self.p, "Warp")
        n = len(frame.own)
        amounts = {
            "scaling": [self.scaling],
            "shear": [self.shear],
            "elastic": self._each(self.elastic),
            "rotation": self.rotation.values() if isinstance(self.rotation, Mapping) else [self.rotation],
        }
        for name, values in amounts.items():
            for value in values:
                amount(value, name, "Warp")
        for name, given in (("spacing", self.spacing), ("elastic", self.elastic)):
            if isinstance(given, (Sequence, np.ndarray)) and len(given) != n:
                raise ArgumentError(f"unusable {name}", where="Warp", got=given, expected=f"{n} numbers")
        if self.spacing is not None and not isinstance(self.spacing, (Sequence, np.ndarray)):
            raise ArgumentError("unusable spacing", where="Warp", got=self.spacing, expected=f"{n} numbers")
        for name, positive in (("spacing", self.spacing), ("distance", self.distance)):
            for value in [] if positive is None else self._each(positive):
                if not amount(value, name, "Warp") > 0:
                    raise ArgumentError(f"unusable {name}", where="Warp", got=getattr(self, name), expected="above 0")
        if self.distance is not None and not any(self._each(self.elastic)):
            raise ArgumentError("distance has no effect without elastic", where="Warp", got=self.distance)
        if n < 2 and (self.shear or self.rotation):
            raise ArgumentError("one axis has no plane to rotate or shear in", where="Warp", got=self)
        for a, b in self._planes(frame):
            if a == b:
                raise ArgumentError("a plane has two axes", where="Warp", got=self.rotation)

    @staticmethod
    def _each(value: Any) -> list[Any]:
        return list(value) if isinstance(value, (Sequence, np.ndarray)) else [value]

    def _planes(self, frame: PatchFrame) -> dict[tuple[int, int], float]:
        """Return the largest angle in degrees by pair of axes."""
        if isinstance(self.rotation, Mapping):
            pairs = {plane: (axes_of(plane, frame, "Warp")) for plane in self.rotation}
            if any(len(pair) != 2 for pair in pairs.values()):
                raise ArgumentError(
                    "a plane has two axes", where="Warp", got=dict(self.rotation), expected='{"yx": 15}'
                )
            return {(pair[0], pair[1]): self.rotation[plane] for plane, pair in pairs.items()}
        return {(frame.ndim - 2, frame.ndim - 1): self.rotation} if self.rotation else {}

    def draw(self, placement: PatchPlacement, rng: np.random.Generator) -> PatchPlacement:
        """Warp the placement at random."""
        frame = placement.frame
        if rng.random() >= self.p:
            return placement
        own = np.array(frame.own)
        spacing, bound = np.ones(frame.ndim), np.zeros(frame.ndim)
        if self.spacing is not None:
            spacing[own] = np.array(self.spacing, float) / min(self.spacing)
        limit = np.asarray(self.elastic, float)
        bound[own] = limit if limit.ndim else limit / spacing[own]
        distance = [
            max(self.distance / s, 1.0) if self.distance else max(n / 3, LEAST_DISTANCE)
            for n, s in zip(frame.sizes, spacing, strict=True)
        ]
        points = tuple(
            int(np.ceil((n - 1) / d)) + SPLINE if n > 1 else 1 for n, d in zip(frame.sizes, distance, strict=True)
        )
        log = np.log1p(self.scaling)
        field = WarpField(
            sizes=frame.sizes,
            spacing=spacing,
            angles={plane: float(np.deg2rad(rng.uniform(-a, a))) for plane, a in self._planes(frame).items()},
            log_scale=float(rng.uniform(-log, log)),
            own=tuple(frame.own),
            shear=float(rng.uniform(-self.shear, self.shear)),
            distance=tuple(distance),
            control=rng.uniform(-1, 1, (frame.ndim, *points)).astype("float32")
            * bound.reshape((-1,) + (1,) * frame.ndim),
        )
        return replace(placement, field=field)


@dataclass(frozen=True, eq=False)
class WarpField:
    """Warp with fixed amounts: an affine map about the centre of the patch, then a displacement.

    The displacement is a uniform cubic B-spline, so it is nowhere larger than the largest control point.

    Parameters
    ----------
    sizes : tuple of int
        Size of the patch.
    spacing : array of float
        Voxel size per axis.
    angles : dict
        Angle in radians by pair of axes.
    log_scale, shear : float
    own : tuple of int
        Axes to scale.
    distance : tuple of float
        Voxels between control points, per axis.
    control : array, (ndim, *points)
        Displacements in voxels.
    """

    sizes: tuple[int, ...]
    spacing: np.ndarray
    angles: Mapping[tuple[int, int], float]
    log_scale: float
    own: tuple[int, ...]
    shear: float
    distance: tuple[float, ...]
    control: np.ndarray

    def weaker(self) -> WarpField:
        """Return the warp at half its strength."""
        return replace(
            self,
            angles={plane: angle / 2 for plane, angle in self.angles.items()},
            log_scale=self.log_scale / 2,
            shear=self.shear / 2,
            control=self.control / 2,
        )

    def matrix(self) -> np.ndarray:
        """Return the affine part in voxels, (ndim, ndim)."""
        n = len(self.sizes)
        result = np.eye(n)
        for (a, b), angle in self.angles.items():
            turn = np.eye(n)
            turn[[a, b], [a, b]] = np.cos(angle)
            turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
            result = turn @ result
        if self.shear:
            shear = np.eye(n)
            shear[n - 1, n - 2] = self.shear
            result = result @ shear
        for k in self.own:
            result[k] *= np.exp(self.log_scale)
        return result * self.spacing[None, :] / self.spacing[:, None]

    def coordinates(self, positions: Sequence[np.ndarray]) -> np.ndarray:
        """Return raw coordinates, float32 (ndim, *lengths), for the grid of positions per axis of the patch."""
        n, matrix = len(self.sizes), self.matrix()
        lengths = tuple(len(p) for p in positions)
        result = self._displacement(positions) if self.control.any() else np.zeros((n, *lengths), np.float32)
        for k in range(n):
            result[k] += (self.sizes[k] - 1) / 2
            for m in range(n):
                # Skipping zeros keeps coordinates whole on axes that the map leaves alone.
                if abs(matrix[k, m]) > 1e-12:
                    along = matrix[k, m] * (positions[m] - (self.sizes[m] - 1) / 2)
                    result[k] += along.astype(np.float32).reshape([-1 if i == m else 1 for i in range(n)])
        return result

    def _displacement(self, positions: Sequence[np.ndarray]) -> np.ndarray:
        values = self.control.astype(np.float32)
        # The last axis first keeps the arrays small as long as possible.
        for axis in reversed(range(len(self.sizes))):
            basis = _basis(positions[axis], self.distance[axis], self.control.shape[1 + axis], self.sizes[axis])
            values = np.moveaxis(np.tensordot(values, basis, (1 + axis, 1)), -1, 1 + axis)
        return np.ascontiguousarray(values)

    def sample(self, block: np.ndarray, coordinates: np.ndarray) -> np.ndarray:
        """Interpolate a block (f, *spatial) linearly at coordinates (ndim, *lengths)."""
        n, lengths = len(self.sizes), coordinates.shape[1:]
        missing = 3 - n
        flat = np.zeros((3, int(np.prod(lengths))), np.float32)
        flat[missing:] = coordinates.reshape(n, -1)
        solid = np.ascontiguousarray(block).reshape(block.shape[0], *(1,) * missing, *block.shape[1:])
        result = np.empty((block.shape[0], flat.shape[1]), block.dtype)
        _kernel()(solid, flat, result)
        return result.reshape(block.shape[0], *lengths)


def _basis(positions: np.ndarray, distance: float, n: int, size: int) -> np.ndarray:
    """Return the weights (len(positions), n) of control points in a uniform cubic B-spline (de Boor, 1978)."""
    if n == 1:
        return np.ones((len(positions), 1), np.float32)
    t = np.clip(positions, 0, size - 1) / distance
    first = np.minimum(np.floor(t).astype(int), n - SPLINE)
    u = t - first
    weights = np.stack([(1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, -3 * u**3 + 3 * u**2 + 3 * u + 1, u**3], 1) / 6
    result = np.zeros((len(positions), n), np.float32)
    np.put_along_axis(result, first[:, None] + np.arange(SPLINE), weights.astype(np.float32), 1)
    return result


@cache
def _kernel() -> Any:
    """Return the compiled interpolation, which releases the GIL."""
    import numba

    return numba.njit(nogil=True)(_interpolate)


def _interpolate(block: np.ndarray, at: np.ndarray, result: np.ndarray) -> None:
    """Interpolate (f, n0, n1, n2) trilinearly at (3, n); coordinates are clipped to the block."""
    n0, n1, n2 = block.shape[1], block.shape[2], block.shape[3]
    for i in range(at.shape[1]):
        z = min(max(at[0, i], 0.0), n0 - 1.0)
        y = min(max(at[1, i], 0.0), n1 - 1.0)
        x = min(max(at[2, i], 0.0), n2 - 1.0)
        a, b, c = int(z), int(y), int(x)
        a1, b1, c1 = min(a + 1, n0 - 1), min(b + 1, n1 - 1), min(c + 1, n2 - 1)
        u, v, w = z - a, y - b, x - c
        for f in range(block.shape[0]):
            p = block[f, a, b, c] * (1 - w) + block[f, a, b, c1] * w
            q = block[f, a, b1, c] * (1 - w) + block[f, a, b1, c1] * w
            r = block[f, a1, b, c] * (1 - w) + block[f, a1, b, c1] * w
            s = block[f, a1, b1, c] * (1 - w) + block[f, a1, b1, c1] * w
            result[f, i] = (p * (1 - v) + q * v) * (1 - u) + (r * (1 - v) + s * v) * u
