"""Weights in files of Keras, found by layer and name. Shapes are known before anything is read."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from neuromancer.errors import FileError, translating
from neuromancer.interop.keras.options import is_number

EXPANSION = 1024
"""Bytes that a byte of compressed data can stand for."""
SMALL = 1 << 20
"""Bytes of an array that need no proof."""
DTYPES = {"float32": "<f4", "int32": "<i4", "bool": "|u1", "float16": "<f2", "uint8": "|u1", "uint16": "<u2"}
"""Types in binaries of TensorFlow.js."""


@dataclass(frozen=True)
class Place:
    """A layer among those of its network: its name, and the name under which archives of Keras 3 store it."""

    name: str
    key: str


@dataclass(frozen=True)
class Entry:
    """A stored array that was not read yet."""

    name: str
    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]


class Weights(Protocol):
    """Stored weights."""

    def find(self, path: Sequence[Place], names: Sequence[str], position: int) -> Entry | None:
        """Return a weight of a layer, by one of several names or its position among the layer's weights."""


def suffixes(path: Sequence[Place], name: str) -> Iterator[str]:
    """Yield the names of a weight, from the longest to the shortest: with all networks around it, then with fewer."""
    parts = [place.name for place in path]
    for start in range(len(parts)):
        yield "/".join([*parts[start:], name])


def _matching(stored: Sequence[str], path: Sequence[Place], names: Sequence[str]) -> str | None:
    """Return the stored name that ends with most of a path, if there is just one."""
    for name in names:
        for suffix in suffixes(path, name):
            found = [s for s in stored if s == suffix or s.endswith("/" + suffix)]
            exact = [s for s in found if s == suffix]
            if len(found) == 1 or exact:
                return (exact or found)[0]
    return None


# ---- HDF5
@contextmanager
def _opened(place: Path, file: Any) -> Iterator[Any]:
    import h5py

    with translating(place, "the weights cannot be read"), h5py.File(file, "r") as opened:
        yield opened


def _child(group: Any, name: str, place: Path) -> Any:
    """Return a member of a group, or None; links to other places are refused."""
    import h5py

    for part in [p for p in name.split("/") if p]:
        link = group.get(part, getlink=True) if isinstance(group, h5py.Group) else None
        if link is None:
            return None
        if not isinstance(link, h5py.HardLink):
            raise FileError("a link leads out of its group", where=str(place), got=f"{name!r}: {type(link).__name__}")
        group = group[part]
    return group


def _entry(dataset: Any, address: str, place: Path, file: Any) -> Entry:
    """Return an entry for a dataset whose data lie in the file itself."""
    import h5py

    if not isinstance(dataset, h5py.Dataset):
        raise FileError("a weight is not an array", where=str(place), got=f"{address!r}: {type(dataset).__name__}")
    if dataset.is_virtual or dataset.external:
        raise FileError("a weight lies in another file", where=str(place), got=repr(address))
    if dataset.dtype.kind not in "fiub" or dataset.shape is None:
        raise FileError("a weight is not numeric", where=str(place), got=f"{address!r}: {dataset.dtype}")
    size = prod(dataset.shape) * dataset.dtype.itemsize
    if size > max(SMALL, dataset.id.get_storage_size() * EXPANSION):
        raise FileError("an array claims more than it holds", where=str(place), got=f"{address!r} of {dataset.shape}")

    def read() -> np.ndarray:
        with _opened(place, file) as opened:
            return np.asarray(_child(opened, address, place)[()])

    return Entry(address, tuple(dataset.shape), read)


