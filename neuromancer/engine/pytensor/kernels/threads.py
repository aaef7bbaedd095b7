"""Threads for kernels that divide their work themselves: those in which torch computes, too.

After its own operations torch's threads wait for the next one, and keep their cores busy meanwhile. Further threads
would share the cores with them. So the work is given to torch's OpenMP library (`Team`); in forked processes, and where
it lacks the functions of GNU's, to a thread pool.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import torch

Work = Callable[[], None]
_PROCESS = os.getpid()


def each(function: Callable[[Any], None], items: Iterable[Any], threads: int) -> None:
    """Call a function for every item in some threads; raise the exception of the first item that failed.

    Inside, torch and MKL compute in the thread that calls them, also if there is a single item.
    """
    if threads == 1:
        for item in items:
            function(item)
        return
    # handing out single items would take longer than many of them
    numbered = list(enumerate(items))
    waiting = iter(numbered)  # shared by the threads
    failed: list[tuple[int, BaseException]] = []

    def work() -> None:
        for number, item in waiting:
            try:
                function(item)
            except BaseException as error:
                failed.append((number, error))

    together(work, threads)
    if failed:
        raise min(failed, key=lambda failure: failure[0])[1]


def together(work: Work, threads: int) -> None:
    """Run a function in each of some threads, or in fewer if there are no more; raise what one of them raised.

    The function must do all of the work if only one thread calls it.
    """
    if threads < 2:
        work()
        return
    team = openmp()
    if team is None:
        for done in [pool(threads, os.getpid()).submit(work) for _ in range(threads)]:
            done.result()
    else:
        team.run(work, threads)


class Team:
    """The threads of an OpenMP library with the functions of GNU's.

    It changes the size of its team only by ending threads and starting others, so all threads run all work.

    Parameters
    ----------
    parallel : function of ctypes
        ``GOMP_parallel``.
    """

    Callback = ctypes.CFUNCTYPE(None, ctypes.c_void_p)

    def __init__(self, parallel: Any) -> None:
        parallel.argtypes, parallel.restype = [self.Callback, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint], None
        self._parallel = parallel

    def run(self, work: Work, threads: int) -> None:
        """Run a function in some threads, of which this one is the first."""
        caller, failed, finished = threading.get_ident(), list[BaseException](), list[int]()

        def run(_: Any) -> None:
            try:
                work()
            except BaseException as error:
                failed.append(error)
            if threading.get_ident() == caller:
                finished.append(caller)

        self._parallel(self.Callback(run), None, threads, 0)
        if failed:
            raise failed[0]
        if not finished:  # interrupted before the work began, where ctypes passes on no exception
            raise KeyboardInterrupt


def openmp() -> Team | None:
    """Return the threads of torch's OpenMP library; None if it cannot be used.

    A forked child does not inherit them, and would wait for them forever.
    """
    return _found() if os.getpid() == _PROCESS else None


@cache
def _found() -> Team | None:
    """Look for the OpenMP library with which torch is linked."""
    try:
        # what a library was linked with is searched, too
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_global_deps.so"))
        return Team(library.GOMP_parallel)
    except (OSError, AttributeError):
        return None


@cache
def pool(threads: int, process: int) -> ThreadPoolExecutor:
    """Return the thread pool of a size; keyed by process, as threads do not survive a fork."""
    started = threading.Barrier(threads + 1)

    def alone() -> None:
        torch.get_num_threads()  # the first call in a thread overrides an earlier setting
        torch.set_num_threads(1)
        started.wait()

    result = ThreadPoolExecutor(threads, "neuromancer-kernel")
    for _ in range(threads):
        result.submit(alone)
    started.wait()
    torch.set_num_threads(threads)  # the setting is per thread, but new threads inherit the last one
    return result
