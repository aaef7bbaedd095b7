"""Options of a dense prediction: all arguments, validated once."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypedDict, TypeVar

from neuromancer.dense.arguments import (
    PRECISIONS,
    checked_choice,
    checked_fill,
    checked_flag,
    checked_journal,
    checked_outs,
    checked_shard,
    checked_skip,
    checked_store,
    checked_tile,
)
from neuromancer.dense.memory import parse_bytes
from neuromancer.dense.pipeline import Threads, checked_threads
from neuromancer.dense.postprocess import Postprocess, checked_reductions
from neuromancer.dense.processing.steps import Step, steps_of
from neuromancer.dense.sliding_window import SlidingWindow, checked_window
from neuromancer.dense.whole_result import WholeResult, split_steps
from neuromancer.errors import ArgumentError
from neuromancer.volumes.missing import CHOICES


class LabelledArray(Protocol):
    """An xarray.DataArray, as far as type checkers have to tell it from other images."""

    @property
    def dims(self) -> Any:
        """Names of the axes."""

    @property
    def coords(self) -> Any:
        """Coordinates of the voxels."""


class Writable(Protocol):
    """An array or Sink, as far as type checkers have to tell it from None."""

    def __setitem__(self, where: Any, values: Any, /) -> Any:
        """Write a block."""


Labelled = TypeVar("Labelled", bound=LabelledArray)
Out = TypeVar("Out", bound=str | os.PathLike[str] | Writable)


class RunOptions(TypedDict, total=False):
    """Keyword arguments of :func:`neuromancer.predict_dense` except `out`, for editors and type checkers."""

    resume: bool
    memory: str | float | None
    axes: str | None
    preprocess: Any
    postprocess: Any
    reduce: Any
    roi: Any
    mask: Any
    skip_empty: Any
    fill: float
    augment: str | None
    statistics: str | None
    tile: Sequence[int] | None
    sliding_window: SlidingWindow | None
    shard: tuple[int, int] | None
    executor: Any
    workers: int | None
    retries: int
    threads: Threads | None
    on_error: str
    on_nan: str | None
    on_missing: str
    journal: str | Path | None
    store: dict[str, Any] | None


class DenseOptions(RunOptions, total=False):
    """Keyword arguments of :func:`neuromancer.predict_dense`, for editors and type checkers."""

    out: Any


class PlanOptions(TypedDict, total=False):
    """Keyword arguments of :func:`neuromancer.plan_dense`, for editors and type checkers."""

    as_uint8: bool
    pad_raw: bool
    memory: str | float | None
    axes: str | None
    preprocess: Any
    postprocess: Any
    reduce: Any
    roi: Any
    augment: str | None
    statistics: str | None
    tile: Sequence[int] | None
    sliding_window: SlidingWindow | None
    on_missing: str
    chunks: Sequence[int] | None


@dataclass(frozen=True)
class PredictOptions:
    """Validated arguments of :func:`neuromancer.predict_dense`, except network, image and executor.

    Parameters
    ----------
    postprocess : Postprocess
        Applied to the network's output before it is stored.
    preprocess : tuple of Step
        Applied to the image before the network sees it.
    whole : WholeResult or None
        Applied to the whole result in memory.
    pad_raw, roi, augment, tile, sliding_window
        Which part of the result to compute, and how.
    statistics : {None, 'volume'}
        What nodes that depend on the whole image take for it.
    axes, mask, skip_empty, on_missing
        How to read the image.
    precision : str
        Precision of convolutions.
    memory : float or None
        Memory limit in bytes.
    outs : tuple or None
        Output of each node; None to return arrays.
    resume, shard, journal, store
        How results are stored.
    threads, skip
        How tiles are run; `skip`: continue after a tile that fails.
    """

    postprocess: Postprocess
    preprocess: tuple[Step, ...] = ()
    whole: WholeResult | None = None
    pad_raw: bool = False
    roi: Any = None
    augment: str | None = None
    statistics: str | None = None
    tile: tuple[int, ...] | None = None
    sliding_window: SlidingWindow | None = None
    axes: str | None = None
    mask: Any = None
    skip_empty: Any = None
    on_missing: str = "error"
    precision: str = "f32"
    memory: float | None = None
    outs: tuple[Any, ...] | None = None
    resume: bool = False
    shard: tuple[int, int] | None = None
    journal: Path | None = None
    store: Mapping[str, Any] | None = None
    threads: Threads | None = None
    skip: bool = False

    @classmethod
    def checked(
        cls,
        names: Sequence[str],
        several: bool = False,
        *,
        as_uint8: bool = False,
        preprocess: Any = None,
        postprocess: Any = None,
        reduce: Any = None,
        fill: float = 0,
        on_nan: str | None = None,
        on_error: str = "stop",
        out: Any = None,
        **arguments: Any,
    ) -> PredictOptions:
        """Validate the arguments of a call.

        Parameters
        ----------
        names : sequence of str
            Names of the nodes to predict.
        several : bool
            Whether the nodes were passed as a list.
        as_uint8, preprocess, postprocess, reduce, fill, on_nan, on_error, out, **arguments
            See :func:`neuromancer.predict_dense`.

        Raises
        ------
        ArgumentError, InputTypeError, ShapeError
            If an argument is invalid; the error names it.
        """
        outs = checked_outs(out, len(names), several)
        now, later = split_steps(steps_of(postprocess, "postprocess"))
        reductions = checked_reductions(reduce, checked_flag("as_uint8", as_uint8), names, () if later else now)
        skip = checked_choice("on_error", on_error, ("stop", "skip")) == "skip"
        whole = WholeResult.checked(later, reductions, outs, arguments, skip) if later else None
        if whole is not None:
            reductions = checked_reductions(None, False, names, now)
        stored = Postprocess.checked(reductions, checked_fill(fill), on_nan, stored=outs is not None)
        for name in ("journal", "store"):
            arguments[name] = CHECKS_WITH_OUT[name](arguments.get(name), outs)
        values = {name: CHECKS[name](value) if name in CHECKS else value for name, value in arguments.items()}
        before = steps_of(preprocess, "preprocess")
        options = cls(postprocess=stored, preprocess=before, whole=whole, outs=outs, skip=skip, **values)
        if outs is None and (options.shard is not None or options.resume):
            raise ArgumentError("shard and resume require out", where="out", got=None, expected="a path")
        options._require_exact_for("tile", "augment", "statistics")
        return options

    def _require_exact_for(self, *names: str) -> None:
        """Raise ArgumentError if one of these options is given together with a sliding window."""
        instead = {
            "tile": "the patch of the sliding window",
            "augment": "SlidingWindow(..., mirror=True)",
            "statistics": "those of every patch",
        }
        for name in names:
            if self.sliding_window is not None and getattr(self, name) is not None:
                raise ArgumentError(
                    "cannot be combined with sliding_window",
                    where=name,
                    got=f"{name}={getattr(self, name)!r} and a sliding_window",
                    expected=f"only one of them; instead of {name}, {instead[name]}",
                )

    @property
    def label(self) -> str:
        """Text of all options that affect the stored values; part of a run's fingerprint."""
        post, filled = self.postprocess, " on_missing='fill'" if self.on_missing == "fill" else ""
        reduced = "; ".join(r.label for r in post.reductions)
        skipped = f"skip_empty={self.skip_empty!r} precision={self.precision}"
        whole = f" statistics={self.statistics!r}" if self.statistics else ""
        window = "" if self.sliding_window is None else f" sliding_window=({self.sliding_window.label})"
        steps = "".join(f" {s.label}" for s in self.preprocess)
        return f"[{reduced}] fill={post.fill!r} {skipped}{filled}{whole}{window}{steps}"


CHECKS = {
    "pad_raw": lambda value: checked_flag("pad_raw", value),
    "tile": checked_tile,
    "sliding_window": checked_window,
    "skip_empty": checked_skip,
    "precision": lambda value: checked_choice("precision", value, PRECISIONS, "unknown precision"),
    "on_missing": lambda value: checked_choice("on_missing", value, CHOICES),
    "statistics": lambda value: checked_choice("statistics", value, (None, "volume")),
    "memory": parse_bytes,
    "resume": lambda value: checked_flag("resume", value),
    "shard": checked_shard,
    "threads": checked_threads,
}
CHECKS_WITH_OUT = {"journal": checked_journal, "store": checked_store}
