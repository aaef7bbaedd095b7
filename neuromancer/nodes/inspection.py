"""Inspection of nodes: test runs on random data, timing, drawings of symbolic graphs."""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from neuromancer import engine as E
from neuromancer.errors import ArgumentError, FileError, ShapeError, reason
from neuromancer.graph.node import GraphNode
from neuromancer.places import local_file
from neuromancer.printable import printable
from neuromancer.progress import say

PLOT_FORMATS = ("png", "svg", "pdf", "dot")
MISMATCH = ("warn", "raise", "ignore")


def check_mismatch(node: GraphNode, on_shape_mismatch: str) -> None:
    """Raise ArgumentError unless `on_shape_mismatch` is known."""
    if on_shape_mismatch not in MISMATCH:
        raise ArgumentError(
            "unknown on_shape_mismatch", node=node, got=on_shape_mismatch, expected="'warn', 'raise' or 'ignore'"
        )


def report_run(node: GraphNode, result: Any, seconds: float, on_shape_mismatch: str) -> None:
    """Print output shape, time and speed of a run; warn or raise ShapeError if the shape is not the declared one."""
    voxels = np.prod([s or 1 for s in node.shape.spatial_shape]) if node.shape is not None else 0
    speed = f"{seconds * 1e3:.1f} ms, {voxels / 1e6 / max(seconds, 1e-9):.3f} MVx/s"
    say(f"{printable(node.name)}: output {np.shape(result)}, {speed}")
    declared = None if node.shape is None else [s or 1 for s in node.shape.shape]
    if declared is not None and np.shape(result) != tuple(declared) and np.size(result) != np.prod(declared):
        problem = ShapeError(
            "the output does not have the declared shape", node=node, got=np.shape(result), expected=declared
        )
        if on_shape_mismatch == "raise":
            raise problem
        if on_shape_mismatch == "warn":
            warnings.warn(str(problem), stacklevel=3)


def check_runs(node: GraphNode, n_samples: Any, n_warmup: Any) -> None:
    """Raise ArgumentError unless the numbers of runs are valid."""
    if not all(isinstance(n, (int, np.integer)) and n >= least for n, least in ((n_samples, 1), (n_warmup, 0))):
        raise ArgumentError(
            "invalid number of runs",
            node=node,
            got=(n_samples, n_warmup),
            expected="integers n_samples >= 1, n_warmup >= 0",
        )


def median_times(
    functions: Sequence[Callable[..., Any]], data: Sequence[Any], n_samples: int, n_warmup: int
) -> list[float]:
    """Return the median time of every function in milliseconds."""
    # Runs of the functions alternate, so that background load affects all of them.
    samples: list[list[float]] = [[] for _ in functions]
    for run in range(n_warmup + n_samples):
        for func, times in zip(functions, samples, strict=True):
            start = time.perf_counter()
            func(*data)
            if run >= n_warmup:
                times.append((time.perf_counter() - start) * 1e3)
    return [float(np.median(t)) for t in samples]


def draw(node: GraphNode, target: Callable[[], Any], outfile: str | Path | None, **kwargs: Any) -> str:
    """Draw the symbolic graph that `target` returns; see :meth:`Node.plot_theano_graph`."""
    if outfile is None:
        return _draw_in_own_folder(node, target, **kwargs)
    path = local_file(outfile, "plot_theano_graph")
    path = path if path.suffix else path.with_name(f"{path.name}.png")
    fmt = path.suffix[1:].lower()
    if fmt not in PLOT_FORMATS:
        raise ArgumentError(
            "unknown picture format", node=node, got=str(path), expected=f"a path ending in {PLOT_FORMATS}"
        )
    E.draw(target(), str(path), fmt, **kwargs)
    return str(path)


def _draw_in_own_folder(node: GraphNode, target: Callable[[], Any], **kwargs: Any) -> str:
    """Draw into a new folder private to this user: in the shared one, others could plant links."""
    name = quote(node.name, safe=" .,;()[]#+=@'!").lstrip(".")[:100] or "graph"
    try:
        folder = Path(tempfile.mkdtemp(prefix="neuromancer_"))
    except OSError as error:
        raise FileError(
            "no folder for temporary files", node=node, got=reason(error), expected="a path as outfile"
        ) from error
    try:
        return draw(node, target, folder / f"{name}.png", **kwargs)
    except BaseException:
        folder.rmdir()
        raise
