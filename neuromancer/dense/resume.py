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
import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from neuromancer.dense.pipeline import Report
from neuromancer.dense.tileset import TileSet
from neuromancer.errors import FileError

VERSION = 1
RECORD = struct.Struct("<QQI")
"""First tile, number of tiles, CRC-32 of both and the run's salt."""


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
        if not self.header["complete"]:
            try:
                return TileSet(pair for path in sorted(self.folder.glob("*.log")) for pair in self._records(path))
            except FileNotFoundError as error:
                # Another process saw that all was done, and dropped the records after it had said so.
                found = Journal.find(self.folder)
                if found is None or not found.header["complete"]:
                    raise FileError("records have been removed", node=str(self.folder), got=error.filename) from error
                self.header = found.header
        return TileSet([(0, self.header["tiles"])])

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
            try:
                lines = path.read_text(errors="replace").splitlines()
            except FileNotFoundError:
                continue  # as above: all was done in the end
            for line in lines:
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
