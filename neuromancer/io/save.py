"""Saving a model."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from neuromancer.io.container import write_file
from neuromancer.io.describe import describe
from neuromancer.places import local_target

if TYPE_CHECKING:
    from neuromancer.optim.trainable import TrainableGraph


def save(model: TrainableGraph, path: str | os.PathLike[str]) -> None:
    """Write a model into one HDF5 file; see :meth:`neuromancer.Model.save`."""
    target = local_target(path, "model file")
    document, arrays = describe(model)
    write_file(target, document, arrays)
