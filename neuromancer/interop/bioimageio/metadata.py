"""Metadata of a package: what its authors have to say, and how the specification wants it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuromancer.errors import ArgumentError, InputTypeError, short, translating
from neuromancer.files import read_small

NEEDED = {
    "authors": "a list of names, or of dicts such as {'name': ..., 'affiliation': ..., 'orcid': ...}",
    "license": "the SPDX name of a licence, e.g. 'MIT' or 'CC-BY-4.0'",
    "cite": "a list of dicts {'text': ..., 'doi': ...} or {'text': ..., 'url': ...}",
    "documentation": "Markdown text, or the path of a .md file",
}
OWN = ("format_version", "type", "documentation", "inputs", "outputs", "weights")
"""Fields that further metadata cannot replace."""
MAX_DOCUMENTATION = 1 << 22
NAME = re.compile(r"[A-Za-z0-9_+\- ()]{5,128}")


@dataclass(frozen=True)
class Metadata:
    """Checked metadata.

    Parameters
    ----------
    fields : dict
        As in the description.
    documentation : str
        Markdown.
    """

    fields: dict[str, Any]
    documentation: str


def checked_metadata(
    name: str,
    description: Any,
    authors: Any,
    license: Any,
    cite: Any,
    documentation: Any,
    tags: Any,
    more: Mapping[str, Any] | None,
) -> Metadata:
    """Check what has to be said about a model.

    Raises
    ------
    ArgumentError
        If something is missing; lists all of it, and what it should be.
    InputTypeError, FileError
    """
    given = {"authors": authors, "license": license, "cite": cite, "documentation": documentation}
    missing = [key for key, value in given.items() if value is None or (key != "cite" and not value)]
    if missing:
        raise ArgumentError(
            "a package needs metadata that only its authors know", where="export_bioimageio",
            got=f"no {', '.join(missing)}", expected="; ".join(f"{key}: {NEEDED[key]}" for key in missing),
        )  # fmt: skip
    if not isinstance(name, str):
        raise InputTypeError("not a name", where="name", got=short(name), expected="a string")
    if not NAME.fullmatch(name):
        plain = re.sub(r"[^A-Za-z0-9_+\- ()]+", " ", name).strip()[:128]
        raise ArgumentError(
            "not a name of a package", where="name", got=short(name),
            expected="5 to 128 letters, digits, spaces, or signs of _+-()",
            nearest=plain if len(plain) >= 5 else f"model {plain}".strip(),
        )  # fmt: skip
    if not isinstance(license, str):
        raise InputTypeError("not a licence", where="license", got=short(license), expected=NEEDED["license"])
    fields: dict[str, Any] = {
        "name": name,
        "description": _text(description or name, "description"),
        "authors": [{"name": a} if isinstance(a, str) else _entry(a, "authors") for a in _listed(authors, "authors")],
        "license": license,
        "cite": [_entry(entry, "cite") for entry in _listed(cite, "cite")],
        "tags": [_text(tag, "tags") for tag in _listed(tags or [], "tags")],
        **_further(more),
    }
    return Metadata(fields, _documentation(documentation))


def _further(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise InputTypeError("not further fields", where="metadata", got=short(value), expected="a dict by names")
    own = [key for key in OWN if key in value]
    if own:
        raise ArgumentError(
            "these fields follow from the model, or have arguments of their own", where="metadata", got=", ".join(own)
        )
    return dict(value)


def _listed(value: Any, where: str) -> Sequence[Any]:
    several = [value] if isinstance(value, (str, Mapping)) else value
    if not isinstance(several, (list, tuple)):
        raise InputTypeError("not a list", where=where, got=short(value), expected=NEEDED.get(where, "a list of names"))
    return several


def _entry(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise InputTypeError("not an entry", where=where, got=short(value), expected=NEEDED[where])
    return dict(value)


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise InputTypeError("not text", where=where, got=short(value), expected="a string")
    return value


def _documentation(value: Any) -> str:
    if isinstance(value, os.PathLike) or (isinstance(value, str) and value.endswith(".md") and "\n" not in value):
        path = Path(value)
        with translating(path, "the documentation cannot be read", "a text file"):
            return read_small(path, MAX_DOCUMENTATION).decode("utf-8")
    return _text(value, "documentation")