class GroupWeights:
    """Weights of an ``.h5`` file: one group per layer of the outermost network, with names of all weights below."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._names: dict[str, list[str]] = {}

    def find(self, path: Sequence[Place], names: Sequence[str], position: int) -> Entry | None:
        """Return a weight of a layer."""
        with _opened(self.place, self.place) as file:
            group = _child(file, "model_weights", self.place)
            group = None if group is None else _child(group, path[0].name, self.place)
            if group is None:
                return None
            if path[0].name not in self._names:
                self._names[path[0].name] = [_decoded(n) for n in group.attrs.get("weight_names", ())]
            stored = self._names[path[0].name]
            plain = {re.sub(r":\d+$", "", name): name for name in stored}
            found = _matching(list(plain), path, names)
            if found is None and len(path) == 1:
                # The weights may bear a name that the layer had when it was made.
                found = next((p for n in names for p in plain if p.rpartition("/")[2] == n), None)
            if found is None:
                return None
            dataset = _child(group, plain[found], self.place)
            if dataset is None:
                return None
            address = f"model_weights/{path[0].name}/{plain[found]}"
            return _entry(dataset, address, self.place, self.place)


def _decoded(name: Any) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)


class ArchiveWeights:
    """Weights of a ``.keras`` archive: groups in groups, with numbered arrays."""

    def __init__(self, place: Path, data: io.BytesIO) -> None:
        self.place, self.data = place, data
        self._known: dict[str, dict[str, str]] = {}

    def find(self, path: Sequence[Place], names: Sequence[str], position: int) -> Entry | None:
        """Return a weight of a layer."""
        with _opened(self.place, self.data) as file:
            # A layer that several networks share is stored once, in the outermost of them.
            for start in range(len(path)):
                address = self._address(file, path[start:])
                dataset = None if address is None else _child(file, f"{address}/vars/{position}", self.place)
                if dataset is not None:
                    return _entry(dataset, f"{address}/vars/{position}", self.place, self.data)
        return None

    def _address(self, group: Any, path: Sequence[Place]) -> str | None:
        address = ""
        for layer in path:
            found = self._member(address, group, layer)
            group = None if found is None else _child(group, found, self.place)
            if group is None:
                return None
            address = f"{address}/{found}"
        return address

    def _member(self, address: str, group: Any, layer: Place) -> str | None:
        if address not in self._known:
            self._known[address] = self._members(group)
        return self._known[address].get(layer.name, self._known[address].get("\0" + layer.key))

    def _members(self, group: Any) -> dict[str, str]:
        """Return the places of layers in a group, by the name that they bear; or by kind if they bear none."""
        members: dict[str, str] = {}
        for container in ("layers", "_layer_checkpoint_dependencies"):
            inner = _child(group, container, self.place)
            for key in inner if inner is not None else ():
                variables = _child(inner, f"{key}/vars", self.place)
                name = None if variables is None else variables.attrs.get("name")
                members["\0" + key if name is None else _decoded(name)] = f"{container}/{key}"
        return members


# ---- TensorFlow.js
class BinaryWeights:
    """Weights of a TensorFlow.js model: groups of arrays, one behind another, cut into files."""

    def __init__(self, place: Path, manifest: Any) -> None:
        self.place = place
        self._entries: dict[str, Entry] = {}
        if not isinstance(manifest, list):
            raise self._wrong("the manifest of weights is not a list", type(manifest).__name__)
        for group in manifest:
            self._add(group)

    def find(self, path: Sequence[Place], names: Sequence[str], position: int) -> Entry | None:
        """Return a weight of a layer."""
        found = _matching(list(self._entries), path, names)
        return None if found is None else self._entries[found]

    def _wrong(self, problem: str, got: Any, expected: Any = None) -> FileError:
        return FileError(problem, where=str(self.place), got=got, expected=expected)

    def _add(self, group: Any) -> None:
        if not isinstance(group, dict) or not all(isinstance(group.get(k), list) for k in ("paths", "weights")):
            raise self._wrong("a group of weights is damaged", type(group).__name__, "lists 'paths' and 'weights'")
        files = [self._file(path) for path in group["paths"]]
        at = 0
        for spec in group["weights"]:
            at = self._add_array(spec, files, at)
        held = sum(file.stat().st_size for file in files)
        if held != at:
            raise self._wrong("the binaries have another size than the arrays in them", f"{held} bytes", f"{at} bytes")

    def _file(self, path: Any) -> Path:
        if not isinstance(path, str) or not path or "\\" in path or ":" in path or "\0" in path:
            raise self._wrong("the path of a binary is not valid", repr(path)[:100], "a file beside model.json")
        folder = self.place.parent.resolve()
        file = (folder / path).resolve()
        if not file.is_relative_to(folder):
            raise self._wrong("a binary lies outside the folder of the model", path[:100], "a file beside model.json")
        if not file.is_file():
            raise self._wrong("a binary is missing", path[:100], "all files of the model in one folder")
        return file

    def _add_array(self, spec: Any, files: list[Path], at: int) -> int:
        quantised = spec.get("quantization") if isinstance(spec, dict) else None
        quantised = quantised if isinstance(quantised, dict) else {}
        name, shape = (spec.get("name"), spec.get("shape")) if isinstance(spec, dict) else (None, None)
        dtype = quantised.get("dtype", spec.get("dtype")) if isinstance(spec, dict) else None
        right = isinstance(shape, list) and len(shape) <= 8 and all(type(n) is int and 0 <= n < 1 << 40 for n in shape)
        if not isinstance(name, str) or not isinstance(shape, list) or not right or dtype not in DTYPES:
            raise self._wrong("an array is described wrongly", f"{name!r}, {shape!r}, {dtype!r}"[:200])
        scale, low = quantised.get("scale", 1.0), quantised.get("min", 0.0)
        if not is_number(scale) or not is_number(low):
            raise self._wrong("the quantisation of an array is damaged", f"{name!r}: {scale!r}, {low!r}"[:200])
        count, kind = prod(shape), np.dtype(DTYPES[dtype])
        size = count * kind.itemsize

        def read() -> np.ndarray:
            data = np.frombuffer(self._bytes(files, at, size), kind).astype("float32").reshape(shape)
            return data * np.float32(scale) + np.float32(low) if "scale" in quantised else data

        self._entries[name] = Entry(name, tuple(shape), read)
        return at + size

    def _bytes(self, files: list[Path], at: int, size: int) -> bytes:
        """Read a part of files that are thought of as one."""
        parts = []
        with translating(self.place, "the weights cannot be read"):
            for file in files:
                length = file.stat().st_size
                if at < length and size:
                    with file.open("rb") as opened:
                        opened.seek(at)
                        parts.append(opened.read(min(size, length - at)))
                    size -= len(parts[-1])
                at = max(0, at - length)
        if size:
            raise self._wrong("a binary is shorter than before", f"{size} bytes missing")
        return b"".join(parts)
