"""Mutual exclusion of threads that build and compile graphs, or train a model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, get_ident


class Exclusive:
    """Re-entrant lock that another thread can use on behalf of its holder.

    In a forked child it is free unless the forking thread held it, since no other thread is left to release it.

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
        """Within the block, let this thread enter in place of `thread`, which waits for it, if that holds the lock."""
        lent = self._holder == thread
        if lent:
            self._holder = get_ident()
        try:
            yield
        finally:
            if lent:
                self._holder = thread


building_lock = Exclusive()
"""Held while nodes are created, graphs rewritten and functions compiled, as engine settings are global."""
