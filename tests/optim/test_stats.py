"""Tables of statistics."""

from __future__ import annotations

import numpy as np

from neuromancer.optim.stats import StatsTable


def test_values_and_text():
    table = StatsTable.of({"w": np.array([[1.0, -3.0], [2.0, 0.0]]), "bias": np.zeros(0)})
    row = table.data["w"]
    assert (row["shape"], row["mean"], row["median_abs"]) == ((2, 2), 0.0, 1.5)
    assert abs(row["std"] - np.std([1, -3, 2, 0])) < 1e-12
    assert np.isnan(table.data["bias"]["mean"])
    lines = str(table).splitlines()
    assert lines[0].split() == ["name", "shape", "mean", "std", "median_abs"]
    assert lines[1].startswith("w     (2, 2)")
    assert len(lines) == 3
