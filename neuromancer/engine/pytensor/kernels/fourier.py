"""Fourier convolution of overlapping tiles (overlap-save), on the CPU in single precision.

Of the circular correlation of a tile of n inputs with k taps, n + 1 - k outputs per axis are valid (overlap-save). At
every frequency it is one product of complex matrices, (tiles, n_in) times (n_in, n_out); real data needs little more
than half of the frequencies. Dilation only spreads the inputs of a tile. For kernels of 4 and more taps along three
axes, this costs 4 to 6 real products per output and pair of features, whatever the kernel, instead of 64 to 729
(Mathieu, Henaff & LeCun 2013, arXiv:1312.5851; for volumes Zlateski, Lee & Seung 2016, arXiv:1606.05688).
"""

from __future__ import annotations

from functools import cache, lru_cache
from importlib import import_module
from itertools import pairwise
from math import ceil, prod
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from neuromancer.engine.pytensor.kernels.layout import to_channels_last
from neuromancer.engine.pytensor.kernels.memory import KEPT, empty
from neuromancer.engine.pytensor.kernels.simd import CACHE_LINE, LANES, PAIR
from neuromancer.engine.pytensor.kernels.speed import Speed, Units
from neuromancer.engine.pytensor.kernels.threads import each

Ints = tuple[int, ...]

SIZES = (6, 8, 10, 12, 16, 20, 24)
"""Tile sizes: inputs along an axis with several taps."""
CHUNK = 512 << 20
"""Maximum size in bytes of the transformed tiles that are in memory at a time."""
SCRATCH = 640 << 10
"""Size in bytes of a thread's buffer between image and products; fits into a core's own cache."""
OUTPUT_TRANSFORM, FLAT = 1.4, 0.3
"""Costs relative to the transform of an input value: that of an output value, and what both cost in addition where
tiles are planes."""
PARTS = 16
"""Number of tasks into which a kernel transform is divided."""
USES = 4
"""Minimum number of calls for which a transformed kernel is assumed to be reused."""
SHARE, FREE = 1.0, 16 << 20
"""Limit of the memory of a transformed kernel: this multiple of input and result, plus this number of bytes."""


