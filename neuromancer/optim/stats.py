"""Tables of statistics of parameters, gradients and activations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuromancer.printable import printable

COLUMNS = ("mean", "std", "median_abs")


@dataclass(frozen=True)
class StatsTable:
    """Statistics of named arrays.

    Parameters
    ----------
    data : dict of str to dict
        ``shape``, ``mean``, ``std`` and ``median_abs`` (median of the absolute values) by name.

    Examples
    --------
    >>> table = StatsTable.of({"w": np.array([1.0, -1.0])})
    >>> table.data["w"]["median_abs"]
    1.0
    >>> print(table.text)
    name  shape  mean  std  median_abs
    w     (2,)      0    1           1
    """

    data: dict[str, dict[str, Any]]

    @classmethod
    def of(cls, arrays: Mapping[str, Any]) -> StatsTable:
        """Compute the statistics of named arrays."""
        return cls({name: _row(np.asarray(array)) for name, array in arrays.items()})

    @property
    def text(self) -> str:
        """The table as aligned lines."""
        rows = [["name", "shape", *COLUMNS]]
        for name, values in self.data.items():
            rows.append([printable(name), str(values["shape"]), *(f"{values[c]:.4g}" for c in COLUMNS)])
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = []
        for line in rows:
            cells = [c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))]
            lines.append("  ".join(cells).rstrip())
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.text


def _row(array: np.ndarray) -> dict[str, Any]:
    values = array.astype("float64")
    if not values.size:
        return {"shape": array.shape, **dict.fromkeys(COLUMNS, float("nan"))}
    return {
        "shape": array.shape,
        "mean": float(values.mean()),
        "std": float(values.std()),
        "median_abs": float(np.median(np.abs(values))),
    }
