"""Files of Keras: HDF5 files, ``.keras`` archives and TensorFlow.js models. Nothing in them is executed."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuromancer.errors import FileError, translating
from neuromancer.interop.keras.weights import ArchiveWeights, BinaryWeights, GroupWeights, Weights
from neuromancer.places import path_text

MAX_TEXT = 64 << 20
"""Largest description of a network, in bytes."""
MAX_DEPTH = 200
"""Deepest nesting of lists and objects in a description."""
MAX_RATIO = 200
"""Largest ratio of compression that is believed."""
CONVERT = "load it with tf.keras and save the network as .h5 or .keras"


@dataclass(frozen=True)
class KerasFile:
    """A stored network.

    Attributes
    ----------
    path : Path
    kind : {'keras', 'h5', 'tfjs'}
    config : dict
        With ``class_name`` and ``config``.
    version : str
        Version of Keras that wrote it, or an empty string.
    weights : Weights
    generator : str
        What wrote the file, if it says so.
    """

    path: Path
    kind: str
    config: Mapping[str, Any]
    version: str
    weights: Weights
    generator: str = ""

    @property
    def major(self) -> int:
        """First number of the version of Keras; 2 if it is not known."""
        head = self.version.partition(".")[0]
        return int(head) if head.isdecimal() and len(head) < 4 else 2


def read_keras(path: Any) -> KerasFile:
    """Read the description of a network, and find its weights.

    Raises
    ------
    FileError
        If there is no such file, it is damaged, holds only weights, or is of another kind.
    """
    place = Path(path_text(path, "path"))
    if place.is_dir():
        if (place / "saved_model.pb").exists():
            raise FileError(
                "a SavedModel holds functions of TensorFlow instead of layers", where=str(place),
                expected="a .keras or .h5 file, or model.json of TensorFlow.js", nearest=CONVERT,
            )  # fmt: skip
        if (place / "model.json").is_file():
            place = place / "model.json"
    with translating(place, "cannot be read as a Keras model", "a .keras or .h5 file, or model.json of TensorFlow.js"):
        with place.open("rb") as file:
            head = file.read(8)
        if head == b"\x89HDF\r\n\x1a\n":
            return _read_hdf5(place)
        if head.startswith(b"PK\x03\x04"):
            return _read_archive(place)
        if head.lstrip()[:1] == b"{":
            return _read_tfjs(place)
        raise FileError(
            "not a Keras model", where=str(place), got=f"a file that begins with {head!r}",
            expected="a .keras or .h5 file, or model.json of TensorFlow.js",
        )  # fmt: skip


def parse(text: bytes | str, where: str) -> Any:
    """Parse JSON of limited size and depth."""
    if len(text) > MAX_TEXT:
        raise FileError("the description is too long", where=where, got=len(text), expected=f"at most {MAX_TEXT} bytes")
    with translating(where, "damaged JSON"):
        document = json.loads(text)
    level, depth = [document], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise FileError("the description is nested too deeply", where=where, expected=f"at most {MAX_DEPTH} levels")
        inner = [v.values() if isinstance(v, dict) else v for v in level if isinstance(v, (dict, list))]
        level = [v for values in inner for v in values]
    return document


def _model_config(document: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(document, dict) or not isinstance(document.get("class_name"), str) or "config" not in document:
        raise FileError(
            "holds no description of a network", where=where, expected="an object with class_name and config"
        )
    return document


def _read_hdf5(place: Path) -> KerasFile:
    import h5py

    with h5py.File(place, "r") as file:
        text = file.attrs.get("model_config")
        if text is None:
            raise FileError(
                "holds weights, but not the network", where=str(place), got="no attribute 'model_config'",
                expected="a file written by model.save", nearest="model.save('model.keras') instead of save_weights",
            )  # fmt: skip
        version = file.attrs.get("keras_version", "")
        has_weights = file.get("model_weights", getlink=True) is not None
    if not has_weights:
        raise FileError("holds no weights", where=str(place), expected="a group 'model_weights'")
    config = _model_config(parse(text, str(place)), str(place))
    return KerasFile(place, "h5", config, _text(version), GroupWeights(place))


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _read_archive(place: Path) -> KerasFile:
    with zipfile.ZipFile(place) as archive:
        config = _model_config(parse(_member(archive, "config.json", place, MAX_TEXT), str(place)), str(place))
        metadata = {}
        if "metadata.json" in archive.namelist():
            metadata = parse(_member(archive, "metadata.json", place, MAX_TEXT), str(place))
        weights = _member(archive, "model.weights.h5", place, place.stat().st_size * MAX_RATIO)
    version = metadata.get("keras_version", "") if isinstance(metadata, dict) else ""
    return KerasFile(place, "keras", config, _text(version), ArchiveWeights(place, io.BytesIO(weights)))


def _member(archive: zipfile.ZipFile, name: str, place: Path, limit: int) -> bytes:
    if name not in archive.namelist():
        raise FileError("is not a Keras archive", where=str(place), got=f"no {name!r}", expected="written by Keras 3")
    info = archive.getinfo(name)
    if info.file_size > min(limit, max(info.compress_size, 1) * MAX_RATIO + 4096):
        raise FileError(
            "the archive claims more than it can hold", where=str(place), got=f"{info.file_size} bytes in {name!r}"
        )
    with archive.open(info) as file:
        data = file.read(info.file_size + 1)
    if len(data) != info.file_size:
        raise FileError("the archive is damaged", where=str(place), got=f"{len(data)} bytes of {name!r}")
    return data


def _read_tfjs(place: Path) -> KerasFile:
    if place.stat().st_size > MAX_TEXT:
        raise FileError("the description is too long", where=str(place), expected=f"at most {MAX_TEXT} bytes")
    document = parse(place.read_bytes(), str(place))
    topology = document.get("modelTopology", document)
    if document.get("format") == "graph-model" or not isinstance(topology, dict) or "node" in topology:
        raise FileError(
            "a graph model of TensorFlow.js holds operations of TensorFlow instead of layers", where=str(place),
            expected="a layers model", nearest=CONVERT,
        )  # fmt: skip
    config = _model_config(topology.get("model_config", topology), str(place))
    if "weightsManifest" not in document:
        raise FileError("holds the network, but not its weights", where=str(place), expected="a list weightsManifest")
    weights = BinaryWeights(place, document["weightsManifest"])
    generator = _text(document.get("generatedBy") or "")
    return KerasFile(place, "tfjs", config, _text(topology.get("keras_version") or ""), weights, generator)
