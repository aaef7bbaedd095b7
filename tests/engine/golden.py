"""Expected results for all engines, computed once by PyTensor's Python mode (``tests/engine/pytensor``)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

PATH = Path(__file__).with_name("golden.npz")


def expected(group: str, name: str) -> list[np.ndarray]:
    """Return the outputs of a construct or loop, in order."""
    with np.load(PATH) as file:
        keys = sorted(k for k in file.files if k.rpartition("/")[0] == f"{group}/{name}")
        return [file[k] for k in keys]
