"""The journal of a prediction: which tiles are durably in the result, beside it, for any number of writers.

A folder ``RESULT.progress`` holds ``run.json`` (what is predicted, from what, by which plan) and one file of records
per process, to which it alone appends: hundreds can write at once on a shared file system. A record stands for a run of
consecutive tiles; one that a crash cut short is not valid, and ignored.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import struct
import time
import uuid
import zlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from neuromancer.dense.pipeline import Report
from neuromancer.errors import FileError

VERSION = 1
RECORD = struct.Struct("<QQI")
"""First tile, number of tiles, CRC-32 of both and the run's salt."""
WAIT = 60.0
"""Seconds that a shard waits for another one which is making the result."""


class TileSet:
    """Numbers of tiles, kept as ranges.

    Examples
    --------
    >>> done = TileSet([(0, 3), (3, 5), (8, 9)])
    >>> len(done), 4 in done, list(done.missing(range(2, 10)))
    (6, True, [5, 6, 7, 9])
    """

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self.starts: list[int] = []
        self.stops: list[int] = []
        for a, b in sorted(ranges):
            if self.stops and a <= self.stops[-1]:
                self.stops[-1] = max(self.stops[-1], b)
            else:
                self.starts.append(a)
                self.stops.append(b)

    def __len__(self) -> int:
        return sum(self.stops) - sum(self.starts)

    def __contains__(self, index: int) -> bool:
        k = bisect_right(self.starts, index) - 1
        return k >= 0 and index < self.stops[k]

    def missing(self, indices: range) -> Iterator[int]:
        """Those of a range that are not in the set."""
        at = indices.start
        for k in range(max(0, bisect_right(self.starts, at) - 1), len(self.starts)):
            if self.starts[k] >= indices.stop:
                break
            yield from range(at, self.starts[k])
            at = max(at, self.stops[k])
        yield from range(at, indices.stop)

    def count(self, indices: range) -> int:
        """How many of a range are in the set."""
        pairs = zip(self.starts, self.stops, strict=True)
        return sum(max(0, min(b, indices.stop) - max(a, indices.start)) for a, b in pairs)


