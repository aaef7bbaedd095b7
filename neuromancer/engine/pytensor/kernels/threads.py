"""Threads in which torch computes without threads of its own, for kernels that share out their work themselves."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import torch


def each(function: Callable[[Any], None], items: Iterable[Any], threads: int) -> None:
    """Call a function for every item, in so many threads; raises what the first of them raised."""
    if threads == 1:
        for item in items:
            function(item)
        return
    for done in [pool(threads, os.getpid()).submit(function, item) for item in items]:
        done.result()


@cache
def pool(threads: int, process: int) -> ThreadPoolExecutor:
    """So many threads; others for a process that was forked."""
    started = threading.Barrier(threads + 1)

    def alone() -> None:
        torch.get_num_threads()  # the first use in a thread undoes what was set before
        torch.set_num_threads(1)
        started.wait()

    result = ThreadPoolExecutor(threads, "neuromancer-kernel")
    for _ in range(threads):
        result.submit(alone)
    started.wait()
    torch.set_num_threads(threads)  # the setting is per thread, but new threads take the last one
    return result
