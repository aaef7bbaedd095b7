"""Who makes a result, where several processes begin at once or one was killed while it did."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from pathlib import Path

from neuromancer.errors import FileError

WAIT = 60.0
"""Seconds that a shard waits for another one which is making the result."""
_making: set[Path] = set()
"""What threads of this process are making: the number of a process alone may be that of an earlier one."""


class Making:
    """While a result is being made: other shards wait, and a restart knows that nothing is in it yet.

    Parameters
    ----------
    folder : Path
        Of the journal.

    Attributes
    ----------
    taken_over : bool
        Whether an earlier process of this machine began and is gone: what it made has nothing in it yet.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "making"

        self.taken_over = False

    def begin(self) -> bool:
        """Whether it is for this process to make the result; else another one has begun."""
        try:
            self.path.parent.mkdir(exist_ok=True)
        except FileNotFoundError as error:
            raise FileError("no such folder", node=str(self.path.parent.parent)) from error
        try:
            with self.path.open("x") as file:
                file.write(f"{socket.gethostname()} {os.getpid()}")
        except FileExistsError:
            if not self._abandoned():
                return False
            self.taken_over = True
            self.path.write_text(f"{socket.gethostname()} {os.getpid()}")
        _making.add(self.path)
        return True

    def end(self) -> None:
        """The result is there; or it could not be made, and then nothing is left."""
        _making.discard(self.path)
        self.path.unlink(missing_ok=True)
        with suppress(OSError):
            self.path.parent.rmdir()  # only if it is empty

    def wait(self) -> None:
        """Wait until the other process has made the result.

        Raises
        ------
        FileError
            If that takes too long.
        """
        limit = time.monotonic() + WAIT
        while self.path.exists():
            if time.monotonic() > limit:
                raise FileError(
                    "another process has begun to make the result and does not finish",
                    node=str(self.path),
                    got=self.path.read_text() if self.path.exists() else None,
                    expected="none; remove this file if that process is gone",
                )
            time.sleep(0.05)

    def _abandoned(self) -> bool:
        """Whether the process that began is gone; only known of the own machine."""
        try:
            host, pid = self.path.read_text().split()
            if host != socket.gethostname():
                return False
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return True
        except (OSError, ValueError):
            return False
        return int(pid) == os.getpid() and self.path not in _making
