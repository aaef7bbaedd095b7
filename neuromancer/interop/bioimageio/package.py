"""Files of a package, in a folder or a zip archive: found, bounded, and checked against their checksums.

Nothing is fetched from elsewhere, and nothing outside the package is read.
"""

from __future__ import annotations

import re
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np

from neuromancer.errors import FileError, naming, short, translating
from neuromancer.interop.bioimageio.text import MAX_TEXT, parse_yaml
from neuromancer.places import is_address, local_file

DESCRIPTIONS = ("bioimageio.yaml", "rdf.yaml", "model.yaml")
ENDINGS = (".bioimageio.yaml", ".rdf.yaml", ".model.yaml")
MAX_FILE = 1 << 36
"""Largest file of a package."""
MAX_MEMBERS = 10_000
MAX_RATIO, ALWAYS = 200, 1 << 26
"""Largest ratio of compression that is believed, for members above so many bytes: test tensors may be all zero."""
MAX_ELEMENTS = 1 << 30
"""Largest test tensor."""
CHUNK = 1 << 20
PAGE = re.compile(r"(https?|ftp|s3)://", re.IGNORECASE)
DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Entry:
    """A file that a description refers to.

    Parameters
    ----------
    source : str
        Path in the package, or an address.
    sha256 : str or None
    """

    source: str
    sha256: str | None = None

    @property
    def is_remote(self) -> bool:
        """Whether the file is elsewhere."""
        return is_address(self.source) or PAGE.match(self.source) is not None


def entry_of(value: Any, what: str, sums: Any = None) -> Entry | None:
    """Return the entry of a description: a path or address, or an object with ``source`` and ``sha256``."""
    if isinstance(value, Mapping):
        value, sums = value.get("source"), value.get("sha256", sums)
    if value is None:
        return None
    if not isinstance(value, str) or not value or "\0" in value:
        raise FileError("the description names no file", where=what, got=short(value), expected="a path")
    if sums is not None and (not isinstance(sums, str) or not DIGEST.fullmatch(sums.lower())):
        raise FileError("the checksum is not one of SHA-256", where=what, got=short(sums), expected="64 hex digits")
    return Entry(value, None if sums is None else sums.lower())


class Package(Protocol):
    """An open package.

    Attributes
    ----------
    label : str
        For messages.
    document : dict
        Content of the description.
    """

    label: str
    document: dict[str, Any]

    def find(self, entry: Entry, what: str) -> Path:
        """Return the path of a file with the right checksum.

        Raises
        ------
        FileError
            If it is elsewhere, missing, outside of the package, too large, or its checksum is wrong.
        """


@contextmanager
def open_package(path: Any) -> Iterator[Package]:
    """Open a package.

    Parameters
    ----------
    path : path
        A folder, a zip archive, or the description in a folder.

    Raises
    ------
    FileError
        If there is none, or its description is damaged.
    """
    place = local_file(path, "path")
    with naming(place, "cannot be read"):
        if place.is_dir():
            yield FolderPackage(place, _described(place))
        elif not place.exists():
            raise FileError("there is no such file", where=str(place), expected="a folder, a .zip or a .yaml file")
        elif zipfile.is_zipfile(place):
            with tempfile.TemporaryDirectory() as folder, _opened(place) as archive:
                yield ZipPackage(place, archive, Path(folder))
        elif place.suffix.lower() in (".yaml", ".yml"):
            yield FolderPackage(place.parent, place)
        else:
            raise FileError("not a package", where=str(place), expected="a folder, a .zip or a .yaml file")


def _described(folder: Path) -> Path:
    known = [folder / name for name in DESCRIPTIONS if (folder / name).is_file()]
    others = (p for p in folder.iterdir() if p.name.endswith(ENDINGS) and p.is_file())
    found = known or sorted(p for p in others if not p.name.startswith("._"))
    if not found:
        raise FileError(
            "holds no description of a model", where=str(folder), expected=f"a file {' or '.join(DESCRIPTIONS)}"
        )
    return found[0]


