"""``BatchCreatorImage`` of the original library as samplers of patches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from neuromancer.errors import ArgumentError, nearest_name
from neuromancer.models.model import Model
from neuromancer.train.data.geometric import Flip
from neuromancer.train.data.intensity import GreyValues
from neuromancer.train.data.patches import PatchSampler
from neuromancer.train.data.volumes import LabelledVolume
from neuromancer.train.data.warp import Warp
from neuromancer.train.old_config.findings import Findings
from neuromancer.volumes.objects import open_array

INIT = (
    "d_path", "l_path", "d_files", "l_files", "cube_prios", "valid_cubes", "border_mode", "aniso_factor",
    "target_vec_ix", "target_discrete_ix", "target_dtype", "h5stream", "zxy", "input_node", "target_node",
)  # fmt: skip
UNUSED = ("input_node", "target_node", "target_discrete_ix", "target_dtype")
"""Arguments that the model already answers: nodes, and dtype and kind of the target."""
BATCH = {
    "ignore_thresh": "write False: voxels with negative labels are ignored, and the loss is scaled by the number of "
    "labelled ones; to favour rare classes, write PatchSampler(balance=...) in create_data(model)",
    "affinities": "write create_data(model) with PatchSampler(..., targets=AffinityTargets(nhood)), docs/malis.md",
    "nhood_targets": "write create_data(model) with PatchSampler(..., targets=AffinityTargets(nhood)), docs/malis.md",
    "ret_ll_mask": "write False; masks are LabelledVolume(..., extras={node: array}) in create_data(model)",
    "ret_example_weights": "write False; weights are LabelledVolume(..., extras={node: array}) in create_data(model)",
}
"""Arguments of ``getbatch`` without a counterpart, and what to write instead."""
WARP = ("sample_aniso", "lock_z", "no_x_flip", "perspective", "warp_amount")
ROTATION, SCALING, SHEAR, TILT = 20.0, 0.1, 0.1, 5.0
"""Largest rotation in the plane in degrees, scaling, shear, and rotation out of the plane of a warp of amount 1."""


@dataclass(frozen=True)
class OnChannels:
    """An augmentation of grey values for some channels only.

    Parameters
    ----------
    function : callable
    channels : tuple of int
    """

    function: Any
    channels: tuple[int, ...]

    def __call__(self, raw: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return the changed raw patch and the same labels."""
        chosen = list(self.channels)
        raw = raw.copy()
        raw[chosen] = self.function(raw[chosen], labels, rng)[0]
        return raw, labels