class Tiling:
    """How a convolution without padding or strides is cut into tiles.

    Parameters
    ----------
    x_shape : (b, n_in, [z,] y, x)
    w_shape : (n_out, n_in, [z,] y, x)
    dilation : tuple of int, per spatial axis
    sizes : tuple of int, (z, y, x)
        Inputs of a tile; 1 along an axis with one tap. In 2-D the batch axis takes the place of z.
    """

    def __init__(self, x_shape: Ints, w_shape: Ints, dilation: Ints, sizes: Ints) -> None:
        self.batch, image, self.taps, self.dilation = _volumes(x_shape, w_shape, dilation)
        self.sizes, self.n_in, self.n_out = sizes, w_shape[1], w_shape[0]
        self.room = _room(w_shape)
        self.out = tuple(n - d * (k - 1) for n, d, k in zip(image, self.dilation, self.taps, strict=True))
        self.edges = tuple(n + 1 - k for n, k in zip(sizes, self.taps, strict=True))
        self.per_phase = tuple(
            ceil(ceil(n / d) / m) for n, d, m in zip(self.out, self.dilation, self.edges, strict=True)
        )
        self.tiles = prod(self.per_phase) * prod(self.dilation)
        self.columns = columns(*sizes[1:])
        self.points = sizes[0] * int(self.columns.max() + 1)
        data = 4 * (prod(x_shape) + self.batch * self.n_out * prod(self.out))
        self.step = _step(self.points * sum(self.room), self.tiles, data)
        """Number of tiles in a chunk; independent of the number of threads, so that results are, too."""
        number = self.batch * self.tiles
        self.units: Units = _units(number, sizes, self.points, self.step, self.n_in, self.room)
        """Work of a call; see `speed`."""
        self.preparation: Units = {"fourier_kernel": self.points * self.n_in * self.room[1]}
        """Work of the kernel transform."""

    @property
    def key(self) -> Ints:
        """Key of the transformed kernel in a cache."""
        return self.sizes

    @property
    def prepared(self) -> int:
        """Size of the transformed kernel in bytes."""
        return 8 * self.points * self.n_in * self.room[1]

    @property
    def scratch(self) -> int:
        """Workspace in bytes, in addition to input and result."""
        padded_result = 4 * LANES * self.batch * prod(self.out) if self.n_out < LANES else 0
        return 8 * self.points * self.step * sum(self.room) + padded_result

    def transformed(self, w: torch.Tensor) -> torch.Tensor:
        """Transform a kernel (n_out, n_in, [z,] y, x) into frequencies, (points, groups, n_in, PAIR)."""
        w = w.unsqueeze(2) if w.ndim == 4 else w
        w = torch.nn.functional.pad(w, [0] * 8 + [0, max(0, LANES - self.n_out)])
        starts = [min(k, w.shape[0] - LANES) for k in range(0, self.room[1], LANES)]
        w = torch.stack([w[k : k + LANES] for k in starts])
        # the first axis is transformed: x, y, z, then groups, n_in, parts, channels of a group
        w = w.permute(5, 4, 3, 0, 2, 1).unsqueeze(-2)
        stored = torch.from_numpy(self.columns >= 0)
        columns = int(stored.sum())
        result = empty(self.sizes[0], columns, *w.shape[3:5], 2, LANES)
        planes: list[torch.Tensor] = []

        def along_planes(_: int) -> None:
            with torch.inference_mode():
                lines = _transformed(torch.cat([w, torch.zeros_like(w)], -2), self.sizes[2], half=True)
                planes.append(_transformed(lines.movedim(1, 0), self.sizes[1]).flatten(0, 1)[stored])

        def across(part: slice) -> None:
            with torch.inference_mode():
                _transformed(planes[0][part].movedim(1, 0), self.sizes[0], into=result[:, part])

        # Each part is transformed by a single thread of ours: with torch's threads, rounding would depend on their
        # number. Parts keep temporaries small compared to the result.
        threads, length = torch.get_num_threads(), ceil(columns / PARTS)
        each(along_planes, [0], threads)
        each(across, [slice(k, k + length) for k in range(0, columns, length)], threads)
        return result.flatten(0, 1).flatten(-2)

    def conv(self, x: torch.Tensor, w: torch.Tensor, bias: torch.Tensor | None, pad: Ints) -> torch.Tensor:
        """Convolve x with a `transformed` kernel; see `conv_algorithm.ConvAlgorithm`."""
        flat = x.ndim == 4
        source = to_channels_last(x).movedim(1, -1)
        result = empty(*(() if flat else x.shape[:1]), *self.out, self.n_out)
        image, values = (a.numpy()[None] if flat else a.numpy() for a in (source, result))
        target, offsets = values, np.zeros(self.room[1], "float32")
        if bias is not None:
            offsets[: self.n_out] = bias.numpy()
        if self.n_out < LANES:
            target = np.empty((*values.shape[:-1], LANES), "float32")
        for k in range(self.batch):
            self._image(image[k], w, target[k], offsets, (0, *pad) if flat else pad)
        if target is not values:
            values[...] = target[..., : self.n_out]
        return result.movedim(-1, 1)

    def _image(self, image: np.ndarray, w: torch.Tensor, target: np.ndarray, bias: np.ndarray, pad: Ints) -> None:
        """Convolve one volume."""
        passes, transforms, products = (_code(name) for name in ("fourier_transforms", "dft_instructions", "products"))
        rows_in, columns, planes_in, planes_out, rows_out = map(passes.compiled, passes.PASSES)
        kernel, threads = w.numpy(), torch.get_num_threads()
        nz, ny, nx = self.sizes
        half = nx // 2 + 1
        unit = PAIR * nz * ny * half
        group = max(1, SCRATCH // (4 * unit))
        v_all, s_all = (empty(self.points * self.step * room * 2) for room in self.room)
        along_x, back_x = transforms.real_to_half(nx).address, transforms.half_to_real(nx).address
        along_y, back_z = transforms.full(ny).address, transforms.full(nz).address
        along_z = transforms.full(nz, v_all.data_ptr() % CACHE_LINE == 0).address
        stored = self.columns.ctypes.data
        for first in range(0, self.tiles, self.step):
            tiles = min(self.step, self.tiles - first)
            v, s = (
                a[: self.points * tiles * room * 2].view(self.points, tiles, 2 * room).numpy()
                for a, room in zip((v_all, s_all), self.room, strict=True)
            )
            ins, outs = (self._cut(first, pad, volume.shape, a) for volume, a in ((image, v), (target, s)))
            multiply = products.multiplier(v, kernel, s, self.room[0] - self.n_in)

            def input_transform(part: tuple[int, int], cut: np.ndarray = ins, v: np.ndarray = v) -> None:
                work = np.empty(min(group, part[1] - part[0]) * unit, np.float32)
                buffer, table = work.ctypes.data, cut.ctypes.data
                for a, b in _pieces(*part, group):
                    rows_in(along_x, image.ctypes.data, buffer, table, a, b)
                    columns(along_y, buffer, b - a, nz, nz, ny, half, 0)
                    planes_in(along_z, buffer, v.ctypes.data, table, stored, a, b)

            def output_transform(part: tuple[int, int], cut: np.ndarray = outs, s: np.ndarray = s) -> None:
                work = np.empty(min(group, part[1] - part[0]) * unit, np.float32)
                buffer, table = work.ctypes.data, cut.ctypes.data
                for a, b in _pieces(*part, group):
                    planes_out(back_z, s.ctypes.data, buffer, table, stored, a, b)
                    columns(along_y, buffer, b - a, min(nz, self.edges[0]), nz, ny, half, LANES)
                    rows_out(back_x, buffer, target.ctypes.data, bias.ctypes.data, table, a, b)

            each(input_transform, _parts(tiles * self.room[0] // LANES, threads, self.room[0] // LANES), threads)
            each(multiply, _parts(self.points, threads), threads)
            each(output_transform, _parts(tiles * self.room[1] // LANES, threads, self.room[1] // LANES), threads)

    def _cut(self, first: int, pad: Ints, shape: Ints, values: np.ndarray) -> np.ndarray:
        """Return the table of `fourier_transforms` for the tiles from `first` on.

        Parameters
        ----------
        first : int
        pad : tuple of int, (z, y, x)
        shape : tuple of int, (z, y, x, channels)
            Of the image.
        values : array, (points, tiles, groups * PAIR)
            The transformed tiles.
        """
        place = (first, *self.per_phase, *self.dilation, *self.edges, *pad, *self.sizes, *shape)
        _, tiles, length = values.shape
        return np.array([*place, length // PAIR, self.points // self.sizes[0], tiles * length], np.int64)


@cache
def _code(module: str) -> ModuleType:
    """Return a module of machine code; imported on demand, as importing llvmlite takes time."""
    return import_module(f"neuromancer.engine.pytensor.kernels.{module}")


def _room(w_shape: Ints) -> tuple[int, int]:
    """Return the numbers of input and output channels of the products, rounded up to multiples of LANES."""
    return ceil(w_shape[1] / LANES) * LANES, ceil(w_shape[0] / LANES) * LANES


def _units(number: Any, sizes: Any, points: Any, rows: Any, n_in: int, room: tuple[int, int]) -> dict[str, Any]:
    """Return the work of a number of tiles, with so many in a chunk; sizes (z, y, x) may be arrays."""
    z, y, x = sizes
    products = number * 4 * points * n_in * room[1]
    transforms = room[0] + room[1] * OUTPUT_TRANSFORM + sum(room) * FLAT * (z == 1)
    return {
        "fourier_product": products,
        "fourier_read": products / rows,
        "fourier_value": number * transforms * x * y * z,
        "fourier_call": 1.0,
        "page": np.maximum(0, 8 * points * rows * sum(room) - KEPT) / USES,
    }


def _parts(count: int, threads: int, unit: int = 1) -> list[tuple[int, int]]:
    """Divide `count` items into ranges, two per thread, whose lengths are multiples of `unit`."""
    length = ceil(count / unit / (2 * threads)) * unit
    return [(a, min(a + length, count)) for a in range(0, count, length)] if threads > 1 else [(0, count)]


def _pieces(first: int, end: int, length: int) -> list[tuple[int, int]]:
    return list(pairwise([*range(first, end, length), end]))


def _step(per_tile: int, tiles: int, data: int) -> int:
    """Return the number of tiles per chunk: as many as fit into memory, in chunks of about the same size."""
    most = max(1, min(CHUNK, max(FREE, data)) // (8 * per_tile))
    return ceil(tiles / ceil(tiles / most))


def _volumes(x_shape: Ints, w_shape: Ints, dilation: Ints) -> tuple[int, Ints, Ints, Ints]:
    """Return (batch, image, taps, dilation) of a 3-D convolution; in 2-D the batch axis takes the place of z."""
    if len(w_shape) == 4:
        return 1, (x_shape[0], *x_shape[2:]), (1, *w_shape[2:]), (1, *dilation)
    return x_shape[0], tuple(x_shape[2:]), tuple(w_shape[2:]), tuple(dilation)


@cache
def columns(ny: int, nx: int) -> npt.NDArray[np.int64]:
    """Number the stored frequencies of a plane, (ny * (nx // 2 + 1),): -1 where one is the conjugate of another.

    Examples
    --------
    >>> columns(4, 2)
    array([ 0,  1,  2,  3,  4,  5, -1, -1])
    """
    y, x = np.divmod(np.arange(ny * (nx // 2 + 1)), nx // 2 + 1)
    stored = (x != 0) & (2 * x != nx) | (2 * y <= ny)
    return np.where(stored, np.cumsum(stored) - 1, -1)


def _transformed(w: torch.Tensor, n: int, half: bool = False, into: torch.Tensor | None = None) -> torch.Tensor:
    """Transform the first axis of a kernel (taps, ..., parts, channels) into n frequencies, or 0 to n // 2."""
    times_i = torch.stack([-w[..., 1, :], w[..., 0, :]], -2)
    cosines, sines = (m[: n // 2 + 1 if half else n] for m in _waves(n, w.shape[0]))
    out = torch.mm(cosines, w.flatten(1), out=None if into is None else into.flatten(1))
    return out.addmm_(sines, times_i.flatten(1)).view(-1, *w.shape[1:])


@cache
def _waves(n: int, taps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return cosines and sines (n, taps) of the transform of a kernel, divided by n for the inverse transform."""
    angles = 2 * np.pi * np.outer(np.arange(n), np.arange(taps)) / n
    cosines, sines = (torch.from_numpy((f(angles) / n).astype("float32")) for f in (np.cos, np.sin))
    return cosines, sines


@lru_cache(maxsize=4096)
def best_tiling(x_shape: Ints, w_shape: Ints, dilation: Ints, prepared: bool, speed: Speed) -> Tiling | None:
    """Return the fastest tiling of a convolution without padding, or None if no tiling applies.

    Parameters
    ----------
    x_shape, w_shape, dilation
        See `Tiling`.
    prepared : bool
        Whether the transformed kernel is reused for several calls.
    speed : Speed
    """
    batch, image, taps, dilation3 = _volumes(x_shape, w_shape, dilation)
    out = [n - d * (k - 1) for n, d, k in zip(image, dilation3, taps, strict=True)]
    if min(batch, *out) < 1 or max(taps) == 1:
        return None
    options = [[1] if k == 1 else [n for n in SIZES if n >= k + 1] for k in taps]
    if not all(options):
        return None
    n_in, room = w_shape[1], _room(w_shape)
    n_out = room[1]
    z, y, x = np.meshgrid(*options, indexing="ij")
    tiles = 1.0
    for size, n, d, k in zip((z, y, x), out, dilation3, taps, strict=True):
        tiles = tiles * d * np.ceil(np.ceil(n / d) / (size + 1 - k))
    points = z * (y * (x // 2 + 1) - (1 + (x % 2 == 0) * (x > 1)) * ((y - 1) // 2))
    data = 4 * (prod(x_shape) + batch * n_out * prod(out))
    rows = np.minimum(tiles, np.maximum(1, min(CHUNK, max(FREE, data)) // (8 * points * sum(room))))
    kernel = speed.seconds({"fourier_kernel": points * n_in * n_out / (USES if prepared else 1)})
    total: Any = speed.seconds(_units(batch * tiles, (z, y, x), points, rows, n_in, room)) + kernel
    total = np.where(8.0 * points * n_in * n_out > SHARE * data + FREE, np.inf, total)
    best = np.unravel_index(np.argmin(total), total.shape)
    if not np.isfinite(total[best]):
        return None
    return Tiling(x_shape, w_shape, dilation, (int(z[best]), int(y[best]), int(x[best])))
