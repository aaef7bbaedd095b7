"""Functions in a worker thread: progress in the activity dock, a request to stop, and errors as notifications."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari.qt.threading import create_worker
from napari.utils import progress
from napari.utils.notifications import show_error
from qtpy.QtCore import QObject, Signal

from neuromancer.errors import NeuromancerError

Tell = Callable[[int, int], None]
"""Function of the numbers of finished parts and of all parts; raises :class:`Stopped` on request."""


class Stopped(Exception):
    """The user asked a task to stop."""


def _nothing(*arguments: object) -> None:
    """Take anything, and do nothing."""


class Task(QObject):
    """A function that runs in a worker thread; all that is passed is called in the main thread.

    Parameters
    ----------
    what : str
        Text of the progress bar.
    function : callable
        Function of a :data:`Tell`.
    done : callable
        Called with its result.
    stopped : callable, optional
        Called instead if it was stopped.
    ended : callable, optional
        Called at the end in any case.
    told : callable, optional
        Called with the numbers of finished parts and of all parts.
    """

    _told = Signal(object, object)

    def __init__(
        self,
        what: str,
        function: Callable[[Tell], Any],
        done: Callable[..., Any],
        stopped: Callable[..., Any] = _nothing,
        ended: Callable[..., Any] = _nothing,
        told: Callable[..., Any] = _nothing,
    ) -> None:
        super().__init__()
        self.running, self._asked = True, False
        self._function, self._done, self._stopped, self._ended, self._on_told = function, done, stopped, ended, told
        self._bar = progress(total=0, desc=what)
        self._told.connect(self._show)
        self._worker = create_worker(self._run, _start_thread=False)
        self._worker.returned.connect(self._take)
        self._worker.finished.connect(self._end)
        self._worker.start()

    def stop(self) -> None:
        """Ask the function to stop the next time that it tells its progress."""
        self._asked = True

    def abandon(self) -> None:
        """Stop, and call nothing any more: what would show the result is gone."""
        self.stop()
        self._done = self._stopped = self._ended = self._on_told = _nothing

    def _run(self) -> tuple[str, Any]:
        """Call the function; errors that users can understand are results, since napari would add a traceback."""
        try:
            return "done", self._function(self._tell)
        except Stopped:
            return "stopped", None
        except (NeuromancerError, MemoryError) as error:
            return "failed", "\n".join([str(error), *getattr(error, "__notes__", ())])

    def _tell(self, done: int, total: int) -> None:
        if self._asked or self._worker.abort_requested:
            raise Stopped
        self._told.emit(done, total)

    def _show(self, done: int, total: int) -> None:
        self._on_told(done, total)  # before the bar, which handles waiting events: later numbers are shown within it
        if total != self._bar.total:
            self._bar.total = total
            self._bar.reset(total)
        self._bar.update(done - self._bar.n)

    def _take(self, outcome: tuple[str, Any]) -> None:
        self._bar.close()
        kind, value = outcome
        if kind == "failed":
            show_error(value)
        elif kind == "stopped":
            self._stopped()
        else:
            self._done(value)

    def _end(self) -> None:
        self._bar.close()
        self.running = False
        self._ended()
