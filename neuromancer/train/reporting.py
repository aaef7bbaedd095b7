"""Progress display of a training run: a live bar on a terminal, lines of text elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from neuromancer.config import config
from neuromancer.printable import printable
from neuromancer.progress import say

if TYPE_CHECKING:
    from neuromancer.models.model import Model

LINE_EVERY, BAR_EVERY = 10.0, 0.5
"""Seconds between lines, and between updates of a bar."""


class ProgressReport:
    """Progress display of a training run.

    Parameters
    ----------
    title : str
    total : int, optional
        Last step.
    first : int
        Step at which this run begins.
    show : bool, optional
        None: as ``config.progress``; if that is None too, only on a terminal (standard error).
    """

    def __init__(self, title: str, total: int | None, first: int, show: bool | None) -> None:
        show = config.progress if show is None else show
        live = sys.stderr is not None and sys.stderr.isatty()
        self.lines = bool(show) and not live
        self.title, self.total = printable(title), total
        self.bar = tqdm(
            total=total,
            initial=first,
            desc=self.title,
            disable=not (live if show is None else show and live),
            unit="step",
        )
        self.last = 0.0

    def due(self) -> bool:
        """Whether progress is shown and it is time for an update."""
        if not self.lines and self.bar.disable:
            return False
        return time.monotonic() - self.last >= (LINE_EVERY if self.lines else BAR_EVERY)

    def update(self, step: int, text: str) -> None:
        """Update the display.

        Parameters
        ----------
        step : int
        text : str
        """
        self.last, text = time.monotonic(), printable(text)
        self.bar.set_postfix_str(text, refresh=False)
        self.bar.update(step - self.bar.n)
        if self.lines:
            say(f"{self.title}: step {step}{f'/{self.total}' if self.total else ''}, {text}", flush=True)

    def note(self, text: str) -> None:
        """Print a message."""
        if not self.bar.disable:
            with suppress(OSError):  # the terminal may be closed
                self.bar.write(text, file=sys.stderr)
        elif self.lines:
            say(text)

    def __enter__(self) -> ProgressReport:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.close()


def voxels_of(model: Model, batch: tuple[np.ndarray, ...]) -> int:
    """Return the number of raw voxels in a batch; 0 without spatial axes."""
    node = model.loss_node.input_nodes[0]  # type: ignore[union-attr]
    if node.shape is None or not node.shape.spatial_axes:
        return 0
    shape = batch[0].shape
    n = shape[node.shape.tag2index("b")] if node.shape.hastag("b") else 1
    return int(n * np.prod([shape[axis] for axis in node.shape.spatial_axes]))


def head_text(optimiser: str, rate: str, is_default: bool, step: int, n_steps: int | None) -> str:
    """Return a one-line summary of optimiser, learning rate and steps."""
    rate += f" (the default of {optimiser})" if is_default else ""
    return f"{optimiser}, {rate}, from step {step}{'' if n_steps is None else f' to {n_steps}'}"


def state_text(model: Model, voxels: int, measured: Mapping[str, float]) -> str:
    """Return a short status: loss, speed (for batches of `voxels` voxels) and the last measurements."""
    each = model.time_per_step
    parts = [f"loss {model.loss_smooth:.4f}"]
    parts += [f"{1 / each:.1f} it/s"] if each else []
    parts += [f"{voxels / each / 1e6:.2f} MVx/s"] if each and voxels else []
    return ", ".join([*parts, *(f"{name} {value:.4f}" for name, value in measured.items())])
