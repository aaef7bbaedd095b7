"""What a person sees of a training while it runs: a live bar on a terminal, lines of text elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from tqdm import tqdm

from neuromancer.config import config
from neuromancer.progress import say

LINE_EVERY = 10.0


class Report:
    """Shows the progress of a training.

    Parameters
    ----------
    title : str
    total : int, optional
        Last step.
    first : int
        Step at which this run begins.
    show : bool, optional
        None follows ``config.progress``, and where that is None too, whether standard error is a terminal.
    """

    def __init__(self, title: str, total: int | None, first: int, show: bool | None) -> None:
        show = config.progress if show is None else show
        live = sys.stderr.isatty()
        self.lines = bool(show) and not live
        self.title, self.total = title, total
        self.bar = tqdm(
            total=total, initial=first, desc=title, disable=not (live if show is None else show and live), unit="step"
        )
        self.last = 0.0

    def update(self, step: int, text: str, always: bool = False) -> None:
        """Show where the training is.

        Parameters
        ----------
        step : int
        text : str
        always : bool
            Print a line even if the last one is recent.
        """
        self.bar.set_postfix_str(text, refresh=False)
        self.bar.update(step - self.bar.n)
        if self.lines and (always or time.monotonic() - self.last >= LINE_EVERY):
            self.last = time.monotonic()
            say(f"{self.title}: step {step}{f'/{self.total}' if self.total else ''}, {text}")
            sys.stdout.flush()

    def note(self, text: str) -> None:
        """Say something that is not a number of a step."""
        if not self.bar.disable:
            self.bar.write(text, file=sys.stderr)
        elif self.lines:
            say(text)

    def __enter__(self) -> Report:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.close()
