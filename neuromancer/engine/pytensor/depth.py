"""Deep graphs: PyTensor traverses graphs recursively, with one or more calls per operation."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextvars import copy_context
from ctypes import c_ulong, py_object, pythonapi
from typing import TypeVar

from pytensor.graph.basic import Variable
from pytensor.graph.traversal import io_toposort

from neuromancer.errors import EngineError
from neuromancer.exclusive import building_lock

SHALLOW = 100
"""Depth of a graph up to which an ordinary stack is enough."""
FRAMES = 40
"""Maximum number of nested calls per operation, a few of them for every rewrite that is tried."""
STACK, STACK_PER_OPERATION, LARGEST_STACK = 1 << 26, 1 << 15, 1 << 30
"""Stack size of a thread in bytes; only the used part takes memory."""

T = TypeVar("T")


def depth(outputs: Iterable[Variable]) -> int:
    """Return the number of operations on the longest path through a graph.

    Examples
    --------
    >>> from neuromancer.engine import tensor
    >>> x = tensor("x", (None,), "float32")
    >>> depth([x]), depth([(x + 1) * (x + 1)])
    (0, 3)
    """
    outputs = list(outputs)
    depths: dict[Variable, int] = {}
    for node in io_toposort([], outputs):
        here = 1 + max((depths.get(v, 0) for v in node.inputs), default=0)
        depths.update((v, here) for v in node.outputs)
    return max((depths.get(v, 0) for v in outputs), default=0)


def with_room(outputs: Iterable[Variable], work: Callable[[], T]) -> T:
    """Return ``work()``, called in a thread with a stack large enough for the graph of `outputs`.

    For graphs of ordinary depth it is called directly.

    Raises
    ------
    EngineError
        If the system cannot allocate the stack.
    """
    operations = depth(outputs)
    if operations <= SHALLOW:
        return work()
    size = min(STACK + STACK_PER_OPERATION * operations, LARGEST_STACK)
    done: Future[T] = Future()
    go, cancelled, finished = (threading.Event() for _ in range(3))
    context, caller = copy_context(), threading.get_ident()

    def run() -> None:
        limit = None
        try:  # an interrupt may come at any point
            go.wait()
            if cancelled.is_set():
                return
            limit = sys.getrecursionlimit()
            sys.setrecursionlimit(limit + FRAMES * operations)
            with building_lock.lent_by(caller):
                done.set_result(context.run(work))
        except BaseException as error:
            if not done.done():
                done.set_exception(error)
        finally:
            if limit is not None:
                sys.setrecursionlimit(limit)
            finished.set()

    with building_lock:  # recursion limit and stack size belong to the process
        try:
            thread = _started(run, size, operations)
            _wait(thread, go, finished)
        finally:  # no work begins after an interrupt
            cancelled.set()
            go.set()
    return done.result()


def _started(run: Callable[[], None], size: int, operations: int) -> threading.Thread:
    thread = threading.Thread(target=run, name="deep graph", daemon=True)
    before = threading.stack_size(size)
    try:
        thread.start()
    except RuntimeError:
        raise EngineError(
            "a graph of this depth needs a larger stack than the system allows",
            where="engine",
            got=f"{operations} operations in a row, {size >> 20} MiB",
        ) from None
    finally:
        threading.stack_size(before)
    return thread


def _wait(thread: threading.Thread, go: threading.Event, finished: threading.Event) -> None:
    """Let a thread go and wait until it has finished; a KeyboardInterrupt is passed on to it."""
    # not join: before Python 3.13 an interrupted join takes the thread for dead
    while not finished.is_set():
        try:
            go.set()
            finished.wait()
        except KeyboardInterrupt:
            pythonapi.PyThreadState_SetAsyncExc(c_ulong(thread.ident or 0), py_object(KeyboardInterrupt))
