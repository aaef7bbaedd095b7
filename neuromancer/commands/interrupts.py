"""Ctrl-C while a command line imports what it needs: nothing has begun, so the process ends at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130


@contextmanager
def ending_at_once() -> Iterator[None]:
    """Within the block, end the process silently on Ctrl-C.

    An exception would be shown as a traceback, or lost in a library that catches everything while it is imported.
    """
    before = signal.getsignal(signal.SIGINT)
    # Programs started with `nohup` or in the background of a script ignore it, and other threads cannot change it.
    if before is not signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)