class Journal:
    """The journal of one result, for one process.

    Parameters
    ----------
    folder : Path
        ``RESULT.progress``.
    header : mapping
        Content of ``run.json``.
    """

    def __init__(self, folder: Path, header: Mapping[str, Any]) -> None:
        self.folder, self.header = folder, dict(header)
        self._salt = str(header["salt"]).encode()
        self._name = self._new_name()

    # ---- opening
    @classmethod
    def create(cls, folder: Path, fingerprints: Mapping[str, str], layout: Any, count: int) -> Journal:
        """Begin a journal.

        Parameters
        ----------
        folder : Path
        fingerprints : mapping of str to str
            Of model, image, options, and so on: what has to be the same when it goes on.
        layout : JSON value
            How the result is cut into tiles.
        count : int
            Number of tiles.
        """
        header = {
            "version": VERSION,
            "fingerprints": dict(fingerprints),
            "layout": layout,
            "tiles": count,
            "salt": uuid.uuid4().hex,
            "complete": False,
        }
        journal = cls(folder, header)
        journal._write_header()
        return journal

    @classmethod
    def find(cls, folder: Path) -> Journal | None:
        """The journal in a folder, None if there is none.

        Raises
        ------
        FileError
            If it cannot be read.
        """
        try:
            text = (folder / "run.json").read_text()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise FileError("cannot be read", node=str(folder), got=error.strerror) from error
        try:
            header = json.loads(text)
            known = header["version"] == VERSION and {"fingerprints", "layout", "tiles", "salt"} <= set(header)
        except (ValueError, TypeError, KeyError):
            known = False
        if not known:
            raise FileError("is not a journal of this version", node=str(folder / "run.json"), expected="version 1")
        return cls(folder, header)

    def require_same(self, fingerprints: Mapping[str, str]) -> None:
        """Raise FileError unless the run is the one that the journal is about, naming what differs."""
        stored = self.header["fingerprints"]
        different = sorted(key for key in {*stored, *fingerprints} if stored.get(key) != fingerprints.get(key))
        if different:
            raise FileError(
                f"belongs to a prediction with another {' and another '.join(different)}",
                node=str(self.folder),
                got=", ".join(f"{key} {str(fingerprints.get(key))[:12]}" for key in different),
                expected=", ".join(f"{key} {str(stored.get(key))[:12]}" for key in different),
                nearest="the same arguments as before, or another output",
            )

    # ---- reading
    def done(self) -> TileSet:
        """Tiles that are durably in the result, as far as all processes have said so."""
        if self.header["complete"]:
            return TileSet([(0, self.header["tiles"])])
        return TileSet(pair for path in sorted(self.folder.glob("*.log")) for pair in self._records(path))

    def _records(self, path: Path) -> Iterator[tuple[int, int]]:
        data = path.read_bytes()
        for k in range(0, len(data) - RECORD.size + 1, RECORD.size):
            first, count, check = RECORD.unpack_from(data, k)
            if check == self._check(first, count) and first + count <= self.header["tiles"]:
                yield first, first + count

    def failures(self) -> dict[int, str]:
        """Tiles that were left out, and why."""
        found: dict[int, str] = {}
        for path in sorted(self.folder.glob("*.failed")):
            for line in path.read_text(errors="replace").splitlines():
                try:
                    index, reason = json.loads(line)
                    found[int(index)] = str(reason)
                except (ValueError, TypeError):
                    continue  # cut short by a crash; the tile counts as not done all the same
        done = self.done()
        return {index: reason for index, reason in found.items() if index not in done}

    # ---- writing
    def commit(self, report: Report) -> None:
        """Note tiles as done; on return that is durable.

        Parameters
        ----------
        report : Report
            Its tiles must be durable already.
        """
        if report.failed:
            text = "".join(json.dumps([index, reason]) + "\n" for index, reason in report.failed.items())
            with self._path("failed").open("a") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        if not report.done:
            return
        records = b"".join(RECORD.pack(a, n, self._check(a, n)) for a, n in _runs(report.done))
        path = self._path("log")
        fresh = not path.exists()
        try:
            with path.open("ab", buffering=0) as file:
                if file.write(records) != len(records):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file.fileno())
            if fresh:
                sync_folder(self.folder)
        except OSError as error:
            # What follows half a record could not be read, so that what follows goes into another file.
            self._name = self._new_name()
            raise FileError("cannot be written", node=str(self.folder), got=error.strerror) from error

    def close(self) -> None:
        """If all tiles are done, mark the run as complete and drop the records."""
        if not self.header["complete"] and len(self.done()) == self.header["tiles"]:
            self.header["complete"] = True
            self._write_header()
            for path in [*self.folder.glob("*.log"), *self.folder.glob("*.failed")]:
                path.unlink(missing_ok=True)

    def _check(self, first: int, count: int) -> int:
        return zlib.crc32(self._salt + RECORD.pack(first, count, 0))

    def _path(self, ending: str) -> Path:
        return self.folder / f"{self._name}.{ending}"

    @staticmethod
    def _new_name() -> str:
        return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"

    def _write_header(self) -> None:
        self.folder.mkdir(exist_ok=True)
        partial = self.folder / f".run.{uuid.uuid4().hex}"
        with partial.open("w") as file:
            json.dump(self.header, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self.folder / "run.json")
        sync_folder(self.folder)
        sync_folder(self.folder.parent)


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


def _runs(indices: Iterable[int]) -> Iterator[tuple[int, int]]:
    """(first, count) of consecutive numbers."""
    ordered = np.unique(np.fromiter(indices, np.int64))
    cuts = [0, *(np.flatnonzero(np.diff(ordered) > 1) + 1).tolist(), len(ordered)]
    for a, b in pairwise(cuts):
        yield int(ordered[a]), b - a


def sync_folder(folder: Path) -> None:
    """Make new names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
