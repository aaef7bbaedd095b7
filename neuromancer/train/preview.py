"""Predictions of preview volumes during training."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neuromancer.dense.predict import plan_dense
from neuromancer.errors import ArgumentError, InputTypeError, NeuromancerError, ShapeError
from neuromancer.graph.patches import patch_source
from neuromancer.masked import computed
from neuromancer.train.files import literal, write_arrays
from neuromancer.train.plots import plot_slices, slices_png
from neuromancer.train.validation import undisturbed
from neuromancer.utils import safe_file_name

if TYPE_CHECKING:
    from neuromancer.models.model import Model

Pair = tuple[np.ndarray, np.ndarray | None]


class Preview:
    """Dense predictions of volumes, written to files.

    The constructor checks that the network can predict the volumes, and copies them.

    Parameters
    ----------
    model : Model
        With a prediction node.
    volumes : array, (raw, labels), or mapping of str to these
        Raw data (f, (z,) y, x) as ``predict_dense`` takes it, masked or not, and labels ((z,) y, x) to store and plot
        beside it.
    pictures : bool
        Write a PNG beside every HDF5 file.

    Raises
    ------
    GraphError
        If no prediction node is designated, or it cannot predict densely.
    InputTypeError
        For anything but such volumes.
    ShapeError
        For raw data that the network cannot take, or labels of another size.
    ArgumentError
        For names that lead to the same file names.
    """

    def __init__(self, model: Model, volumes: Any, pictures: bool) -> None:
        named = volumes if isinstance(volumes, Mapping) else {"preview": volumes}
        if not named:
            raise InputTypeError("no volumes", where="preview", got=repr(volumes), expected=EXPECTED)
        self.model, self.pictures = model, pictures
        self.volumes: dict[str, Pair] = {}
        for name, volume in named.items():
            file = safe_file_name(str(name))
            if file in self.volumes:
                raise ArgumentError("two previews have the same name", where=f"preview {name}", got=file)
            self.volumes[file] = _pair(name, volume)
        node = model._require("prediction_node")
        for name, (raw, _) in self.volumes.items():
            try:
                plan_dense(node, raw, pad_raw=True)
            except NeuromancerError as error:
                error.add_note(f"preview {name!r}")
                raise

    def files(self, folder: Path) -> list[Path]:
        """Return the files in a folder that are named like these previews."""
        found = [(name, path) for name in self.volumes for path in sorted(folder.glob(f"{literal(name)}-*"))]
        return [p for name, p in found if re.fullmatch(r"\d+\.(h5|png)", p.name.removeprefix(f"{name}-"))]

    def trial(self) -> None:
        """Predict and draw a part of every volume as large as a patch, so that what fails does so before training.

        Raises
        ------
        NeuromancerError, MemoryError, ...
            Whatever the prediction raises, with the name of the preview in a note.
        """
        for name, (raw, labels) in self.volumes.items():
            part = self._part(raw)
            try:
                with undisturbed(self.model):
                    prediction = self.model.predict_dense(part, pad_raw=True, progress=False)
                if self.pictures:
                    slices_png(part, prediction, labels, name)
            except Exception as error:
                error.add_note(f"in a trial of the preview {name!r} before the first step")
                raise

    def _part(self, raw: np.ndarray) -> np.ndarray:
        """Return the middle of a volume with the size of a patch, or all of it if the network cannot take that."""
        node = self.model._require("prediction_node")
        declared, fov = patch_source(node).shape.spatial_shape, node.shape.fov
        patch = [n or max(1, 2 * f) for n, f in zip(declared, fov, strict=True)]
        if raw.ndim <= len(patch):
            return raw
        sizes = [1] * (raw.ndim - 1 - len(patch)) + patch
        starts = [max(0, (n - size) // 2) for n, size in zip(raw.shape[1:], sizes, strict=True)]
        part = raw[(slice(None), *(slice(a, a + size) for a, size in zip(starts, sizes, strict=True)))]
        try:
            plan_dense(node, part, pad_raw=True)
        except NeuromancerError:
            return raw
        return part

    def write(self, folder: Path, step: int) -> list[Path]:
        """Predict all volumes; write ``<name>-<step>.h5`` with raw data, prediction and labels; return the paths."""
        paths = []
        for name, (raw, labels) in self.volumes.items():
            with undisturbed(self.model):
                prediction = self.model.predict_dense(raw, pad_raw=True, progress=False)
            path = folder / f"{name}-{step}.h5"
            arrays = {"prediction": prediction, "raw": raw} | ({} if labels is None else {"labels": labels})
            write_arrays(path, arrays, "lzf")
            paths.append(path)
            if self.pictures:
                paths.append(path.with_suffix(".png"))
                plot_slices(paths[-1], raw, prediction, labels, f"{name}, step {step}")
        return paths


EXPECTED = "raw data, (raw, labels), or several of these as {'name': ...}"


def _pair(name: Any, volume: Any) -> Pair:
    raw, labels = volume if isinstance(volume, (tuple, list)) and len(volume) == 2 else (volume, None)
    if not hasattr(raw, "shape") or (labels is not None and not hasattr(labels, "shape")):
        raise InputTypeError(
            "a preview needs raw data", where=f"preview {name}", got=repr(volume)[:100], expected=EXPECTED
        )
    raw, labels = _copied(raw), None if labels is None else _copied(labels)
    if labels is not None and not _fits(labels, raw):
        raise ShapeError(
            "the labels do not fit the raw data",
            where=f"preview {name}",
            got=f"labels {labels.shape} {labels.dtype}, raw {raw.shape}",
            expected=f"labels {raw.shape[1:]}, or of a part of that; {EXPECTED}",
        )
    return raw, labels


def _copied(array: Any) -> np.ndarray:
    """Return a copy in memory, with its mask."""
    array = computed(array)
    return array.copy() if isinstance(array, np.ma.MaskedArray) else np.array(array)


def _fits(labels: np.ndarray, raw: np.ndarray) -> bool:
    inside = labels.ndim == raw.ndim - 1 and all(n <= m for n, m in zip(labels.shape, raw.shape[1:], strict=True))
    return inside and labels.size > 0 and labels.dtype.kind in "biuf"
