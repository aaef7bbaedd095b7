"""Lock for creating a result: several processes may start at once, or be killed while they create it."""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import psutil

from neuromancer.errors import FileError, naming
from neuromancer.files import publish, read_small, replacing, temporary_of

WAIT = 60.0
"""Seconds that a shard waits for another one to create the result."""
LIMIT = 1 << 20
SUFFIX = ".progress"
"""Suffix of default journal folders."""
LEFT = re.compile(r"(making-[0-9a-f]{16}|\.making(-[0-9a-f]{16}|-run\.json)?\.[0-9a-f]{32}\.tmp)")
"""Names of files that a killed process may leave next to its lock; other files are not touched."""
_held: set[str] = set()
"""Keys of the locks held by this process: a process ID alone may be a reused one."""


@dataclass
class _Holder:
    """Owner of a lock, and the traces recorded under it.

    Parameters
    ----------
    host, pid, started : str, int, str
        The process and its start time, as far as known.
    key : str
        Unique key of this lock.
    traces : list of str
    """

    host: str
    pid: int
    started: str
    key: str
    traces: list[str] = field(default_factory=list)

    @classmethod
    def this_process(cls) -> _Holder:
        return cls(socket.gethostname(), os.getpid(), _state_of(os.getpid())[1], uuid.uuid4().hex)

    @classmethod
    def parse(cls, text: bytes) -> _Holder | None:
        """Parse the content of a lock file; None if it is not a lock."""
        with suppress(ValueError, TypeError, RecursionError):
            words = text.decode().split()
            if len(words) == 2 and text[:1] != b"{":  # format of earlier versions
                return cls(words[0], int(words[1]), "", "")
            found = cls(**json.loads(text))
            names = (found.host, found.started, found.key, *found.traces)
            if type(found.traces) is list and all(type(name) is str for name in names) and type(found.pid) is int:
                return found
        return None

    def is_gone(self) -> bool:
        """Return whether the process has ended; False for another machine, where that is unknown."""
        if self.pid == 0:
            return True
        if self.host != socket.gethostname():
            return False
        if self.pid == os.getpid():
            return self.key not in _held
        if not 0 < self.pid < 1 << 31 or not psutil.pid_exists(self.pid):
            return True
        state, started = _state_of(self.pid)
        return state == "Z" or bool(self.started and started and self.started != started)


def _state_of(pid: int) -> tuple[str, str]:
    """Return state and start time (in clock ticks) of a process; empty strings where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return fields[0], fields[19]
    except (OSError, IndexError):
        return "", ""


def _cut_short(text: bytes) -> bool:
    """Whether this may be a lock file truncated by a power failure."""
    return not text.strip(b"\0") or text[:1] == b"{"


class CreationLock:
    """Lock file held while a result is created; after a kill, it tells what had been created.

    Parameters
    ----------
    folder : Path
        Folder of the journal.

    Attributes
    ----------
    traces : list of str
        Recorded traces, including those of a previous holder that is gone.
    """

    def __init__(self, folder: Path, name: str = "making") -> None:
        self.path = folder / name
        self.traces: list[str] = []
        self._holder, self._stays = _Holder.this_process(), False

    def acquire(self) -> bool:
        """Return whether this process now holds the lock; False if another one does.

        Raises
        ------
        FileError
            If the lock cannot be written, or a file of its name is not a lock.
        """
        try:
            with naming(self.path.parent, "cannot be created"):
                # An existing folder may be left from a kill, or be the user's own, which must stay.
                self._stays |= self.path.parent.suffix != SUFFIX and self.path.parent.is_dir()
                self.path.parent.mkdir(exist_ok=True)
            if self._claim():
                return True
            text = self._read()
            if text is None:
                return False
            holder = _Holder.parse(text)
            if holder is None and not _cut_short(text):
                raise FileError(
                    "is not the lock of another process that creates the result",
                    where=str(self.path),
                    got=text[:100].decode(errors="replace"),
                    expected="a journal folder without a file of this name",
                )
            return (holder is None or holder.is_gone()) and self._take_over(text, holder)
        except BaseException:
            with suppress(OSError):
                self.abandon() if self.traces else self.release()
            raise

    def note(self, trace: str) -> None:
        """Record a trace; on return it survives a kill."""
        self.traces.append(trace)
        self._write()

    def release(self) -> None:
        """Release the lock: the result exists, or could not be created and nothing is left of it."""
        _held.discard(self._holder.key)
        text = self._read()
        holder = None if text is None else _Holder.parse(text)
        if holder is not None and holder.key == self._holder.key:
            with naming(self.path):
                self.path.unlink(missing_ok=True)
        if self.path.name == "making":
            self._sweep()
        if not self._stays:
            with suppress(OSError):
                self.path.parent.rmdir()  # only if it is empty

    def forget(self) -> None:
        """Remove a lock left behind by a process killed after it had created the journal.

        Raises
        ------
        FileError
            If it cannot be removed.
        """
        text = None
        with suppress(FileError):  # not a regular file, so not a lock
            text = self._read()
        if text is not None and (_Holder.parse(text) or _cut_short(text)):
            with naming(self.path):
                self.path.unlink(missing_ok=True)
        self._sweep()

    def _sweep(self) -> None:
        """Remove temporary files that killed processes left next to the lock."""
        with suppress(OSError):
            for left in [p for p in self.path.parent.iterdir() if LEFT.fullmatch(p.name)]:
                with suppress(OSError):
                    left.unlink()

    def abandon(self) -> None:
        """Give up the lock but keep its traces, so that the next process cleans up."""
        if self._holder.key in _held:
            _held.discard(self._holder.key)
            self._holder.pid = 0
            with suppress(OSError):
                self._write()

    def refuse(self) -> FileError:
        """Return the error to raise when waiting is given up."""
        text = self._read() or b""
        return FileError(
            "another process has begun to create the result and does not finish",
            where=str(self.path),
            got=text[:100].decode(errors="replace"),
            expected="no such file; remove it if that process is gone",
        )

    def _claim(self) -> bool:
        new = temporary_of(self.path)
        with naming(self.path):
            try:
                new.write_bytes(self._text())
                _held.add(self._holder.key)
                publish(new, self.path)
                return True
            except (FileExistsError, FileNotFoundError):  # held; or the folder was removed with the previous lock
                _held.discard(self._holder.key)
                return False
            finally:
                new.unlink(missing_ok=True)

    def _take_over(self, text: bytes, holder: _Holder | None) -> bool:
        """Take over the lock of a process that is gone; guarded by a second lock, as others may try the same."""
        right = CreationLock(self.path.parent, f"making-{sha256(text).hexdigest()[:16]}")
        if not right.acquire():
            return False
        try:
            if self._read() != text:
                return False
            self.traces = [] if holder is None else holder.traces
            _held.add(self._holder.key)
            self._write()
            return True
        finally:
            right.release()

    def _text(self) -> bytes:
        self._holder.traces = self.traces
        return json.dumps(vars(self._holder)).encode()

    def _write(self) -> None:
        with replacing(self.path) as new:
            new.write_bytes(self._text())

    def _read(self) -> bytes | None:
        """Content of the lock file; None if it does not exist."""
        try:
            if self.path.is_symlink():  # its target would be overwritten
                raise OSError(errno.ELOOP, "a link")
            return read_small(self.path, LIMIT)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise FileError(
                "cannot be read",
                where=str(self.path),
                got=error.strerror,
                expected="a readable file; remove it if no process is creating the result",
            ) from error
