"""Volumes of BigDataViewer (BDV): an XML file that describes an HDF5 file or an N5 folder; read only."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import h5py
import numpy as np

from neuromancer.errors import FileError
from neuromancer.places import kind_at
from neuromancer.volumes import hdf5, tensorstores
from neuromancer.volumes.cf import unpacked
from neuromancer.volumes.opened import Opened
from neuromancer.volumes.placement import StatedPlacement
from neuromancer.volumes.stored import file_identity, member

MOST = 64 << 20
"""Maximum size of a description, in bytes."""
FORMATS = {"bdv.hdf5": "hdf5", "bdv.n5": "n5"}
"""Image loaders, and the element that names their file."""
FACTORS = "downsamplingFactors"


@dataclass(frozen=True)
class View:
    """One image of a data set: a setup (channel, angle, tile) at a time point.

    Parameters
    ----------
    setup, time : int
    placement : StatedPlacement
        Of the finest level, x first.
    """

    setup: int
    time: int
    placement: StatedPlacement

    @property
    def name(self) -> str:
        """Name as in N5, for both formats."""
        return f"setup{self.setup}/timepoint{self.time}"


def open_stored(path: str, dataset: str, label: str) -> Opened:
    """Open a view; the only one, if none is named, at its finest level, if none is named."""
    root = _parsed(Path(path), label)
    form, store = _store(root, Path(path), label)
    views = {view.name: view for view in _views(root, label)}
    name, _, level = dataset.strip("/").partition("/s") if "/s" in dataset.strip("/")[1:] else (dataset, "", "0")
    view = views[member(views, name.strip("/"), label)]
    if form == "n5":
        opened = tensorstores.open_stored(str(store), f"{view.name}/s{level or 0}", label)
        factors = _factors_n5(store, view, int(level) if level.isdecimal() else 0)
    else:
        opened, factors = _open_hdf5(store, view, int(level) if level.isdecimal() else 0, label)
    identity = f"{file_identity(path)} {opened.identity}"
    return replace(opened, axes="zyx", placement=_at_level(view.placement, factors), identity=identity)


def _parsed(path: Path, label: str) -> Any:
    """Return the root of the description, whose entities are not expanded."""
    if path.stat().st_size > MOST:
        raise FileError("is too large for a description", where=label, got=f"{path.stat().st_size} bytes")
    text = path.read_bytes()
    if re.search(rb"<!\s*(DOCTYPE|ENTITY)", text, re.IGNORECASE):
        raise FileError("declares entities", where=label, expected="XML without a document type")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise FileError("is no valid XML", where=label, got=str(error)) from error
    if root.tag != "SpimData":
        raise FileError("describes no volume", where=label, got=f"<{root.tag}>", expected="<SpimData> of BigDataViewer")
    return root


def _store(root: Any, path: Path, label: str) -> tuple[str, Path]:
    """Return the format of the voxels, and their file or folder."""
    loader = root.find("SequenceDescription/ImageLoader")
    form = "" if loader is None else str(loader.get("format"))
    place = None if form not in FORMATS else loader.find(FORMATS[form])
    if place is None or not place.text:
        expected = f"one of {tuple(FORMATS)}"
        raise FileError("the format of its voxels cannot be read", where=label, got=form, expected=expected)
    base = (root.findtext("BasePath") or ".").strip()
    relative = place.get("type", "relative") == "relative"
    store = path.parent / base / place.text.strip() if relative else Path(place.text.strip())
    wanted = "a folder" if form == "bdv.n5" else "a file"
    if kind_at(store) != wanted:
        got = f"{store} is {kind_at(store) or 'missing'}"
        raise FileError("the voxels that it describes are not there", where=label, got=got, expected=wanted)
    return FORMATS[form], store


def _views(root: Any, label: str) -> list[View]:
    """Return all views in the order of the file, without missing ones."""
    sequence = root.find("SequenceDescription")
    try:
        setups = {int(s.findtext("id")): _voxel_size(s) for s in sequence.iterfind("ViewSetups/ViewSetup")}
        gone = {(int(v.get("timepoint")), int(v.get("setup"))) for v in sequence.iterfind("MissingViews/MissingView")}
        times = _times(sequence.find("Timepoints"))
        moved = {
            (int(r.get("timepoint")), int(r.get("setup"))): _affine(r)
            for r in root.iterfind("ViewRegistrations/ViewRegistration")
        }
    except (TypeError, ValueError, AttributeError) as error:
        raise FileError("its views cannot be understood", where=label, got=str(error)) from error
    return [
        View(setup, time, _placed(stated, moved.get((time, setup))))
        for setup, stated in setups.items()
        for time in times
        if (time, setup) not in gone
    ]


def _times(described: Any) -> Sequence[int]:
    kind = described.get("type")
    if kind == "range":
        return range(int(described.findtext("first")), int(described.findtext("last")) + 1)
    text = described.findtext("integerpattern") or ""
    if kind != "pattern" or not re.fullmatch(r"[\d,\s-]+", text):
        raise ValueError(f"time points {kind!r} {text!r}"[:80])
    ends = [part.strip().partition("-") for part in text.split(",")]
    return [t for a, _, b in ends for t in range(int(a), int(b or a) + 1)]


def _voxel_size(setup: Any) -> StatedPlacement:
    sizes, unit = setup.findtext("voxelSize/size"), setup.findtext("voxelSize/unit")
    return StatedPlacement(None if sizes is None else sizes.split(), unit=unit)


def _affine(registration: Any) -> np.ndarray:
    """Return the matrix from voxel to position; the last transformation of the list comes first."""
    matrix = np.eye(4)
    for step in registration.iterfind("ViewTransform"):
        rows = np.array([float(v) for v in (step.findtext("affine") or "").split()])
        matrix = matrix @ np.vstack([rows.reshape(3, 4), [0, 0, 0, 1]])
    return matrix


def _placed(stated: StatedPlacement, affine: np.ndarray | None) -> StatedPlacement:
    """Return the placement with the position, if the image is only moved, not turned or scaled."""
    with suppress(TypeError, ValueError):
        sizes = np.array([float(v) for v in stated.voxel_size])
        if affine is not None and np.allclose(affine[:3, :3], np.diag(sizes), rtol=1e-4, atol=1e-9):
            return replace(stated, offset=affine[:3, 3].tolist())
    return stated


def _open_hdf5(file: Path, view: View, level: int, label: str) -> tuple[Opened, Any]:
    """Open a level of a view in an HDF5 file; return its downsampling factors, too."""
    name = f"t{view.time:05d}/s{view.setup:02d}/{level}/cells"
    opened = hdf5.open_stored(str(file), name, label)
    with h5py.File(file, "r") as data:
        name = f"s{view.setup:02d}/resolutions"
        hdf5.require_target(data, name, label)
        rows = data.get(name)
        factors = rows[level].tolist() if isinstance(rows, h5py.Dataset) and level < len(rows) else None
    # BigDataViewer stores unsigned voxels in a signed type.
    return unpacked(opened, {"_Unsigned": "true"} if opened.array.dtype.kind == "i" else {}), factors


def _factors_n5(store: Path, view: View, level: int) -> Any:
    """Return the downsampling factors of a level: of its own attributes, or else in the list of its setup."""
    own = tensorstores.attributes_of(store / view.name / f"s{level}").get(FACTORS)
    listed = tensorstores.attributes_of(store / f"setup{view.setup}").get(FACTORS)
    return own if own is not None or not isinstance(listed, list) or level >= len(listed) else listed[level]


def _at_level(stated: StatedPlacement, factors: Any) -> StatedPlacement:
    """Return the placement of a coarser level, z first."""
    sizes, offset = stated.voxel_size, stated.offset
    with suppress(TypeError, ValueError):
        if factors is not None and sizes is not None and len(sizes) == len(factors):
            fine = [float(s) for s in sizes]
            offset = [o + (f - 1) / 2 * s for o, f, s in zip(offset or [0.0] * 3, factors, fine, strict=True)]
            sizes = [s * f for s, f in zip(fine, factors, strict=True)]
    return StatedPlacement(sizes and sizes[::-1], offset and offset[::-1], stated.unit)