class Cubes:
    """The arguments of a ``BatchCreatorImage``, checked.

    Parameters
    ----------
    init, batch : mapping of str to value
        ``data_init_kwargs`` and ``data_batch_args``.
    folder : Path
        Folder of the configuration file, where relative paths are looked up as well.
    findings : Findings
        Gets what cannot be translated.
    """

    def __init__(self, init: Mapping[str, Any], batch: Mapping[str, Any], folder: Path, findings: Findings) -> None:
        self.init, self.options, self.folder, self.findings = dict(init), dict(batch), folder, findings
        findings.check_names("data_init_kwargs", init, INIT)
        findings.check_names(
            "data_batch_args", batch, ("grey_augment_channels", "warp", "warp_args", "force_dense", *BATCH)
        )
        for key, instead in BATCH.items():
            if batch.get(key):
                findings.refuse(f"data_batch_args[{key!r}]", batch[key], instead)
        if init.get("target_vec_ix"):
            findings.refuse(
                "data_init_kwargs['target_vec_ix']", init["target_vec_ix"],
                "warps do not rotate vectors; write create_data(model) with an augmentation (raw, labels, rng)",
            )  # fmt: skip
        if init.get("border_mode", "crop") not in ("crop", "keep", "mirror"):
            findings.refuse(
                "data_init_kwargs['border_mode']", init["border_mode"],
                "write 'crop', or 'mirror' to mirror the raw data at its borders",
            )  # fmt: skip
        self.raw, self.labels = self._files("d"), self._files("l")
        self.valid = self._valid_cubes()
        self._check_numbers()
        self._check_warp()

    # ---- checks
    def _files(self, kind: str) -> list[tuple[Path, str]]:
        """Return the files of raw data or labels with their data sets, after a look at each."""
        key = f"data_init_kwargs['{kind}_files']"
        given = self.init.get(f"{kind}_files")
        if not isinstance(given, (list, tuple)) or not given:
            self.findings.refuse(key, given, "needs a list of (file, data set)")
            return []
        place = Path(str(self.init.get(f"{kind}_path") or "")).expanduser()
        found = []
        for item in given:
            if not isinstance(item, (list, tuple)) or len(item) != 2 or not all(isinstance(v, str) for v in item):
                self.findings.refuse(key, item, "needs a list of (file, data set)")
                continue
            path = located(place / Path(item[0]).expanduser(), self.folder)
            trouble = trouble_of(path, item[1])
            if trouble:
                self.findings.refuse(key, item, trouble)
            found.append((path, item[1]))
        return found

    def _valid_cubes(self) -> list[int]:
        given = self.init.get("valid_cubes")
        numbers = [] if given is None else list(given) if isinstance(given, (Sequence, np.ndarray)) else [given]
        n = len(self.raw)
        if not all(isinstance(i, (int, np.integer)) and 0 <= i < n for i in numbers):
            self.findings.refuse(
                "data_init_kwargs['valid_cubes']", given, f"needs numbers of d_files, 0 to {max(0, n - 1)}"
            )
            return []
        if n and len(set(numbers)) == n:
            self.findings.refuse("data_init_kwargs['valid_cubes']", given, "leaves no cube for training")
        return [int(i) for i in numbers]

    def _check_numbers(self) -> None:
        if len(self.raw) != len(self.labels):
            self.findings.refuse(
                "data_init_kwargs['l_files']", f"{len(self.labels)} files", f"needs {len(self.raw)}, one per d_files"
            )
        prios = self.init.get("cube_prios")
        n = len(self.raw)
        if prios is not None and len(prios) not in (n, n - len(self.valid)):
            self.findings.refuse(
                "data_init_kwargs['cube_prios']", prios, f"needs {n - len(self.valid)} numbers, one per training cube"
            )

    def _check_warp(self) -> None:
        warp, details = self.options.get("warp"), self.options.get("warp_args") or {}
        if not isinstance(details, Mapping):
            self.findings.refuse("data_batch_args['warp_args']", details, f"needs a dict with keys of {WARP}")
            self.options["warp_args"] = {}
            return
        self.findings.check_names("data_batch_args['warp_args']", details, WARP)
        if details.get("perspective"):
            self.findings.refuse(
                "data_batch_args['warp_args']['perspective']", details["perspective"],
                "write False; for more deformation, write PatchSampler(augment=[Warp(elastic=...)]) in "
                "create_data(model)",
            )  # fmt: skip
        if warp is not None and not (isinstance(warp, (bool, int, float)) and 0 <= warp <= 1):
            self.findings.refuse("data_batch_args['warp']", warp, "needs a probability between 0 and 1, True or False")

    # ---- samplers
    def samplers(self, model: Model, batch_size: int, seed: int) -> tuple[PatchSampler, PatchSampler | None]:
        """Return the samplers of the training cubes, with augmentations, and of the validation cubes."""
        self._check_dense(model)
        prios = self.init.get("cube_prios")
        training = [i for i in range(len(self.raw)) if i not in self.valid]
        weights: dict[int, Any] = {}
        if prios is not None:
            numbers = range(len(self.raw)) if len(prios) == len(self.raw) else training
            weights = {i: float(w) for i, w in zip(numbers, prios, strict=True)}
        options: dict[str, Any] = {
            "batch_size": batch_size, "pad_raw": self.init.get("border_mode") == "mirror",
        }  # fmt: skip
        volumes = [self._volume(model, i, weights.get(i)) for i in training]
        sampler = PatchSampler(model, volumes, augment=self._augment(model), seed=seed, **options)
        if not self.valid:
            return sampler, None
        held_out = [self._volume(model, i, None) for i in self.valid]
        return sampler, PatchSampler(model, held_out, seed=seed + 1, **options)

    def _check_dense(self, model: Model) -> None:
        """Refuse dense targets of a network that predicts strided voxels."""
        node = model.prediction_node
        strided = node is not None and node.shape is not None and any(s != 1 for s in node.shape.strides)
        if self.options.get("force_dense") and strided:
            raise ArgumentError(
                "a target has the voxels that the network predicts", where="data_batch_args['force_dense']", got=True,
                expected="False, or a network that predicts every voxel (Conv(..., mfp=True), FragmentsToDense)",
            )  # fmt: skip

    def _axes(self, model: Model, raw: Any, labels: Any) -> str | None:
        """Return the order of the axes of a cube: that of the network, or with z last if ``zxy`` is False.

        A network of two axes is trained on the slices of a cube.
        """
        node = model.input_node
        if node is None or node.shape is None:
            return None
        tags = [node.shape.tags[i] for i in node.shape.spatial_axes]
        if len(tags) == 2 and "z" not in tags:
            channels = node.shape["f"] if node.shape.hastag("f") else 1
            stack = raw.ndim == 4 or (raw.ndim == labels.ndim == 3 and raw.shape[0] != channels)
            tags = ["z", *tags] if stack else tags
        if self.init.get("zxy", True) or len(tags) != 3:
            return "".join(tags) if len(tags) != node.shape.ndim else None
        first, *others = tags
        return "".join([*others, first])

    def _volume(self, model: Model, number: int, weight: float | None) -> LabelledVolume:
        raw, labels = (self._array(files[number]) for files in (self.raw, self.labels))
        axes = self._axes(model, open_array(raw, "raw"), open_array(labels, "labels"))
        return LabelledVolume(raw, labels, axes=axes, weight=weight)

    def _array(self, file: tuple[Path, str]) -> Any:
        """Return a data set in memory, or with ``h5stream`` a path, of which only patches are read."""
        if self.init.get("h5stream"):
            return f"{file[0]}:{file[1]}"
        with h5py.File(file[0], "r") as opened:
            return opened[file[1]][()]

    def _augment(self, model: Model) -> list[Any]:
        changes: list[Any] = []
        warp, details = self.options.get("warp"), self.options.get("warp_args") or {}
        tags = (
            []
            if model.input_node is None
            else [model.input_node.shape.tags[i] for i in model.input_node.shape.spatial_axes]
        )
        if warp:
            amount = float(details.get("warp_amount", 1.0))
            plane = "".join(tags[-2:])
            rotation = {plane: ROTATION * amount}
            if len(tags) == 3 and not details.get("lock_z", True):
                rotation[tags[0] + tags[1]] = TILT * amount
            aniso = self.init.get("aniso_factor") or 2
            spacing = (float(aniso), 1.0, 1.0) if len(tags) == 3 and details.get("sample_aniso", True) else None
            changes.append(
                Warp(rotation, scaling=SCALING * amount, shear=SHEAR * amount, spacing=spacing, p=float(warp))
            )
            changes.append(Flip("".join(tag for tag in tags if not (tag == "x" and details.get("no_x_flip")))))
        channels = self._grey_channels(model)
        if channels:
            changes.append(OnChannels(GreyValues(gamma=0.5), channels))
        return changes

    def _grey_channels(self, model: Model) -> tuple[int, ...]:
        """Return the channels whose grey values change; raise ArgumentError for one that the network does not have."""
        given = self.options.get("grey_augment_channels")
        channels = () if given is None else tuple(int(c) for c in given)
        node = model.input_node
        n = node.shape["f"] if node is not None and node.shape is not None and node.shape.hastag("f") else 1
        if any(not 0 <= c < n for c in channels):
            raise ArgumentError(
                "no such channel",
                where="data_batch_args['grey_augment_channels']",
                got=given,
                expected=f"channels of the raw data, 0 to {n - 1}",
            )
        return channels


def located(path: Path, folder: Path) -> Path:
    """Return a path relative to the working directory, or to a folder if it exists only there."""
    return folder / path if not path.exists() and (folder / path).exists() else path


def trouble_of(path: Path, key: str | None) -> str:
    """Return what is wrong with a data set of an HDF5 file; empty if nothing is."""
    if not path.is_file():
        return f"no such file: {path}"
    try:
        with h5py.File(path, "r") as file:
            names = [name for name, item in file.items() if isinstance(item, h5py.Dataset)]
            if key is None:
                return "" if len(names) == 1 else f"name the data set, (path, key); the file has {names}"
            if isinstance(file.get(key), h5py.Dataset):
                return ""
    except OSError as error:
        return f"not an HDF5 file: {error}"
    near = nearest_name(key, names)
    return f"no such data set; nearest valid: {near!r}" if near else f"no such data set; the file has {names}"
