"""Descriptions of packages: YAML of limited size, read as plain data."""

from __future__ import annotations

from typing import Any

from ruyaml import YAML

from neuromancer.errors import FileError, translating

MAX_TEXT = 1 << 18
"""Longest description in bytes: published ones have up to 30 KB, and parsing takes seconds per 100 KB."""
MAX_VALUES, MAX_DEPTH = 50_000, 40
"""Most values, with those that aliases repeat, and deepest nesting."""


def parse_yaml(text: bytes, where: str) -> dict[str, Any]:
    """Return the content of a YAML file with a mapping; tags of Python and others are refused.

    Raises
    ------
    FileError
        If it is damaged, too long, or repeats itself too often by aliases.

    Examples
    --------
    >>> parse_yaml(b"name: a\\nsizes: [1, 2]", "rdf.yaml")
    {'name': 'a', 'sizes': [1, 2]}
    """
    if len(text) > MAX_TEXT:
        raise FileError("the description is too long", where=where, expected=f"at most {MAX_TEXT} bytes")
    if _brackets(text) > 4 * MAX_DEPTH:  # on which the parser would spend long
        raise FileError("the description is nested too deeply", where=where, expected=f"at most {MAX_DEPTH} levels")
    with translating(where, "is not valid YAML", "a description of bioimage.io"):
        try:
            document = YAML(typ="safe", pure=True).load(text.decode("utf-8"))
        except RecursionError as error:
            raise FileError("the description is nested too deeply", where=where) from error
    if not isinstance(document, dict) or not all(isinstance(key, str) for key in document):
        kind = type(document).__name__
        raise FileError("is not a description of bioimage.io", where=where, got=kind, expected="a mapping")
    if _count(document, {}, 0, where) > MAX_VALUES:
        raise FileError("the description is too large", where=where, expected=f"at most {MAX_VALUES} values")
    return document


def _brackets(text: bytes) -> int:
    """Deepest nesting of brackets, those within texts included."""
    depth = deepest = 0
    for sign in text:
        depth += (sign in b"[{") - (sign in b"]}")
        deepest = max(deepest, depth)
    return deepest


def _count(value: Any, known: dict[int, int], depth: int, where: str) -> int:
    """Number of values, counting what aliases repeat; shared parts are visited once."""
    if depth > MAX_DEPTH:
        raise FileError("the description is nested too deeply", where=where, expected=f"at most {MAX_DEPTH} levels")
    if not isinstance(value, (dict, list)):
        return 1
    if id(value) not in known:
        known[id(value)] = MAX_VALUES  # while it is counted: one that contains itself is refused
        inner = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_count(v, known, depth + 1, where) for v in inner)
    return known[id(value)]
