"""Measurement of the speed of this machine: short runs of every kind of work, a few milliseconds each.

A single thread runs them, and only the time for which it computes counts: other processes hardly disturb it, while
threads that wait for one another take several times as long on a busy machine. All threads together take a share of
that time, except for work that is limited by memory, which they do once more together. Runs of one kind alternate, and
the fastest of several counts. Constants that occur together are fitted to the times, relative to these, and leaning
towards the typical ones: noise of one run cannot make one constant absurd to make up for another.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import inf, prod

import numpy as np
import torch

from neuromancer.engine.pytensor.kernels import conv as direct
from neuromancer.engine.pytensor.kernels import fourier, rows, winograd
from neuromancer.engine.pytensor.kernels.conv_algorithm import ConvAlgorithm, Layer
from neuromancer.engine.pytensor.kernels.elementwise import Elementwise
from neuromancer.engine.pytensor.kernels.expressions import Expression
from neuromancer.engine.pytensor.kernels.memory import empty, reserve
from neuromancer.engine.pytensor.kernels.speed import SERIAL, TYPICAL, Speed, Units

Run = Callable[[], object]
Sample = tuple[Units, Run]

RUNS = 4
"""Number of timed runs of each sample."""
LEANING = 0.1
"""Weight of the typical ratios, relative to that of a time."""
WITHIN = 5.0
"""Factor by which a constant may differ from the typical one, relative to others that are fitted to the same times."""


def measure(group: str, threads: int) -> dict[str, float]:
    """Return the measured seconds per unit of a group of `TYPICAL`.

    Parameters
    ----------
    group : {'basic', 'winograd', 'fourier'}
    threads : int
        Those of torch.
    """
    with ThreadPoolExecutor(1) as one:
        alone = one.submit(_alone, group).result()
    torch.set_num_threads(threads)  # the setting is per thread, but new threads inherit the last one
    found = {kind: seconds / (1 if kind in SERIAL else threads) for kind, seconds in alone.items()}
    if threads > 1 and group == "basic":
        with torch.inference_mode(), reserve.hold():
            together = {kind: _measured(family)[kind] for kind, family in BY_MEMORY.items()}
        found |= {kind: min(max(found[kind], together[kind]), alone[kind]) for kind in together}
    return {kind: found[kind] for kind in TYPICAL[group]}


def _alone(group: str) -> dict[str, float]:
    """Return the seconds per unit with a single thread, this one."""
    torch.get_num_threads()  # the first call in a thread overrides an earlier setting
    torch.set_num_threads(1)
    found: dict[str, float] = {}
    with torch.inference_mode(), reserve.hold():
        for family in FAMILIES[group]:
            found |= _measured(family, found)
    return found


def _measured(family: Callable[[], list[Sample]], known: Mapping[str, float] = {}) -> dict[str, float]:
    """Return the seconds per unit of a family, given those that are known."""
    samples = family()
    times = _times([run for _, run in samples])
    return fitted([units for units, _ in samples], times, Speed().per_unit, known)


def fitted(
    units: Sequence[Units], times: Sequence[float], prior: Mapping[str, float], known: Mapping[str, float] = {}
) -> dict[str, float]:
    """Return the seconds per unit that explain the times of some runs best.

    Parameters
    ----------
    units : sequence of Units
        Work of each run.
    times : sequence of float
        Seconds of each run.
    prior : mapping of str to float
        Typical seconds per unit, of which only the ratios count.
    known : mapping of str to float
        Seconds per unit that are known already.

    Examples
    --------
    >>> found = fitted([{"a": 1, "b": 1}, {"a": 2, "b": 1}], [5.0, 8.0], {"a": 1.0, "b": 1.0})
    >>> round(found["a"]), round(found["b"])
    (3, 2)
    """
    kinds = sorted({kind for work in units for kind in work} - set(known))
    given = [sum(known.get(kind, 0.0) * number for kind, number in work.items()) for work in units]
    rest = np.maximum(np.array(times) - given, 0.1 * np.array(times))
    shares = np.array([[work.get(kind, 0.0) * prior[kind] for kind in kinds] for work in units]) / rest[:, None]
    scale = 1 / float(np.median(shares.sum(1)))
    matrix = np.concatenate([shares * scale, LEANING * np.eye(len(kinds))])
    target = np.concatenate([np.ones(len(times)), np.full(len(kinds), LEANING)])
    factors = np.clip(np.linalg.lstsq(matrix, target, rcond=None)[0], 1 / WITHIN, WITHIN)
    return {kind: float(prior[kind] * scale * factor) for kind, factor in zip(kinds, factors, strict=True)}


def _times(runs: Sequence[Run]) -> list[float]:
    """Return the least seconds of each of some alternating runs; the first round is not counted."""
    fine = torch.get_num_threads() == 1 and time.get_clock_info("thread_time").resolution < 1e-6
    clock = time.thread_time if fine else time.perf_counter
    best = [inf] * len(runs)
    for k in range(RUNS + 1):
        for n, run in enumerate(runs):
            start = clock()
            run()
            best[n] = min(best[n], clock() - start) if k else best[n]
    return best


# ---- samples
def _layer(image: Sequence[int], n_in: int, n_out: int, taps: int, stride: int = 1, groups: int = 1) -> Layer:
    ndim = len(image)
    kernel = (n_out, n_in // groups, *(taps,) * ndim)
    return Layer((1, n_in, *image), kernel, (stride,) * ndim, (1,) * ndim, groups)


def _operands(layer: Layer, planar: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return image, kernel and bias; zeros could be faster than other values."""
    x, w = torch.full(layer.x_shape, 0.5), torch.full(layer.w_shape, 0.25)
    return x if planar else direct.channels_last(x), direct.channels_last(w), torch.ones(layer.w_shape[0])


