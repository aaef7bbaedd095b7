"""Worker processes of the commands. Ctrl-C reaches all processes of a terminal; only the main one reports it."""

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
    """Process pool whose workers raise KeyboardInterrupt only inside tasks, so idle ones print no traceback.

    Parameters
    ----------
    workers : int
    device : str, optional
        Value of ``config.device`` in the workers; takes precedence over the environment.
    """

    def __init__(self, workers: int, device: str | None = None) -> None:
        super().__init__(workers, get_context("spawn"), _begin, (device,))

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Submit a task; this may start a process."""
        if not MASKS:
            return super().submit(run_task, fn, *args, **kwargs)
        # A new process inherits the signal mask of the thread that starts it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return super().submit(run_task, fn, *args, **kwargs)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(device: str | None) -> None:
    signal.signal(signal.SIGINT, interrupt)
    if MASKS:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    set_device(device)


def set_device(device: str | None) -> None:
    """Set the device of this process and of those that it starts."""
    if device is not None:
        os.environ["NEUROMANCER_DEVICE"] = config.device = device


interrupted = False
"""Whether this worker process has been interrupted."""


def interrupt(number: int, frame: FrameType | None) -> None:
    """Handle SIGINT in a worker: end its task, if there is one, and all further ones."""
    global interrupted
    interrupted = True
    while frame is not None:
        if frame.f_code is run_task.__code__:
            raise KeyboardInterrupt
        frame = frame.f_back


def run_task(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function in a worker; raise KeyboardInterrupt if the worker has been interrupted."""
    if interrupted:
        raise KeyboardInterrupt
    return fn(*args, **kwargs)
