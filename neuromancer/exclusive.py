"""One thread at a time: where graphs are built and compiled, and where a model is trained."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, get_ident


class Exclusive:
    """A lock that its holder may enter again, and that another thread may use on the holder's behalf.

    A forked child finds it free unless the thread that forked held it: no other thread is there to release it.

    Examples
    --------
    >>> lock = Exclusive()
    >>> with lock, lock:
    ...     print("inside")
    inside
    """

    def __init__(self) -> None:
        self._renew()

    def _renew(self) -> None:
        self._lock, self._holder, self._depth, self._process = Lock(), 0, 0, os.getpid()

    def __enter__(self) -> None:
        if self._process != os.getpid():
            if self._holder == get_ident():
                self._process = os.getpid()
            else:
                self._renew()
        if self._holder != get_ident():
            self._lock.acquire()
            self._holder = get_ident()
        self._depth += 1

    def __exit__(self, *exc: object) -> None:
        self._depth -= 1
        if not self._depth:
            self._holder = 0
            self._lock.release()

    @contextmanager
    def lent_by(self, thread: int) -> Iterator[None]:
        """Let this thread enter meanwhile as if it were `thread`, which waits for it; nothing if that holds no lock."""
        lent = self._holder == thread
        if lent:
            self._holder = get_ident()
        try:
            yield
        finally:
            if lent:
                self._holder = thread


building_lock = Exclusive()
"""Held while nodes are made, graphs rewritten and functions compiled: the engines' settings belong to the process."""
