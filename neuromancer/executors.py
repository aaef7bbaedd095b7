"""What every use of an executor shares: one for the calling thread, and a check of those for processes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from neuromancer.errors import ArgumentError


class AtOnce(Executor):
    """Executor that runs a task in the calling thread when it is submitted.

    Examples
    --------
    >>> AtOnce().submit(max, 3, 5).result()
    5
    """

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function; the future holds its result or error."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def require_spawned(executor: Any) -> None:
    """Raise ArgumentError if an executor forks its processes: the threads of libraries do not exist in these."""
    context = getattr(executor, "_mp_context", None)
    if context is not None and context.get_start_method() == "fork":
        raise ArgumentError(
            "forked processes hang in libraries that use threads",
            where="executor",
            got="start method 'fork'",
            expected="ProcessPoolExecutor(..., mp_context=multiprocessing.get_context('spawn'))",
        )