def _require_inside(source: str, what: str) -> PurePosixPath:
    """Return a relative path without steps upwards."""
    parts = PurePosixPath(source.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or re.match(r"[a-zA-Z]:", source) or not parts.name:
        raise FileError("leads outside of the package", where=what, got=short(source), expected="a path within it")
    return parts


def _require_local(entry: Entry, what: str) -> None:
    if entry.is_remote:
        raise FileError(
            "the file is not in the package, and nothing is fetched",
            where=what,
            got=short(entry.source),
            expected="the whole package; or the file downloaded into it, and its name in the description",
        )


def _require_sum(entry: Entry, found: str, what: str) -> None:
    if entry.sha256 is not None and found != entry.sha256:
        raise FileError(
            "the checksum is wrong: the file is damaged, or another one",
            where=f"{what}, {entry.source}",
            got=f"sha256 {found[:16]}...",
            expected=f"{entry.sha256[:16]}...",
        )


def _copied(source: Any, target: Any, limit: int, what: str) -> str:
    """Copy a file if there is a target, and return its digest; at most `limit` bytes."""
    digest, length = sha256(), 0
    while chunk := source.read(CHUNK):
        length += len(chunk)
        if length > limit:
            raise FileError("the file is too large", where=what, expected=f"at most {limit} bytes")
        digest.update(chunk)
        if target is not None:
            target.write(chunk)
    return digest.hexdigest()


class FolderPackage:
    """A package in a folder.

    Parameters
    ----------
    folder : Path
    description : Path
    """

    def __init__(self, folder: Path, description: Path) -> None:
        self.folder, self.label = folder, str(description)
        if description.stat().st_size > MAX_TEXT:
            raise FileError("the description is too long", where=self.label, expected=f"at most {MAX_TEXT} bytes")
        self.document = parse_yaml(description.read_bytes(), self.label)

    def find(self, entry: Entry, what: str) -> Path:
        _require_local(entry, what)
        place = self.folder / _require_inside(entry.source, what)
        with naming(place, "cannot be read"):
            if not place.is_file():
                raise FileError("the file is missing in the package", where=what, got=short(entry.source))
            if not place.resolve().is_relative_to(self.folder.resolve()):
                raise FileError("a link leads outside of the package", where=what, got=short(entry.source))
            if place.stat().st_size > MAX_FILE:
                raise FileError("the file is too large", where=what, expected=f"at most {MAX_FILE} bytes")
            if entry.sha256 is not None:
                with place.open("rb") as file:
                    _require_sum(entry, _copied(file, None, MAX_FILE, what), what)
        return place


class ZipPackage:
    """A package in an archive, of which only the files that are needed are copied to a folder.

    Parameters
    ----------
    path : Path
    archive : zipfile.ZipFile
    folder : Path
        Empty; files are given their last name only.
    """

    def __init__(self, path: Path, archive: zipfile.ZipFile, folder: Path) -> None:
        self.archive, self.folder, self.label = archive, folder, str(path)
        members = archive.infolist()
        if len(members) > MAX_MEMBERS:
            raise FileError("the archive has too many files", where=self.label, got=len(members))
        for member in members:
            if not member.is_dir():
                _require_inside(member.filename, self.label)
        # macOS adds files of its own, named like those that they describe.
        names = [m.filename for m in members if not PurePosixPath(m.filename).name.startswith("._")]
        named = [n for n in DESCRIPTIONS if n in names] or sorted(n for n in names if n.endswith(ENDINGS))
        inner = [n for n in names if PurePosixPath(n).name in DESCRIPTIONS and n.count("/") == 1]
        found = named or inner
        if not found:
            raise FileError(
                "holds no description of a model", where=self.label, expected=f"a file {' or '.join(DESCRIPTIONS)}"
            )
        self.root = PurePosixPath(found[0]).parent
        with self._member(found[0], "description", MAX_TEXT) as file:
            self.document = parse_yaml(file.read(MAX_TEXT + 1), f"{self.label}, {found[0]}")

    def find(self, entry: Entry, what: str) -> Path:
        _require_local(entry, what)
        name = str(self.root / _require_inside(entry.source, what))
        target = self.folder / PurePosixPath(name).name
        if target.exists() and target.name not in (".", ".."):
            target = self.folder / sha256(name.encode()).hexdigest()[:16] / target.name
            target.parent.mkdir(exist_ok=True)
        with self._member(name, what, MAX_FILE) as source, target.open("wb") as file:
            found = _copied(source, file, self.archive.getinfo(name).file_size, what)
        _require_sum(entry, found, what)
        return target

    @contextmanager
    def _member(self, name: str, what: str, limit: int) -> Iterator[Any]:
        members = [member for member in self.archive.infolist() if member.filename == name]
        if len(members) != 1:
            problem = "the file is missing in the package" if not members else "the archive has several such files"
            raise FileError(problem, where=what, got=short(name))
        size = members[0].file_size
        if size > min(limit, max(ALWAYS, members[0].compress_size * MAX_RATIO)):
            raise FileError(
                "the archive claims more than it can hold", where=what, got=f"{size} bytes in {short(name)}"
            )
        with translating(f"{self.label}, {name}", "cannot be read"), self.archive.open(members[0]) as file:
            yield file


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    with translating(path, "the archive cannot be read", "a zip archive"):
        archive = zipfile.ZipFile(path)
    with archive:
        yield archive


def load_tensor(path: Path, what: str) -> np.ndarray:
    """Read a test tensor.

    Raises
    ------
    FileError
        If it is not an array of numbers in NumPy's format, or very large.
    """
    with translating(f"{what}, {path.name}", "is not a NumPy array", "a .npy file of numbers"):
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf" or array.size > MAX_ELEMENTS:
            kind = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else "an archive"
            raise FileError("not a test tensor", where=f"{what}, {path.name}", got=kind, expected="an array of numbers")
        return np.array(array)
