"""Reasons to end training before its last step: early stopping and interruption."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any

from neuromancer.errors import InputTypeError
from neuromancer.train.checks import amount, switch, whole

LABEL = "EarlyStopping"


@dataclass
class EarlyStopping:
    """Ends training when validation stops improving.

    Parameters
    ----------
    metric : str
        Name of a validation value; NaN does not count as an improvement.
    patience : int
        Number of consecutive validations without improvement that are tolerated.
    min_delta : float
        Improvements up to this size do not count.
    larger_is_better : bool

    Examples
    --------
    >>> stopping = EarlyStopping(patience=1)
    >>> [stopping.update({"val_loss": v}) for v in (1.0, 0.5, 0.6, 0.7)]
    [False, False, False, True]
    """

    metric: str = "val_loss"
    patience: int = 10
    min_delta: float = 0.0
    larger_is_better: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.metric, str):
            raise InputTypeError("unusable metric", where=LABEL, got=repr(self.metric)[:100], expected="a name")
        self.patience = whole(self.patience, "patience", LABEL)
        self.min_delta = amount(self.min_delta, "min_delta", LABEL)
        self.larger_is_better = switch(self.larger_is_better, "larger_is_better", LABEL)
        self.best, self.waited = math.nan, 0

    def is_better(self, value: float, best: float) -> bool:
        """Whether a value is an improvement."""
        gain = value - best if self.larger_is_better else best - value
        return not math.isnan(value) and (math.isnan(best) or gain > self.min_delta)

    def update(self, values: dict[str, float]) -> bool:
        """Record a validation; return True if training should end."""
        value = values[self.metric]
        if self.is_better(value, self.best):
            self.best, self.waited = value, 0
        else:
            self.waited += 1
        return self.waited > self.patience

    def get_state(self) -> list[Any]:
        """Return the state needed to resume, as JSON values."""
        return [None if math.isnan(self.best) else self.best, self.waited]

    @property
    def criterion(self) -> list[Any]:
        """Metric and direction of the best value, as JSON values."""
        return [self.metric, self.larger_is_better]

    def set_state(self, state: list[Any]) -> None:
        """Restore a state."""
        self.best, self.waited = math.nan if state[0] is None else float(state[0]), int(state[1])


class Ended(Exception):
    """SIGTERM or SIGHUP came while a menu waited for an answer."""


class Interruption:
    """Context in which the first Ctrl-C or SIGTERM only sets `asked`; the next one acts as usual.

    SIGHUP, which a closed terminal sends, only sets it however often it comes: shell and kernel both send it. Signals
    that the process ignores, as after ``nohup``, stay ignored. Does nothing outside the main thread, where signals
    cannot be handled.

    Attributes
    ----------
    asked : bool
    by_key : bool
        Whether it was Ctrl-C.
    """

    ONCE = (signal.SIGINT, signal.SIGTERM)
    SIGNALS = (*ONCE, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self.asked = self.by_key = False

    def __enter__(self) -> Interruption:
        self.arm()
        return self

    def arm(self) -> None:
        """Wait for the next Ctrl-C."""
        self.asked = self.by_key = False
        if threading.current_thread() is threading.main_thread():
            wanted = [number for number in self.SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
            self._before |= {n: signal.signal(n, self._note) for n in wanted if n not in self._before}

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self.asked, self.by_key = True, signum == signal.SIGINT
        self._restore(self.ONCE)

    @contextmanager
    def ended(self) -> Iterator[None]:
        """Raise Ended within the block on SIGTERM and SIGHUP; Ctrl-C acts as usual."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        wanted = [n for n in self.SIGNALS if n != signal.SIGINT and signal.getsignal(n) is not signal.SIG_IGN]
        before: dict[int, Any] = {number: signal.signal(number, _end) for number in wanted}
        try:
            yield
        finally:
            _reinstall(before)

    def _restore(self, signals: Iterable[int]) -> None:
        _reinstall({number: self._before.pop(number) for number in signals if number in self._before})

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore(self.SIGNALS)


def _end(signum: int, frame: FrameType | None) -> None:
    raise Ended


def _reinstall(handlers: Mapping[int, Any]) -> None:
    for signum, handler in handlers.items():
        # None: a handler that was not installed from Python and cannot be reinstalled.
        signal.signal(signum, signal.SIG_DFL if handler is None else handler)
