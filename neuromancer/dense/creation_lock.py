"""Who makes a result, where several processes begin at once or one was killed while it did."""

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
"""Seconds that a shard waits for another one which is making the result."""
LIMIT = 1 << 20
SUFFIX = ".progress"
"""Of the folders of journals that no user names."""
LEFT = re.compile(r"(making-[0-9a-f]{16}|\.making(-[0-9a-f]{16}|-run\.json)?\.[0-9a-f]{32}\.tmp)")
"""Names of what a process that is killed leaves beside its lock; whatever else lies there is not ours."""
_held: set[str] = set()
"""Locks that threads of this process hold: the number of a process alone may be that of an earlier one."""


@dataclass
class _Holder:
    """Whose lock it is, and what has been noted under it.

    Parameters
    ----------
    host, pid, started : str, int, str
        The process, and when it began; as far as that is known.
    key : str
        Of this one lock.
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
        """The holder that a lock names; None if it is no lock."""
        with suppress(ValueError, TypeError, RecursionError):
            words = text.decode().split()
            if len(words) == 2 and text[:1] != b"{":  # of an earlier version
                return cls(words[0], int(words[1]), "", "")
            found = cls(**json.loads(text))
            names = (found.host, found.started, found.key, *found.traces)
            if type(found.traces) is list and all(type(name) is str for name in names) and type(found.pid) is int:
                return found
        return None

    def is_gone(self) -> bool:
        """Whether the process has ended; of another machine's that is not known."""
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
    """State of a process, and when it began in ticks of the system's clock; empty where the system does not say so."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return fields[0], fields[19]
    except (OSError, IndexError):
        return "", ""


def _cut_short(text: bytes) -> bool:
    """Whether a lock may have become this when the power failed while it was written."""
    return not text.strip(b"\0") or text[:1] == b"{"


class CreationLock:
    """The right to make a result: a file that others wait for, and that says after a kill what was being made.

    Parameters
    ----------
    folder : Path
        Of the journal.

    Attributes
    ----------
    traces : list of str
        What was noted, also by a process that held the lock and is gone.
    """

    def __init__(self, folder: Path, name: str = "making") -> None:
        self.path = folder / name
        self.traces: list[str] = []
        self._holder, self._stays = _Holder.this_process(), False

    def acquire(self) -> bool:
        """Whether it is for this process to make the result; else another one has begun.

        Raises
        ------
        FileError
            If the system refuses, or something else has the lock's name.
        """
        try:
            with naming(self.path.parent, "cannot be made"):
                # A folder that is there may be left from a kill, or the user's own, which stays.
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
                    "is no note of another process that makes the result",
                    where=str(self.path),
                    got=text[:100].decode(errors="replace"),
                    expected="a folder for the journal without a file of this name",
                )
            return (holder is None or holder.is_gone()) and self._take_over(text, holder)
        except BaseException:
            with suppress(OSError):
                self.abandon() if self.traces else self.release()
            raise

    def note(self, trace: str) -> None:
        """Write something down; on return it survives a kill."""
        self.traces.append(trace)
        self._write()

    def release(self) -> None:
        """The result is there; or it could not be made, and then nothing is left."""
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
        """Remove a lock that was left behind after the journal had been made.

        Raises
        ------
        FileError
            If the system refuses.
        """
        text = None
        with suppress(FileError):  # no file, so that it says nothing of a result
            text = self._read()
        if text is not None and (_Holder.parse(text) or _cut_short(text)):
            with naming(self.path):
                self.path.unlink(missing_ok=True)
        self._sweep()

    def _sweep(self) -> None:
        """Remove what processes that were killed left beside the lock."""
        with suppress(OSError):
            for left in [p for p in self.path.parent.iterdir() if LEFT.fullmatch(p.name)]:
                with suppress(OSError):
                    left.unlink()

    def abandon(self) -> None:
        """Leave it to the next process to clear what was made."""
        if self._holder.key in _held:
            _held.discard(self._holder.key)
            self._holder.pid = 0
            with suppress(OSError):
                self._write()

    def refuse(self) -> FileError:
        """The error for those who wait no longer."""
        text = self._read() or b""
        return FileError(
            "another process has begun to make the result and does not finish",
            where=str(self.path),
            got=text[:100].decode(errors="replace"),
            expected="none; remove this file if that process is gone",
        )

    def _claim(self) -> bool:
        new = temporary_of(self.path)
        with naming(self.path):
            try:
                new.write_bytes(self._text())
                _held.add(self._holder.key)
                publish(new, self.path)
                return True
            except (FileExistsError, FileNotFoundError):  # held; or the folder went with the lock before
                _held.discard(self._holder.key)
                return False
            finally:
                new.unlink(missing_ok=True)

    def _take_over(self, text: bytes, holder: _Holder | None) -> bool:
        """Take the place of a process that is gone, unless another one does: who may is a lock's matter as well."""
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
        """Content of the lock; None if there is none."""
        try:
            if self.path.is_symlink():  # what it points to would be written over
                raise OSError(errno.ELOOP, "a link")
            return read_small(self.path, LIMIT)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise FileError(
                "cannot be read",
                where=str(self.path),
                got=error.strerror,
                expected="a file that this process may read; remove it if nothing is being made",
            ) from error
