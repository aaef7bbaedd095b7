"""Console output: lines of text and progress bars."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from threading import RLock
from typing import Any

from neuromancer.config import config
from neuromancer.errors import FileError, reason
from neuromancer.printable import printable

Progress = bool | None | Callable[[int, int], object]
"""Whether to show a bar (None: by the settings), or a function of the numbers of finished voxels and of all."""


def say(text: str, end: str = "\n", flush: bool = False) -> None:
    """Write a line to standard output; called only on request (``print_repr``, ``print_info``).

    Characters missing from its encoding are written as escape sequences. If there is no standard output, or its pipe is
    closed, nothing is written.

    Raises
    ------
    FileError
        If writing fails, for instance on a full disk.
    """
    if sys.stdout is None:
        return
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        sys.stdout.write((text + end).encode(encoding, "backslashreplace").decode(encoding))
        if flush:
            sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
    except OSError as error:
        _discard_output()
        raise FileError("cannot be written", where="standard output", got=reason(error)) from None


def _discard_output() -> None:
    """Redirect the buffer and all further output to the null device; flushing it at exit would fail otherwise."""
    if sys.stdout is sys.__stdout__ and sys.stdout is not None:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


@cache
def _bar_class() -> type[Any]:
    from tqdm import tqdm  # every command prints lines, but few show a bar

    class Bar(tqdm):
        """Progress bar with a per-process lock: a worker killed while holding tqdm's shared lock would block others."""

        _lock = RLock()

    return Bar


def voxel_bar(total: int, description: str, show: bool | None = None) -> Any:
    """Create a progress bar that counts voxels and shows MVx/s; hidden unless requested or on a terminal.

    Parameters
    ----------
    total : int
        Number of voxels.
    description : str
        Text in front of the bar.
    show : bool, optional
        None uses ``config.progress``; if that is None too, the bar is shown if standard error is a terminal.

    Returns
    -------
    tqdm
        Counts in units of 10**6 voxels.
    """
    show = config.progress if show is None else show
    if sys.stderr is None:
        show = False
    return _bar_class()(
        total=total / 1e6,
        desc=printable(description),
        unit="MVx",
        unit_scale=False,
        disable=None if show is None else not show,
        bar_format="{desc}: {percentage:3.0f}%|{bar}| {n:.2f}/{total:.2f} MVx [{elapsed}<{remaining}, {rate_fmt}]",
    )


@contextmanager
def counted(total: int, description: str, progress: Progress = None) -> Iterator[Callable[[int], None]]:
    """Yield a function that takes the number of voxels finished since the last call.

    Parameters
    ----------
    total : int
        Number of voxels.
    description : str
        Text in front of the bar.
    progress : bool or callable, optional
        Whether to show a bar; or a function of the numbers of finished voxels and of all, called once before the
        first voxel, and whenever voxels are finished.

    Examples
    --------
    >>> with counted(30, "predicting", lambda done, total: print(f"{done} of {total}")) as advance:
    ...     advance(20)
    0 of 30
    20 of 30
    """
    if isinstance(progress, bool) or progress is None:
        with voxel_bar(total, description, progress) as bar:
            yield lambda voxels: bar.update(voxels / 1e6)
        return
    told, done = progress, 0

    def advance(voxels: int) -> None:
        nonlocal done
        done += voxels
        told(done, total)

    advance(0)
    yield advance
