"""Data and files of old configurations."""

from __future__ import annotations

import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

import neuromancer as nm


@pytest.fixture
def data(tmp_path):
    """Two labelled cubes of HDF5; the labels are centred in the raw data."""
    rng = np.random.default_rng(0)
    for number in range(2):
        labels = np.kron(rng.integers(0, 2, (4, 5, 5)), np.ones((3, 4, 4))).astype("int16")
        raw = np.pad(labels, ((2, 2), (6, 6), (6, 6)), mode="edge") * 150 + rng.integers(0, 50, (16, 32, 32))
        with h5py.File(tmp_path / f"raw_{number}.h5", "w") as file:
            file["raw"] = raw.astype("uint8")
        with h5py.File(tmp_path / f"lab_{number}.h5", "w") as file:
            file["lab"] = labels
    return tmp_path


@pytest.fixture
def config(data):
    """Write a configuration, and clean up what executing it leaves."""
    before = set(nm.model_manager.models)

    def write(text: str, name: str = "old_style") -> Path:
        path = data / f"{name}.py"
        path.write_text(text.replace("SAVE_PATH", repr(str(data / "out"))).replace("DATA_PATH", repr(str(data))))
        forget()
        return path

    def forget() -> None:
        for name in set(nm.model_manager.models) - before | {"default"} & set(nm.model_manager.models):
            nm.model_manager.delmodel(name)

    yield write
    forget()
    sys.modules.pop("old_style", None)
    sys.path[:] = [p for p in sys.path if p != str(data)]
