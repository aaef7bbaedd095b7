"""Segmentations of a block, for worker processes, which import no more than this."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from scipy import ndimage


def components(block: np.ndarray, connectivity: int = 1) -> np.ndarray:
    """Connected components of the first channel."""
    return ndimage.label(block[0], ndimage.generate_binary_structure(block.ndim - 1, connectivity))[0]


def fragile(block: np.ndarray, flag: Path) -> np.ndarray:
    """Components, unless a file exists: then remove it and end the process."""
    if flag.exists():
        flag.unlink()
        os._exit(1)
    return components(block)