def _directly(layer: Layer) -> Sample:
    x, w, bias = _operands(layer, planar=False)
    geometry = layer.stride, layer.dilation, (0,) * len(layer.stride), layer.groups
    return layer.direct, lambda: direct.conv(x, w, bias, *geometry)


def _by(algorithm: ConvAlgorithm, layer: Layer) -> Sample:
    x, w, bias = _operands(layer, planar=isinstance(algorithm, rows.RowConv))
    kernel, pad = algorithm.transformed(w), (0,) * len(layer.stride)
    return algorithm.units, lambda: algorithm.conv(x, kernel, bias, pad)


def _transform(algorithm: ConvAlgorithm, layer: Layer) -> Sample:
    w = _operands(layer, planar=False)[1]
    return algorithm.preparation, lambda: algorithm.transformed(w)


def _direct(*layers: Layer) -> Callable[[], list[Sample]]:
    return lambda: [_directly(layer) for layer in layers]


def _rows() -> list[Sample]:
    """Layers with the same number of output channels, so that little machine code is compiled."""
    direct_ones = (_layer((50, 64, 98), 1, 20, 3), _layer((34, 34, 98), 8, 20, 3), _layer((48, 48, 96), 12, 20, 1))
    tiled_ones = (_layer((50, 50, 66), 5, 20, 3), _layer((38, 38, 66), 20, 20, 3), _layer((26, 26, 66), 48, 20, 3))
    kinds = [(rows.RowConv, layer) for layer in direct_ones] + [(rows.TiledRowConv, layer) for layer in tiled_ones]
    samples = [_by(kind(layer.x_shape, layer.w_shape, layer.stride, layer.dilation), layer) for kind, layer in kinds]
    wide = _layer((26, 26, 66), 64, 64, 3)
    return [*samples, _transform(rows.TiledRowConv(wide.x_shape, wide.w_shape, wide.stride, wide.dilation), wide)]


def _winograd() -> list[Sample]:
    samples = []
    for image, channels, deep in (
        ((26, 34, 34), 16, 1),
        ((386, 386), 32, 1),
        ((66, 66), 128, 1),
        ((34, 34, 34), 32, winograd.DEEP),
        ((18, 18, 18), 128, winograd.DEEP),
    ):
        layer = _layer(image, channels, channels, 3)
        algorithm = winograd.Tiling(layer.x_shape, layer.w_shape, layer.dilation, 6, deep)
        samples.append(_by(algorithm, layer))
        if channels == 32:
            samples.append(_transform(algorithm, layer))
    return samples


