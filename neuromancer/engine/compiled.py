"""What a compiled function is to the rest of the package, whichever engine compiled it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

Agree = Callable[[str | None], str | None]
"""Agreement between processes on a backend; see `Compiled.expect`."""


class Running(Protocol):
    """A call that has been started."""

    def result(self) -> Any:
        """Wait for the call to finish and return its outputs."""


class Compiled(Protocol):
    """A compiled function of arrays.

    Attributes
    ----------
    counters : object
        Numbers of arrays copied so far to the device (``uploads``) and back (``downloads``).
    """

    counters: Any

    def __call__(self, *arguments: Any) -> Any:
        """Compute the outputs, then apply the updates."""

    def start(self, *arguments: Any) -> Running:
        """Start a call without waiting for it; where `calls_under_way` is 1, it has finished on return."""

    def expect(self, products: float, seconds: float | None = None, calls: int = 1, agree: Agree | None = None) -> None:
        """Announce upcoming calls: until `release`, all of them run on the same backend.

        Parameters
        ----------
        products : float
            Multiply-adds of all the calls together; if there are many, a backend that is slow to start may start now.
        seconds : float, optional
            Predicted time of the calls on the usual backend; default: that of direct convolutions.
        calls : int
            Number of calls; if there are many, the first may be used to find the fastest backend.
        agree : callable, optional
            Takes the name of the backend that was fastest and returns that of the one to use: for processes that share
            the calls, and those that continue them later. For None, it returns what was agreed on before, or None.
        """

    def release(self) -> None:
        """End the announced calls and free memory that is kept for the next call."""
