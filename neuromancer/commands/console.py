"""Shared parts of the commands: one-line error messages, exit status, and standard streams."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from neuromancer.commands.interrupts import INTERRUPTED
from neuromancer.commands.interrupts import ending_at_once as ending_at_once
from neuromancer.errors import NeuromancerError, reason
from neuromancer.printable import printable, redact
from neuromancer.progress import say

DONE, FAILED, USAGE = 0, 1, 2
DEBUG = "NEUROMANCER_DEBUG"
STREAMS = ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY))


class Parser(argparse.ArgumentParser):
    """Parser whose messages escape arguments."""

    def error(self, message: str) -> NoReturn:
        """Explain wrong usage and exit with status 2."""
        super().error(printable(message))


def run(program: str, command: Callable[[], int], interrupted: str = "interrupted") -> int:
    """Run a command, and report errors in one line.

    Parameters
    ----------
    program : str
        Name of the program, which precedes every message.
    command : callable
        Function that returns the exit status.
    interrupted : str
        Message after Ctrl-C or SIGTERM.

    Returns
    -------
    int
        Exit status: that of the command, 1 after an error, 130 after an interrupt.
    """
    prepare_streams()
    with _tidy_termination():
        try:
            status = command()
            say("", end="", flush=True)
            return status
        except KeyboardInterrupt:
            tell(f"{program}: {interrupted}")
            return INTERRUPTED
        except Exception as error:
            if os.environ.get(DEBUG, "0") not in ("", "0"):
                tell(redact("".join(traceback.format_exception(error))))
            tell(f"{program}: {explained(error)}")
            return FAILED


def end_with(main: Callable[[], int]) -> NoReturn:
    """Run a command line as the whole process, which ends with its status.

    Ctrl-C while the interpreter shuts down ends the process at once, instead of with tracebacks of libraries that tidy
    up then.
    """
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def explained(error: Exception) -> str:
    """Format an error for the terminal.

    Examples
    --------
    >>> explained(NeuromancerError("no such file", node="raw"))
    "'raw': no such file"
    >>> explained(ZeroDivisionError("division by zero"))
    'unexpected error, please report it with what NEUROMANCER_DEBUG=1 shows: ZeroDivisionError: division by zero'
    """
    if isinstance(error, NeuromancerError):
        notes = [f"  {printable(note)}" for note in getattr(error, "__notes__", [])]
        return "\n".join([str(error), *notes])
    if isinstance(error, MemoryError):
        return "not enough memory" + (f": {printable(str(error))}" if str(error) else "")
    frames = traceback.extract_tb(error.__traceback__)
    place = f", at {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if len(frames) > 1 else ""  # noqa: PTH119
    return printable(f"unexpected error, please report it with what {DEBUG}=1 shows: {reason(error)}{place}")


def tell(text: str) -> None:
    """Write a line to standard error, if there is one."""
    with suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(text.rstrip("\n") + "\n")


def prepare_streams() -> None:
    """Let standard streams escape characters that they cannot encode, and open the null device for closed ones."""
    for number, flags in STREAMS:
        try:
            os.fstat(number)
        except OSError:
            with suppress(OSError):
                os.open(os.devnull, flags)
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError, OSError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


class _Terminated(KeyboardInterrupt):
    """Raised by SIGTERM.

    A KeyboardInterrupt itself that comes within ``exec``, by which classes are made while libraries are imported, makes
    Python end by SIGINT even if it is caught outside.
    """


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise _Terminated


@contextmanager
def _tidy_termination() -> Iterator[None]:
    """Handle SIGTERM, which batch systems send, like Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
