"""Products of large matrices on the CPU in single precision, by own machine code where that is faster than torch.

torch leaves them to MKL, which uses vectors of 512 bits on Intel's processors only: elsewhere half of their speed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from math import ceil
from types import ModuleType

import torch

from neuromancer.engine.pytensor.kernels.epilogue import CHANNEL, PLAIN, Epilogue
from neuromancer.engine.pytensor.kernels.memory import empty
from neuromancer.engine.pytensor.kernels.simd import LANES
from neuromancer.engine.pytensor.kernels.threads import each

LEAST = 1 << 20
"""Minimum number of products; below, it takes as long to begin."""
CHUNK = 1 << 16
"""Values of the left matrix per task: they stay in the cache while all panels of the right one are read."""
TASKS = 4
"""Minimum number of tasks per thread, if there are as many blocks."""
AMD, MKL_LANES = "znver", 8
"""How LLVM's names of AMD's processors begin, and the width of MKL's vectors there."""


def is_faster(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Return whether `product` takes less time than torch for two matrices."""
    return (
        a.device.type == "cpu"
        and a.dtype == b.dtype == torch.float32
        and a.ndim == b.ndim == 2
        and a.shape[0] * b.numel() >= LEAST
        and b.shape[1] >= LANES
        and _is_wider_than_mkl()
        and a.shape[0] >= _code().block_size()[0]
    )


def product(
    a: torch.Tensor,
    b: torch.Tensor,
    bias: torch.Tensor | None = None,
    epilogue: Epilogue = PLAIN,
    operands: Sequence[torch.Tensor] = (),
) -> torch.Tensor:
    """Return ``a @ b + bias``, or what an epilogue makes of it, contiguous.

    Parameters
    ----------
    a : Tensor, (m, k)
        At least as many rows as a block has.
    b : Tensor, (k, n)
        At least `LANES` columns.
    bias : Tensor, optional, (n,)
    epilogue : Epilogue
        Its channels are the columns.
    operands : sequence of Tensor
        Those of the epilogue, contiguous.
    """
    code, threads = _code(), torch.get_num_threads()
    (rows, depth), columns = a.shape, b.shape[1]
    panels, result = code.panels(b[None, None]), empty(rows, columns)
    offsets = result if bias is None else bias.contiguous()
    run, (height, vectors) = code.multiplier(bias is not None, epilogue), code.block_size()
    least = ceil(rows / (TASKS * threads))
    chunk = max(1, min(CHUNK // depth, least) // height) * height
    parts = max(1, TASKS * threads * chunk // rows)
    width = max(1, columns // (parts * vectors * LANES)) * vectors * LANES

    # the last panel may overlap the one before, so both belong to one task
    starts = range(0, columns - LANES + 1, width)
    across = list(zip(starts, [*starts[1:], columns], strict=True))

    def task(place: tuple[int, tuple[int, int]]) -> None:
        row, (column, end) = place
        to = 4 * (row * columns + column)
        beside = zip(epilogue.kinds, operands, strict=True)
        run(
            *(a[row:].data_ptr(), panels[0, column // LANES].data_ptr()),
            *(offsets.data_ptr() + 4 * column, result.data_ptr() + to),
            *(1, min(chunk, rows - row), depth, end - column, 1, 1, 0, 0, 0, *a.stride(), 0, columns),
            *(v.data_ptr() + (4 * column if kind == CHANNEL else to) for kind, v in beside),
        )

    each(task, [(row, part) for row in range(0, rows, chunk) for part in across], threads)
    return result


@cache
def _is_wider_than_mkl() -> bool:
    """Return whether the vectors of this processor are wider than those that MKL uses on it."""
    if not torch.backends.mkl.is_available():
        return False
    return _code().vectors().lanes > MKL_LANES and _code().processor().startswith(AMD)


@cache
def _code() -> ModuleType:
    """Return the module of the machine code; imported on demand, as importing llvmlite takes time."""
    return import_module("neuromancer.engine.pytensor.kernels.matrix_products")