def _fourier() -> list[Sample]:
    """Layers of the sizes and channels between which this algorithm competes with others."""
    samples = []
    for image, n_in, n_out, taps, sizes in (
        ((66, 66, 66), 16, 16, 3, (10, 10, 10)),
        ((386, 386), 32, 32, 3, (1, 16, 16)),
        ((34, 34, 34), 32, 64, 3, (10, 10, 10)),
        ((84, 84, 84), 8, 16, 5, (12, 12, 12)),
        ((20, 20, 20), 64, 128, 5, (12, 12, 12)),
    ):
        layer = _layer(image, n_in, n_out, taps)
        algorithm = fourier.Tiling(layer.x_shape, layer.w_shape, layer.dilation, sizes)
        samples.append(_by(algorithm, layer))
        if 1000 < n_in * n_out < 8000:
            samples.append(_transform(algorithm, layer))
    return samples


def _transposed() -> list[Sample]:
    layer = _layer((16, 24, 24), 32, 16, 2)
    x, w = direct.channels_last(torch.full(layer.x_shape, 0.5)), torch.full((32, 16, 2, 2, 2), 0.25)
    bias, two, zero = torch.ones(16), (2, 2, 2), (0, 0, 0)
    kernel = direct.channels_last(w)
    return [
        (
            {"transposed": prod(layer.x_shape) * prod(w.shape[1:])},
            lambda: direct.conv_transpose(x, kernel, bias, two, (1, 1, 1), zero),
        )
    ]


def _reorder() -> list[Sample]:
    """A copy that does not fit into the caches: those of large images matter."""
    x = torch.ones(1, 16, 96, 64, 64)
    return [({"reorder": x.numel()}, lambda: direct.channels_last(x))]


def _bytes() -> list[Sample]:
    """Sums of arrays that do not fit into the caches, with and without new memory for the result."""
    a, b, total = (empty(3 << 22) for _ in range(3))
    a.fill_(1.0)
    b.fill_(1.0)
    bytes_moved = 3 * a.nbytes
    return [
        ({"byte": bytes_moved}, lambda: torch.add(a, b, out=total)),
        ({"byte": bytes_moved, "page": a.nbytes}, lambda: torch.add(a, b)),
    ]


def _steps() -> list[Sample]:
    layer = _layer((8, 8), 4, 4, 3)
    x, w, bias = _operands(layer, planar=False)
    steps = 50

    def run() -> None:
        for _ in range(steps):
            direct.conv(x, w, bias, (1, 1), (1, 1), (0, 0)).relu_()

    return [({"step": steps}, run)]


def _functions() -> list[Sample]:
    x = torch.linspace(-3, 3, 1 << 20)
    tanh = Elementwise(Expression("tanh", Expression.operand(0)))
    return [({"function": x.numel()}, lambda: tanh((x,)))]


FAMILIES: dict[str, Iterable[Callable[[], list[Sample]]]] = {
    "basic": (
        _direct(_layer((20, 22, 22), 32, 32, 3), _layer((52, 52), 64, 64, 3)),
        _direct(_layer((34, 34, 34), 1, 16, 3), _layer((160, 160), 1, 32, 3)),
        _direct(_layer((33, 33, 33), 16, 32, 3, stride=2)),
        _direct(_layer((22, 22, 22), 32, 64, 3, groups=4)),
        _direct(_layer((24, 32, 32), 32, 32, 3, groups=32)),
        _direct(_layer((20, 32, 32), 64, 64, 1), _layer((20, 64, 64), 16, 16, 1)),
        _direct(_layer((20, 48, 48), 20, 3, 1), _layer((20, 48, 48), 32, 2, 1)),
        _rows,
        _transposed,
        _reorder,
        _bytes,
        _steps,
        _functions,
    ),
    "winograd": (_winograd,),
    "fourier": (_fourier,),
}
"""Group -> kinds of runs whose constants are fitted together."""
BY_MEMORY = {"reorder": _reorder, "byte": _bytes}
"""Kinds that are limited by memory, so that more threads do not take a proportional share of the time."""
