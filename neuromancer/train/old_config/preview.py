"""Preview data of the original library's configurations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from neuromancer.models.model import Model
from neuromancer.train.old_config.cubes import located, trouble_of
from neuromancer.train.old_config.findings import Findings

ARGUMENTS = ("export_class", "max_z_pred", "zxy")


class PreviewData:
    """A volume in an HDF5 file to predict during training.

    Parameters
    ----------
    given : path or (path, key)
        ``preview_data_path``; without a key, the file has one data set.
    options : mapping of str to value
        ``preview_kwargs``.
    folder : Path
        Folder of the configuration file, where a relative path is looked up as well.
    findings : Findings
        Gets what cannot be translated.
    """

    def __init__(self, given: Any, options: Mapping[str, Any], folder: Path, findings: Findings) -> None:
        findings.check_names("preview_kwargs", options, ARGUMENTS)
        path, key = given if isinstance(given, (tuple, list)) and len(given) == 2 else (given, None)
        self.key: str | None = None if key is None else str(key)
        self.path = located(Path(str(path)).expanduser(), folder)
        trouble = trouble_of(self.path, self.key)
        if trouble:
            findings.refuse("preview_data_path", given, trouble)
        self.zxy = options.get("zxy", True)
        self.n_slices = options.get("max_z_pred")
        whole = isinstance(self.n_slices, (int, np.integer)) and self.n_slices > 0
        if self.n_slices is not None and not whole:
            findings.refuse("preview_kwargs['max_z_pred']", self.n_slices, "needs a number of slices, 1 or more")
        if "export_class" in options:
            findings.remark(f"export_class = {options['export_class']!r}: previews hold all classes")

    def volume(self, model: Model) -> np.ndarray:
        """Return the raw data (f, *spatial), of which ``max_z_pred`` slices in the middle have their full context."""
        with h5py.File(self.path, "r") as file:
            raw: np.ndarray = (file[self.key] if self.key else next(iter(file.values())))[()]
        if not self.zxy and raw.ndim >= 3:
            raw = np.moveaxis(raw, -1, -3)
        ndim = model.ndim or 3
        if raw.ndim == 3 and (ndim == 3 or raw.shape[0] != _channels(model)):
            raw = raw[None]
        elif raw.ndim == 2:
            raw = raw[None]
        if self.n_slices is None or raw.ndim != 4:
            return raw
        shape = model._require("prediction_node").shape
        needed = self.n_slices + (int(shape.fov[0]) - 1 if ndim == 3 and shape.fov[0] > 0 else 0)
        first = max(0, (raw.shape[1] - needed) // 2)
        return raw[:, first : first + needed]


def _channels(model: Model) -> int | None:
    node = model.input_node
    return node.shape["f"] if node is not None and node.shape is not None and node.shape.hastag("f") else None
