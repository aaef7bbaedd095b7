"""What a training leaves behind as numbers: one row per some steps, as CSV while it runs and as arrays in its files."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from neuromancer.errors import FileError


class History:
    """Rows of numbers by column; a value that was not measured is NaN.

    Parameters
    ----------
    columns : sequence of str
    path : Path, optional
        CSV file, to which every row is added at once.
    """

    def __init__(self, columns: Sequence[str], path: Path | None = None) -> None:
        self.columns, self.path = list(columns), path
        self.rows: list[list[float]] = []

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, column: str) -> np.ndarray:
        """A column as float64."""
        index = self.columns.index(column)
        return np.array([row[index] for row in self.rows], dtype="float64")

    def add(self, values: Mapping[str, float]) -> None:
        """Add a row; columns without a value are NaN."""
        row = [float(values.get(name, math.nan)) for name in self.columns]
        self.rows.append(row)
        if self.path is not None:
            with writing(self.path), self.path.open("a", newline="") as file:
                csv.writer(file).writerow(_texts(row))

    def start(self) -> None:
        """Write the CSV file anew with the rows that there are."""
        if self.path is not None:
            with replacing(self.path) as new, new.open("w", newline="") as file:
                csv.writer(file).writerows([self.columns, *map(_texts, self.rows)])

    def arrays(self) -> dict[str, np.ndarray]:
        """All columns."""
        return {name: self[name] for name in self.columns}

    def load(self, arrays: Mapping[str, Any]) -> None:
        """Take rows over from columns; those that are missing are NaN."""
        length = max((len(values) for values in arrays.values()), default=0)
        empty = np.full(length, np.nan)
        self.rows = np.stack([np.asarray(arrays.get(n, empty), "float64") for n in self.columns], 1).tolist()

    def save(self, path: Path) -> None:
        """Write the columns as data sets of an HDF5 file."""
        with replacing(path) as new, h5py.File(new, "w") as file:
            for name, values in self.arrays().items():
                file[name] = values


def _texts(row: Sequence[float]) -> list[str]:
    return ["" if math.isnan(v) else str(int(v)) if v.is_integer() and abs(v) < 1e15 else repr(v) for v in row]


class writing:
    """Turns what the system says about a file into a FileError that names it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, OSError) and not isinstance(error, FileError):
            raise FileError("cannot be written", node=str(self.path), got=error.strerror or str(error)) from error


class replacing(writing):
    """A new file beside `path`, renamed to it when it is whole; removed if anything fails.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.txt"
    >>> with replacing(path) as new:
    ...     _ = new.write_text("whole")
    >>> path.read_text()
    'whole'
    """

    def __enter__(self) -> Path:  # type: ignore[override]
        self.new = self.path.with_name(f".{self.path.name}.{os.getpid()}{self.path.suffix}")
        return self.new

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        try:
            if error is None:
                self.new.replace(self.path)
        except OSError as failed:
            error = failed
        finally:
            if error is not None:
                self.new.unlink(missing_ok=True)
        super().__exit__(kind, error, trace)
