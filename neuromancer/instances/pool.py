"""Blocks in the calling process, or in the workers of an executor."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from itertools import islice
from typing import Any

from neuromancer.errors import ArgumentError, InputTypeError, PredictionError, reason
from neuromancer.executors import AtOnce, require_spawned
from neuromancer.volumes import ArraySource

AHEAD = 2
"""Tasks that are submitted per core, so that no worker waits."""


def executor_of(executor: Any) -> Any:
    """Return the executor to submit tasks to.

    Raises
    ------
    ArgumentError
        If it is not an executor, or forks its processes.
    """
    if hasattr(executor, "get_executor"):  # a client of dask
        executor = executor.get_executor(pure=False)
    if executor is None:
        return AtOnce()
    if not hasattr(executor, "submit"):
        raise ArgumentError(
            "not an executor",
            where="executor",
            got=type(executor).__name__,
            expected="a concurrent.futures.Executor or a dask Client",
        )
    require_spawned(executor)
    return executor


def check_sendable(pool: Executor, source: ArraySource, segment: Callable[..., Any]) -> None:
    """Raise InputTypeError unless image and function can be sent to the workers."""
    if isinstance(pool, (AtOnce, ThreadPoolExecutor)):
        return
    if source.locator is None:
        raise InputTypeError("is in memory", where="image", got=repr(source), expected="a path, for worker processes")
    if isinstance(pool, ProcessPoolExecutor):  # others may have another way to send functions
        try:
            pickle.dumps(segment)
        except Exception as error:
            raise InputTypeError(
                "cannot be sent to worker processes",
                where="segment",
                got=reason(error),
                expected="a function of a module, or functools.partial of one",
            ) from None


def each(function: Callable[..., Any], todo: Iterable[tuple[Any, ...]], pool: Executor) -> Iterator[tuple[Any, Any]]:
    """Call a function with each tuple of arguments; yield their first argument and the result, as they come.

    Once this ends, by an error or otherwise, no call is running.

    Raises
    ------
    PredictionError
        If a worker process ends.

    Examples
    --------
    >>> list(each(max, [(1, 2), (5, 3)], AtOnce()))
    [(1, 2), (5, 5)]
    """
    rest, waiting = iter(todo), dict[Future[Any], Any]()
    most = 1 if isinstance(pool, AtOnce) else AHEAD * (os.cpu_count() or 1)
    try:
        while True:
            for arguments in islice(rest, most - len(waiting)):
                waiting[pool.submit(function, *arguments)] = arguments[0]
            if not waiting:
                return
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                yield waiting.pop(future), future.result()
    except BrokenExecutor as error:
        raise PredictionError("a worker process has ended", got=reason(error), expected="resume=True") from error
    finally:
        for future in waiting:
            future.cancel()
        wait(waiting)
