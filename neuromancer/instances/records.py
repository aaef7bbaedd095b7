"""Folder of a labelling in progress: what has been begun, which blocks are done, and their labels."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neuromancer.errors import FileError, naming, translating
from neuromancer.files import locked, write_whole


@dataclass(frozen=True)
class Records:
    """Records of a labelling. Every file is written whole or not at all, so that a killed run leaves no half of one.

    Parameters
    ----------
    folder : Path
    """

    folder: Path

    # ---- the run
    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from these records, where the file system has locks.

        Raises
        ------
        FileError
            If another process holds them, or the folder cannot be created.
        """
        with naming(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self.folder) as free:
            if not free:
                expected = "another output, or a call when that process has ended"
                raise FileError("another process works on this labelling", where=str(self.folder), expected=expected)
            try:
                yield
            finally:
                with suppress(OSError):
                    self.folder.rmdir()  # if nothing has begun

    def begun(self) -> dict[str, Any] | None:
        """Return what :meth:`begin` and :meth:`note` have written; None if there is no labelling."""
        if not self._header.exists():
            return None
        with translating(self._header, "is damaged", expected="the records of a labelling"):
            return dict(json.loads(self._header.read_bytes()))

    def begin(self, header: Mapping[str, Any]) -> None:
        """Begin a labelling, in a folder that exists.

        Raises
        ------
        FileError
            If there are other files in it: all that it holds is removed in the end.
        """
        with naming(self.folder):
            for path in self.folder.iterdir():
                if not path.name.startswith(f".{self._header.name}."):  # left by a killed process
                    raise FileError("holds other files", where=str(self.folder), got=path.name, expected="a new folder")
        self._write(header)

    def note(self, **facts: Any) -> None:
        """Add facts that are known only later, such as the number of objects."""
        self._write({**(self.begun() or {}), **facts})

    def require_same(self, header: Mapping[str, Any]) -> None:
        """Raise FileError if the labelling was begun with other arguments."""
        begun = self.begun() or {}
        for key, value in header.items():
            if begun.get(key) != value:
                raise FileError(
                    f"is the labelling of another {key}",
                    where=str(self.folder),
                    got=value,
                    expected=begun.get(key),
                    nearest="another output, or remove this folder and the output to start over",
                )

    def clear(self) -> None:
        """Remove the records of the blocks, once all are written."""
        shutil.rmtree(self._blocks, ignore_errors=True)

    def discard(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    # ---- blocks
    def has(self, name: str) -> bool:
        """Return whether there is a record of this name."""
        return self._path(name).exists()

    def save(self, name: str, **arrays: np.ndarray) -> None:
        """Write a record durably."""
        with naming(self._blocks):
            self._blocks.mkdir(exist_ok=True)
        content = io.BytesIO()
        np.savez_compressed(content, allow_pickle=False, **arrays)
        write_whole(self._path(name), content.getbuffer())

    def load(self, name: str, key: str) -> np.ndarray:
        """Read an array of a record.

        Raises
        ------
        FileError
            If it is missing or damaged.
        """
        path = self._path(name)
        with (
            translating(path, "cannot be read", expected="a record; without this file, resume=True makes it again"),
            path.open("rb") as file,
            np.load(file, allow_pickle=False) as record,
        ):
            return np.asarray(record[key])

    @property
    def _header(self) -> Path:
        return self.folder / "run.json"

    @property
    def _blocks(self) -> Path:
        return self.folder / "blocks"

    def _write(self, header: Mapping[str, Any]) -> None:
        write_whole(self._header, json.dumps(dict(header), indent=1).encode())

    def _path(self, name: str) -> Path:
        return self._blocks / f"{name}.npz"
