"""Notes in free text fields of headers: which file it is, and what a format cannot say about its axes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from neuromancer.volumes.placement import Placement

NOTE = re.compile(r"neuromancer ([0-9a-f]{32})(?: unknown ([zyx]+))?(?: decreasing ([zyx]+))?")


def noted(token: str, placement: Placement, axes: Sequence[str]) -> str:
    """Return a line for a free text field: a token, and axes of unknown voxel size or decreasing position.

    Examples
    --------
    >>> noted("0" * 32, Placement((None, 4.0), direction=(1, -1)), "zy")
    'neuromancer 00000000000000000000000000000000 unknown z decreasing y'
    """
    unknown = [a for a, s in zip(axes, placement.voxel_size or [None] * len(axes), strict=True) if s is None]
    turned = [a for a, d in zip(axes, placement.direction or [1] * len(axes), strict=True) if d < 0]
    more = "".join(f" {word} {''.join(a)}" for word, a in (("unknown", unknown), ("decreasing", turned)) if a)
    return f"neuromancer {token}{more}"


def note_in(text: str) -> tuple[str, str, str]:
    """Return token, axes of unknown voxel size, and axes of decreasing position, from a line of :func:`noted`.

    Examples
    --------
    >>> note_in("neuromancer 00000000000000000000000000000000 decreasing y")
    ('00000000000000000000000000000000', '', 'y')
    """
    found = NOTE.search(text)
    return ("", "", "") if found is None else (found[1], found[2] or "", found[3] or "")


def single(value: Any) -> float:
    """Return a single-precision value as the shortest decimal number that it stands for.

    Examples
    --------
    >>> single(np.float32(0.7))
    0.7
    """
    return float(str(np.float32(value)))
