"""What the package shows a person: lines of text and progress bars."""

from __future__ import annotations

import os
import sys
from threading import RLock
from typing import Any

from tqdm import tqdm

from neuromancer.config import config
from neuromancer.errors import FileError, reason
from neuromancer.printable import printable


class Bar(tqdm):
    """A bar whose lock belongs to this process: a worker that is killed while it holds tqdm's own stops all others."""

    _lock = RLock()


def say(text: str, end: str = "\n", flush: bool = False) -> None:
    """Write a line to standard output; only where the caller asked for it (``print_repr``, ``print_info``).

    Characters that its encoding does not have are written as Python writes them. Where nobody listens, because there is
    no standard output or its reader has gone, nothing is said.

    Raises
    ------
    FileError
        If it cannot be written, such as to a full disk.
    """
    if sys.stdout is None:
        return
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        sys.stdout.write((text + end).encode(encoding, "backslashreplace").decode(encoding))
        if flush:
            sys.stdout.flush()
    except BrokenPipeError:
        _say_nothing_more()
    except OSError as error:
        _say_nothing_more()
        raise FileError("cannot be written", where="standard output", got=reason(error)) from None


def _say_nothing_more() -> None:
    """Let what is still in the buffer, and all that comes, go nowhere: else the interpreter fails at its end."""
    if sys.stdout is sys.__stdout__ and sys.stdout is not None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


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
