"""Units of length: one name for the many spellings in files."""

from __future__ import annotations

import unicodedata
from typing import Any

import numpy as np

PREFIXES = {
    "yocto": ("y", 1e-24),
    "zepto": ("z", 1e-21),
    "atto": ("a", 1e-18),
    "femto": ("f", 1e-15),
    "pico": ("p", 1e-12),
    "nano": ("n", 1e-9),
    "micro": ("µ", 1e-6),
    "milli": ("m", 1e-3),
    "centi": ("c", 1e-2),
    "deci": ("d", 1e-1),
    "": ("", 1.0),
    "hecto": ("h", 1e2),
    "kilo": ("k", 1e3),
    "mega": ("M", 1e6),
    "giga": ("G", 1e9),
    "tera": ("T", 1e12),
    "peta": ("P", 1e15),
    "exa": ("E", 1e18),
    "zetta": ("Z", 1e21),
    "yotta": ("Y", 1e24),
}
# Long names are those of OME-Zarr, short ones those of OME-TIFF; with the length in metres.
UNITS = {f"{prefix}meter": (f"{short}m", length) for prefix, (short, length) in PREFIXES.items()} | {
    "angstrom": ("Å", 1e-10),
    "inch": ("in", 0.0254),
    "foot": ("ft", 0.3048),
    "yard": ("yd", 0.9144),
    "mile": ("mi", 1609.344),
    "parsec": ("pc", 3.0856775814913673e16),
}
UNCALIBRATED = {"", "pixel", "pixels", "px", "voxel", "voxels", "none", "unknown", "null", "dimensionless", "1"}
"""Units in files that stand for no unit."""
OTHER_SPELLINGS = {
    "um": "micrometer",
    "mum": "micrometer",
    "micron": "micrometer",
    "microns": "micrometer",
    "A": "angstrom",
    "ang": "angstrom",
    "ångström": "angstrom",
    "ångströms": "angstrom",
    "inches": "inch",
    "feet": "foot",
}
MICRO = ("\\u00b5", "\\u00B5", "\\u03bc", "\\u03BC", "Âµ", "Î¼", "�", "\udcb5")
"""Garbled forms of the letter µ: escapes, UTF-8 read as Latin-1, Latin-1 read as UTF-8 (with Python's surrogate)."""


def _spellings() -> dict[str, str]:
    """Return the unit name for every spelling, as normalised by :func:`_plain`."""
    known = {}
    for name, (short, _) in UNITS.items():
        british = name.replace("meter", "metre")
        known.update(dict.fromkeys((name, name + "s", british, british + "s", _plain(short)), name))
    return known | {_plain(text): name for text, name in OTHER_SPELLINGS.items()}


def _plain(text: str) -> str:
    # Unicode has two code points each for µ and Å.
    text = unicodedata.normalize("NFKC", text.strip())
    for lost in MICRO:
        text = text.replace(unicodedata.normalize("NFKC", lost), "μ")
    return text


SPELLINGS = _spellings()
# Symbols that differ in case only, such as mm and Mm, are told apart if spelt exactly; otherwise case is ignored.
CARELESS = {text.lower(): name for text, name in reversed(SPELLINGS.items())}


def _text(unit: Any) -> str | None:
    """Return a unit as str; None if it is not a string."""
    if isinstance(unit, np.ndarray) and unit.size == 1:
        unit = unit.item()
    if isinstance(unit, bytes):
        unit = unit.decode(errors="replace")
    return unit if isinstance(unit, str) else None


def says_no_unit(unit: Any) -> bool:
    """Return whether a unit in a file stands for no unit.

    Examples
    --------
    >>> [says_no_unit(u) for u in (None, "", "pixel", "nm", "furlong")]
    [True, True, True, False, False]
    """
    text = _text(unit)
    if text is None:
        return unit is None or getattr(unit, "shape", ()) is None
    return _plain(text).lower() in UNCALIBRATED


def long_unit(unit: Any) -> str | None:
    """Return the name of a unit of length; None for anything else.

    Examples
    --------
    >>> [long_unit(u) for u in ("nm", "Micrometer", "µm", "microns", b"um", "pixel", "furlong")]
    ['nanometer', 'micrometer', 'micrometer', 'micrometer', 'micrometer', None, None]
    >>> long_unit("Mm"), long_unit("mm"), long_unit("MM")
    ('megameter', 'millimeter', 'millimeter')
    """
    text = _text(unit)
    if text is None:
        return None
    text = _plain(text)
    return SPELLINGS.get(text) or CARELESS.get(text.lower())


def short_unit(unit: str | None) -> str | None:
    """Return the symbol of a unit of length, as OME-TIFF writes it."""
    return UNITS[unit][0] if unit in UNITS else None


def ratio(unit: str, base: str) -> float:
    """Return the length of `unit` in units of `base`.

    Examples
    --------
    >>> ratio("micrometer", "nanometer")
    1000.0
    """
    return float(f"{UNITS[unit][1] / UNITS[base][1]:.15g}")
