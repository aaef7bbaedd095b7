"""Journal of a prediction: records which tiles are durable in the result, for any number of concurrent writers.

A folder ``RESULT.progress`` next to the result contains ``run.json`` (fingerprints of model, image, options and plan)
and one append-only file of records per process, so that hundreds of processes can write at once on a shared file
system. A record stands for a range of consecutive tiles; one truncated by a crash is invalid and ignored.
"""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import struct
import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from neuromancer.dense.header import VERSION, read_header, sealed
from neuromancer.dense.pipeline import TileReport
from neuromancer.dense.tileset import TileSet
from neuromancer.errors import FileError, NeuromancerError, naming
from neuromancer.files import fsync, publish, replacing, temporary_of
from neuromancer.volumes.missing import Part

MOST_RECORDS = 1 << 30
"""Maximum size in bytes of the records of one process; no run writes as many."""
RECORD = struct.Struct("<QQI")
"""First tile, number of tiles, CRC-32 of the run's salt and both numbers."""
OWN = re.compile(r".+-\d+-[0-9a-f]{8}\.(log|failed|filled)", re.DOTALL)
"""Names of record files: host, process ID and a random number; other files in the folder are not ours."""


class Journal:
    """Journal of a result, as seen by one process.

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
        self._name, self._noted = self._new_name(), set[str]()

    # ---- opening
    @classmethod
    def create(cls, folder: Path, fingerprints: Mapping[str, str], layout: Any, count: int) -> Journal:
        """Create a journal.

        Parameters
        ----------
        folder : Path
        fingerprints : mapping of str to str
            Fingerprints of model, image, options etc., which must be the same on resume.
        layout : JSON value
            Tile shape and batch size.
        count : int
            Number of tiles.

        Raises
        ------
        FileError
            If it cannot be written, or another process has created one.
        """
        header = {
            "version": VERSION,
            "fingerprints": dict(fingerprints),
            "layout": layout,
            "tiles": count,
            "salt": uuid.uuid4().hex,
            "complete": False,
        }
        path = folder / "run.json"
        new = temporary_of(folder / "making-run.json")  # if killed, it is removed with the lock
        with naming(path):
            folder.mkdir(exist_ok=True)
            try:
                new.write_bytes(sealed(header))
                fsync(new)
                publish(new, path)
            finally:
                new.unlink(missing_ok=True)
            fsync(folder.parent)
        return cls(folder, header)

    @classmethod
    def find(cls, folder: Path) -> Journal | None:
        """Return the journal in a folder; None if there is none.

        Raises
        ------
        FileError
            If it cannot be read or is damaged.
        """
        header = read_header(folder / "run.json")
        return None if header is None else cls(folder, header)

    @property
    def layout(self) -> dict[str, Any]:
        """Tile shape and batch size of the run.

        Raises
        ------
        FileError
            If the header does not contain them.
        """
        layout: dict[str, Any] = self.header["layout"]
        tile, images_per_batch = layout.get("tile"), layout.get("together")
        sizes = [*tile, images_per_batch] if type(tile) is list else [None]
        if set(layout) != {"tile", "together"} or any(type(n) is not int or not 0 < n < 1 << 62 for n in sizes):
            raise FileError(
                "does not say how the result is tiled",
                where=str(self.folder / "run.json"),
                got=str(layout)[:100],
                expected=f"an intact journal; or remove {self.folder} and the result to start over",
            )
        return layout

    def require_same(self, fingerprints: Mapping[str, str]) -> None:
        """Raise FileError if the fingerprints differ from those of the journal, naming which do."""
        stored = self.header["fingerprints"]
        different = sorted(key for key in {*stored, *fingerprints} if stored.get(key) != fingerprints.get(key))
        if different:
            raise FileError(
                f"belongs to a prediction with another {' and another '.join(different)}",
                where=str(self.folder),
                got=", ".join(f"{key} {str(fingerprints.get(key))[:12]}" for key in different),
                expected=", ".join(f"{key} {str(stored.get(key))[:12]}" for key in different),
                nearest="the same arguments as before, another output, or remove journal and result to start over",
            )

    # ---- reading
    def done(self) -> TileSet:
        """Return the tiles that any process has recorded as durable."""
        if self.header["complete"] is not True:
            try:
                return TileSet(pair for path in self._files("log") for pair in self._records(path))
            except FileNotFoundError as error:
                # Another process found the run complete, marked it so and removed the records.
                found = Journal.find(self.folder)
                if found is None or found.header["complete"] is not True:
                    raise FileError(
                        "records have been removed",
                        where=str(self.folder),
                        got=error.filename,
                        expected="the same call again with resume=True, which runs their tiles again",
                    ) from error
                self.header = found.header
        return TileSet([(0, self.header["tiles"])])

    def _records(self, path: Path) -> Iterator[tuple[int, int]]:
        data = self._read(path)
        for k in range(0, len(data) - RECORD.size + 1, RECORD.size):
            first, count, check = RECORD.unpack_from(data, k)
            if check == self._check(first, count) and first + count <= self.header["tiles"]:
                yield first, first + count

    def _read(self, path: Path) -> bytes:
        """Content of a file of the journal; empty for folders, pipes and the like, which no run creates."""
        try:
            if not path.is_file() and os.path.lexists(path):
                return b""
            if path.exists() and path.stat().st_size > MOST_RECORDS:
                raise OSError(errno.EFBIG, f"more than {MOST_RECORDS} bytes")
            return path.read_bytes()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise FileError(
                "cannot be read",
                where=str(path),
                got=error.strerror,
                expected="a readable file; if it is removed, its tiles are run again",
            ) from error

    def failures(self) -> dict[int, str]:
        """Return the skipped tiles, with the reason."""
        pairs = [pair for path in self._files("failed") for pair in self._pairs(path)]
        found = {k: str(reason) for k, reason in pairs if type(k) is int and 0 <= k < self.header["tiles"]}
        done = self.done()
        return {index: reason for index, reason in found.items() if index not in done}

    def filled(self) -> dict[str, Part]:
        """Return the parts of the image that any process has recorded as read as fill value, by name."""
        pairs = [pair for path in self._files("filled") for pair in self._pairs(path)]
        return {name: Part(name, reason) for name, reason in pairs if type(name) is str and type(reason) is str}

    def _files(self, ending: str) -> list[Path]:
        """Record files of all processes."""
        return sorted(path for path in self.folder.glob(f"*.{ending}") if OWN.fullmatch(path.name))

    def _pairs(self, path: Path) -> Iterator[tuple[Any, Any]]:
        """JSON pairs, one per line; lines truncated by a crash are ignored."""
        try:
            lines = self._read(path).decode(errors="replace").splitlines()
        except FileNotFoundError:
            return  # removed when the run was complete, as above
        for line in lines:
            with suppress(ValueError, TypeError, RecursionError):
                first, second = json.loads(line)
                yield first, second

    # ---- writing
    def commit(self, report: TileReport) -> None:
        """Record finished tiles; on return, the record is durable.

        Parameters
        ----------
        report : TileReport
            Its finished tiles must be durable already.
        """
        self._note("failed", report.failed.items())
        new = {name: part.reason for name, part in report.filled.items() if name not in self._noted}
        self._note("filled", new.items())
        self._noted |= new.keys()
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
                fsync(self.folder)
        except OSError as error:
            # A partial record makes all later ones in the file unreadable, so use a new file from now on.
            self._name = self._new_name()
            raise FileError("cannot be written", where=str(self.folder), got=error.strerror) from error

    def _note(self, ending: str, pairs: Iterable[tuple[Any, str]]) -> None:
        text = "".join(json.dumps(pair) + "\n" for pair in pairs)
        if text:
            with naming(self.folder), self._path(ending).open("a") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())

    def close(self) -> None:
        """If all tiles are done, mark the run as complete and remove the records, except those of filled parts."""
        if self.header["complete"] is not True and len(self.done()) == self.header["tiles"]:
            self.header |= {"version": VERSION, "complete": True}
            with replacing(self.folder / "run.json") as new:
                new.write_bytes(sealed(self.header))
            readers = {"log": self._records, "failed": self._pairs}
            for path, read in [(path, read) for ending, read in readers.items() for path in self._files(ending)]:
                with suppress(OSError, NeuromancerError):  # e.g. a folder, which no run creates
                    if path.is_file() and (any(read(path)) or path.stat().st_size < RECORD.size):
                        path.unlink()

    def _check(self, first: int, count: int) -> int:
        return zlib.crc32(self._salt + RECORD.pack(first, count, 0))

    def _path(self, ending: str) -> Path:
        return self.folder / f"{self._name}.{ending}"

    @staticmethod
    def _new_name() -> str:
        return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def _runs(indices: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Group numbers into ranges (first, count) of consecutive ones."""
    ordered = np.unique(np.fromiter(indices, np.int64))
    cuts = [0, *(np.flatnonzero(np.diff(ordered) > 1) + 1).tolist(), len(ordered)]
    for a, b in pairwise(cuts):
        yield int(ordered[a]), b - a
