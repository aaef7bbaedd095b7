"""Saving a model."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING

from neuromancer import engine as E
from neuromancer.io.container import write_file
from neuromancer.io.describe import describe, own_functors
from neuromancer.io.summary import summary_of
from neuromancer.places import local_target
from neuromancer.printable import printable

if TYPE_CHECKING:
    from neuromancer.optim.trainable import TrainableGraph


def write(model: TrainableGraph, path: str | os.PathLike[str]) -> None:
    """Write a model to an HDF5 file, without warnings about functions that loading it requires."""
    target = local_target(path, "model file")
    document, arrays = describe(model)
    write_file(target, document, arrays, summary_of(model))


def save(model: TrainableGraph, path: str | os.PathLike[str]) -> None:
    """Write a model to an HDF5 file; see :meth:`neuromancer.Model.save`."""
    write(model, path)
    # Warn only about the engine's functions, which look as if files could name them; users know about their own.
    foreign = [name for name, f in own_functors(model).items() if any(f is known for known in vars(E.T).values())]
    if foreign:
        given = ", ".join(f"{name!r}: {name.rpartition(':')[2]}" for name in foreign)
        warnings.warn(
            f"{printable(str(path))}: no file can name the functions {foreign} of the engine; to load the model, "
            f"pass them to modelload(..., functors={{{given}}}), or use elementwise, reduction or shape functions",
            stacklevel=3,
        )
