"""Worker processes of the commands. Ctrl-C reaches all processes of a terminal; the first one explains it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from types import FrameType
from typing import Any

from neuromancer.config import config

MASKS = hasattr(signal, "pthread_sigmask")


class Pool(ProcessPoolExecutor):
    """Processes that an interrupt reaches only in the midst of a task: while they start or wait, they say nothing.

    Parameters
    ----------
    workers : int
    device : str, optional
        As ``config.device`` has it; goes before what the environment says.
    """

    def __init__(self, workers: int, device: str | None = None) -> None:
        super().__init__(workers, get_context("spawn"), _begin, (device,))

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Give a task to a process, which may be started for it."""
        if not MASKS:
            return super().submit(_task, fn, *args, **kwargs)
        # A new process has the mask of the thread that starts it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return super().submit(_task, fn, *args, **kwargs)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(device: str | None) -> None:
    signal.signal(signal.SIGINT, _interrupt)
    if MASKS:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    set_device(device)


def set_device(device: str | None) -> None:
    """Have this process, and those that it starts, compute on a device."""
    if device is not None:
        os.environ["NEUROMANCER_DEVICE"] = config.device = device


_interrupted = False


def _interrupt(number: int, frame: FrameType | None) -> None:
    """End the task of this process, if there is one, and all that come."""
    global _interrupted
    _interrupted = True
    while frame is not None:
        if frame.f_code is _task.__code__:
            raise KeyboardInterrupt
        frame = frame.f_back


def _task(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if _interrupted:
        raise KeyboardInterrupt
    return fn(*args, **kwargs)
