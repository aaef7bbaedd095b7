"""Background loading of batches, in the order of their steps."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import queue
import signal
import threading
import weakref
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Any, Protocol

import numpy as np

from neuromancer.errors import ArgumentError, EngineError, InputTypeError
from neuromancer.train.checks import switch, whole
from neuromancer.utils import as_array

LABEL = "BackgroundLoader"
PATIENCE = 5.0
"""Seconds for which closing waits for batches in progress; after that, their threads end with the process."""


class BatchSource(Protocol):
    """Any object that makes the batch of a step."""

    def batch(self, step: int) -> tuple[np.ndarray, ...]:
        """Return the batch of a step; it depends on the step alone."""


def copied(batch: Any) -> Any:
    """Return a batch that does not share memory with its source, which may reuse its arrays.

    Arrays, tensors and lists are copied; other objects are passed through.

    Examples
    --------
    >>> buffer = np.zeros(2)
    >>> kept, = copied((buffer,))
    >>> buffer[:] = 1
    >>> kept.tolist()
    [0.0, 0.0]
    """
    return tuple(_copy(value) for value in batch) if isinstance(batch, (tuple, list)) else batch


def _copy(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.copy()
    if callable(getattr(value, "detach", None)) and callable(getattr(value, "clone", None)):
        return value.detach().clone()
    if isinstance(value, (list, tuple, dict)):
        return copy.deepcopy(value)
    return np.array(as_array(value)) if hasattr(value, "__array__") and hasattr(value, "shape") else value


class BackgroundLoader:
    """Prefetches batches in threads or processes.

    A loader is a batch source itself: ``batch(step)`` returns the source's batch of this step, whatever the number of
    workers. Steps are expected to increase by one; any other step works, too, but has not been prefetched.

    Threads suit sources that release the GIL, for example while reading files or in NumPy and SciPy on large arrays; a
    :class:`PatchSampler` is one. Each process costs a copy of the source and the transfer of every batch, and a script
    that uses processes must start its work under ``if __name__ == "__main__":``.

    Batches in the queue are copied, so a source may reuse its arrays (with one worker; several call it concurrently). A
    source that never does so can set the attribute ``fresh = True`` to avoid the copy.

    Parameters
    ----------
    source : object with ``batch(step)``
    workers : int
        Number of batches made concurrently.
    ahead : int
        Number of batches to prefetch beyond the last one requested.
    processes : bool
        Use processes instead of threads; the source must then be picklable.

    Raises
    ------
    ArgumentError, InputTypeError
        For an object that is not a source or cannot be pickled, or invalid numbers.

    Examples
    --------
    >>> class Squares:
    ...     def batch(self, step):
    ...         return (np.full(2, step**2),)
    >>> with BackgroundLoader(Squares(), workers=2) as loader:
    ...     [loader.batch(step)[0].tolist() for step in range(3)]
    [[0, 0], [1, 1], [4, 4]]
    """

    def __init__(self, source: BatchSource, workers: int = 1, ahead: int = 4, processes: bool = False) -> None:
        if not callable(getattr(source, "batch", None)):
            raise InputTypeError(
                "the source makes no batches", where=LABEL, got=type(source).__name__, expected="a method batch(step)"
            )
        workers, self.ahead = whole(workers, "workers", LABEL, 1), whole(ahead, "ahead", LABEL)
        processes = switch(processes, "processes", LABEL)
        self._lock = threading.Lock()
        self._pending: dict[int, Future[Any]] = {}
        self._workers: _Threads | _Processes = (_Processes if processes else _Threads)(source, workers)
        # Not a bound method, which would keep this object alive. Runs at the exit of the interpreter at the latest.
        self._finish = weakref.finalize(self, _finish, self._workers, self._pending)

    def batch(self, step: int) -> tuple[np.ndarray, ...]:
        """Return the batch of a step; wait until it is ready.

        Parameters
        ----------
        step : int

        Returns
        -------
        tuple of numpy.ndarray

        Raises
        ------
        Exception
            Whatever the source has raised for this step, with a note that names the step.
        EngineError
            If a process has been killed.
        ArgumentError
            If the loader is closed.
        """
        with self._lock:
            if not self._finish.alive:
                raise ArgumentError("the loader is closed", where=LABEL, got=f"step {step}")
            steps = range(step, step + self.ahead + 1)
            for old in [s for s in self._pending if s not in steps]:
                self._pending.pop(old).cancel()
            try:
                for s in steps:
                    if s not in self._pending:
                        self._pending[s] = self._workers.submit(s)
            except BrokenProcessPool as error:
                raise _died(step) from error
            future = self._pending.pop(step)
        try:
            return future.result()
        except BrokenProcessPool as error:
            raise _died(step) from error
        except BaseException as error:
            if future.done() and not future.cancelled() and future.exception() is error:
                error.add_note(f"while loading the batch of step {step}")
            raise

    def close(self) -> None:
        """Stop the workers: wait for batches in progress, and discard those prefetched."""
        self._finish()

    def __enter__(self) -> BackgroundLoader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _died(step: int) -> EngineError:
    return EngineError(
        'a loading process ended unexpectedly: killed, out of memory, or a script without if __name__ == "__main__":',
        where=LABEL,
        got=f"step {step}",
    )


def _finish(workers: _Threads | _Processes, pending: dict[int, Future[Any]]) -> None:
    for future in list(pending.values()):
        future.cancel()
    pending.clear()
    workers.stop()


class _Threads:
    """Daemon threads, which end with the process at the latest."""

    def __init__(self, source: BatchSource, workers: int) -> None:
        self.tasks: queue.SimpleQueue[tuple[int, Future[Any]] | None] = queue.SimpleQueue()
        self.threads = [
            threading.Thread(target=_work, args=(source, self.tasks), name=f"{LABEL} {i}", daemon=True)
            for i in range(workers)
        ]
        for thread in self.threads:
            thread.start()

    def submit(self, step: int) -> Future[Any]:
        future: Future[Any] = Future()
        self.tasks.put((step, future))
        return future

    def stop(self) -> None:
        for _ in self.threads:
            self.tasks.put(None)
        for thread in self.threads:
            if thread is not threading.current_thread():
                thread.join(PATIENCE)


def _work(source: BatchSource, tasks: queue.SimpleQueue[tuple[int, Future[Any]] | None]) -> None:
    while (task := tasks.get()) is not None:
        step, future = task
        if future.set_running_or_notify_cancel():
            try:
                batch = source.batch(step)
                future.set_result(batch if getattr(source, "fresh", False) else copied(batch))
                del batch
            except BaseException as error:
                future.set_exception(error)
        # Release the batch before waiting for the next task.
        del task, future


class _Processes:
    """Spawned processes, which inherit no locks and no device state."""

    def __init__(self, source: BatchSource, workers: int) -> None:
        try:
            pickled = pickle.dumps(source)
        except Exception as error:
            raise InputTypeError(
                "the source cannot be sent to other processes",
                where=LABEL,
                got=str(error),
                expected="paths or arrays, and functions defined at the top level of a module",
                nearest="processes=False",
            ) from error
        self.pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _receive, (pickled,))

    def submit(self, step: int) -> Future[Any]:
        return self.pool.submit(_load, step)

    def stop(self) -> None:
        self.pool.shutdown(wait=True, cancel_futures=True)


_received: list[BatchSource] = []


def _receive(pickled: bytes) -> None:
    """Unpickle the source, once per process, and leave interrupts to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _received[:] = [pickle.loads(pickled)]


def _load(step: int) -> tuple[np.ndarray, ...]:
    return _received[0].batch(step)
