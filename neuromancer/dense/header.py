"""Header of a journal: protected by a digest, and type-checked when read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from neuromancer.errors import FileError
from neuromancer.files import read_small

VERSION = 2
"""Version 1 had no digest, so its `complete` flag is not trusted; its records do have checksums."""
LIMIT = 1 << 20
MOST_TILES = 1 << 62
FIELDS = {"version": int, "fingerprints": dict, "layout": dict, "tiles": int, "salt": str, "complete": bool}


def sealed(header: Mapping[str, Any]) -> bytes:
    """Return the content of ``run.json``.

    Examples
    --------
    >>> header = {"version": 2, "fingerprints": {}, "layout": {}, "tiles": 3, "salt": "", "complete": False}
    >>> parsed(sealed(header)) == header, parsed(sealed(header).replace(b"3,", b"4,"))
    (True, 'its checksum is wrong')
    """
    return json.dumps({**header, "digest": _digest(header)}, indent=1).encode()


def parsed(text: bytes) -> dict[str, Any] | str:
    """Parse a header; return a text that says what is wrong if it is invalid."""
    try:
        header = json.loads(text.decode())
    except (ValueError, RecursionError):
        return "not JSON"
    if not isinstance(header, dict) or type(header.get("version")) is not int:
        return "no version"
    if header["version"] not in (1, VERSION):
        return f"version {header['version']}"[:100]
    digest = header.pop("digest", None) if header["version"] > 1 else ""
    if set(header) != set(FIELDS) or any(type(header[key]) is not kind for key, kind in FIELDS.items()):
        return "other fields"
    prints = header["fingerprints"]
    if not all(type(value) is str for value in prints.values()) or not 0 <= header["tiles"] < MOST_TILES:
        return "other values"
    if digest not in ("", _digest(header)) or (header["version"] > 1 and not digest):
        return "its checksum is wrong"
    return header if header["version"] > 1 else header | {"complete": False}


def read_header(path: Path) -> dict[str, Any] | None:
    """Read a header; None if the file does not exist.

    Raises
    ------
    FileError
        If it cannot be read or is damaged.
    """
    way_out = f"an intact journal; or remove {path.parent} and the result to start over, or choose another output"
    try:
        found = parsed(read_small(path, LIMIT))
    except FileNotFoundError as error:
        if not path.is_symlink():
            return None
        raise FileError("a broken link", where=str(path), expected=way_out) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise FileError("cannot be read", where=str(path), got=reason, expected=way_out) from error
    if isinstance(found, str):
        raise FileError("is not a journal of this version", where=str(path), got=found, expected=way_out)
    return found


def _digest(header: Mapping[str, Any]) -> str:
    return sha256(json.dumps(header, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
