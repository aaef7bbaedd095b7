"""Thread pool for kernels that divide their work themselves; torch uses a single thread in each of its workers."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import torch


def each(function: Callable[[Any], None], items: Iterable[Any], threads: int) -> None:
    """Call a function for every item in a thread pool; raise the exception of the first item that failed."""
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

    for done in [pool(threads, os.getpid()).submit(work) for _ in range(min(threads, len(numbered)))]:
        done.result()
    if failed:
        raise min(failed, key=lambda failure: failure[0])[1]


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
