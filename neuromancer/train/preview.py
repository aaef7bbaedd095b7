"""Predictions of given volumes while a network is being trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neuromancer.errors import InputTypeError
from neuromancer.train.files import write_arrays
from neuromancer.train.plots import plot_slices
from neuromancer.train.validation import undisturbed

if TYPE_CHECKING:
    from neuromancer.model import Model


class Preview:
    """Predicts volumes densely and writes the results.

    Parameters
    ----------
    model : Model
        With a prediction node.
    volumes : array, (raw, labels), or mapping of str to these
        Raw data (f, (z,) y, x) as ``predict_dense`` takes it, masked or not, and labels ((z,) y, x) to draw beside it.
    pictures : bool
        Write a PNG beside every HDF5 file.

    Raises
    ------
    InputTypeError
        For anything else.
    """

    def __init__(self, model: Model, volumes: Any, pictures: bool) -> None:
        named = volumes if isinstance(volumes, Mapping) else {"preview": volumes}
        self.model, self.pictures = model, pictures
        self.volumes = {str(name): _pair(name, volume) for name, volume in named.items()}

    def write(self, folder: Path, step: int) -> list[Path]:
        """Predict all volumes; write ``<name>-<step>.h5`` with raw data and prediction; returns what was written."""
        paths = []
        for name, (raw, labels) in self.volumes.items():
            with undisturbed(self.model):
                prediction = self.model.predict_dense(raw, pad_raw=True, progress=False)
            path = folder / f"{name}-{step}.h5"
            write_arrays(path, {"prediction": prediction, "raw": raw}, "lzf")
            paths.append(path)
            if self.pictures:
                paths.append(path.with_suffix(".png"))
                plot_slices(paths[-1], raw, prediction, labels, f"{name}, step {step}")
        return paths


def _pair(name: Any, volume: Any) -> tuple[np.ndarray, np.ndarray | None]:
    raw, labels = volume if isinstance(volume, (tuple, list)) and len(volume) == 2 else (volume, None)
    if not hasattr(raw, "shape") or (labels is not None and not hasattr(labels, "shape")):
        raise InputTypeError(
            "a preview needs raw data",
            node=f"preview {name}",
            got=repr(volume)[:100],
            expected="array, or (raw, labels)",
        )
    return _kept(raw), None if labels is None else _kept(labels)


def _kept(array: Any) -> np.ndarray:
    """As an array in memory; what is masked stays so."""
    return array if isinstance(array, np.ma.MaskedArray) else np.asarray(array)
