"""History of a training run: one row every few steps, as CSV while it runs and as arrays in its checkpoints."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from neuromancer.errors import naming
from neuromancer.train.files import write_arrays, write_whole


class History:
    """Table of measurements; NaN where a value was not measured.

    Parameters
    ----------
    columns : sequence of str
    path : Path, optional
        CSV file to which every row is appended immediately.
    """

    def __init__(self, columns: Sequence[str], path: Path | None = None) -> None:
        self.columns, self.path = list(columns), path
        self.rows: list[list[float]] = []

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, column: str) -> np.ndarray:
        """Return a column, float64."""
        index = self.columns.index(column)
        return np.array([row[index] for row in self.rows], dtype="float64")

    def add(self, values: Mapping[str, float]) -> None:
        """Add a row; columns without a value are NaN."""
        row = [float(values.get(name, math.nan)) for name in self.columns]
        self.rows.append(row)
        if self.path is not None:
            with naming(self.path), self.path.open("a", newline="") as file:
                csv.writer(file).writerow(_texts(row))

    def would_replace(self) -> bool:
        """Whether there is a CSV file that holds anything but this header."""
        if self.path is None or not os.path.lexists(self.path):
            return False
        head = self._csv([])
        with naming(self.path, "cannot be read"), self.path.open("rb") as file:
            return file.read(len(head) + 1) != head

    def start(self) -> None:
        """Replace the CSV file by one with the current rows."""
        if self.path is not None:
            write_whole(self.path, self._csv(self.rows))

    def _csv(self, rows: Sequence[Sequence[float]]) -> bytes:
        text = io.StringIO(newline="")
        csv.writer(text).writerows([self.columns, *map(_texts, rows)])
        return text.getvalue().encode()

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all columns by name."""
        return {name: self[name] for name in self.columns}

    def until(self, step: int) -> dict[str, np.ndarray]:
        """Return all columns by name, with the rows up to a step."""
        return {name: values[self["step"] <= step] for name, values in self.arrays().items()}

    def load(self, arrays: Mapping[str, Any]) -> None:
        """Replace the rows by those of stored columns; missing columns are NaN."""
        length = max((len(values) for values in arrays.values()), default=0)
        empty = np.full(length, np.nan)
        self.rows = np.stack([np.asarray(arrays.get(n, empty), "float64") for n in self.columns], 1).tolist()

    def save(self, path: Path) -> None:
        """Write the columns as datasets of an HDF5 file."""
        write_arrays(path, self.arrays())


def _texts(row: Sequence[float]) -> list[str]:
    return ["" if math.isnan(v) else str(int(v)) if v.is_integer() and abs(v) < 1e15 else repr(v) for v in row]
