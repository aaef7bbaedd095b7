"""What the package shows a person: lines of text and progress bars."""

from __future__ import annotations

import sys
from threading import RLock
from typing import Any

from tqdm import tqdm

from neuromancer.config import config
from neuromancer.printable import printable


class Bar(tqdm):
    """A bar whose lock belongs to this process: a worker that is killed while it holds tqdm's own stops all others."""

    _lock = RLock()


def say(text: str) -> None:
    """Write a line to standard output; only where the caller asked for it (``print_repr``, ``print_info``).

    Characters that its encoding does not have are written as Python writes them. A process without standard output
    says nothing.
    """
    if sys.stdout is not None:
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")


def voxel_bar(total: int, description: str, show: bool | None = None) -> Any:
    """Progress bar that counts voxels and shows MVx/s; silent unless on a terminal or asked for.

    Parameters
    ----------
    total : int
        Number of voxels.
    description : str
        Text in front of the bar.
    show : bool, optional
        None follows ``config.progress``, and where that is None too, whether standard error is a terminal.

    Returns
    -------
    Bar
        ``update(n)`` counts n voxels.
    """
    show = config.progress if show is None else show
    if sys.stderr is None:
        show = False
    return Bar(
        total=total / 1e6,
        desc=printable(description),
        unit="MVx",
        unit_scale=False,
        disable=None if show is None else not show,
        bar_format="{desc}: {percentage:3.0f}%|{bar}| {n:.2f}/{total:.2f} MVx [{elapsed}<{remaining}, {rate_fmt}]",
    )
