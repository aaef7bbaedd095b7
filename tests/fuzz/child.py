"""Child process that announces each case before running it, so the parent can name the one that kills it.

``python -m tests.fuzz.child KIND SEED FIRST LAST SCRATCH`` prints a line ``begin N`` before a case, and ``end N
OUTCOME`` after it, or ``fault N`` with the problem as JSON.
"""

from __future__ import annotations

import faulthandler
import json
import sys
import traceback
import warnings
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from tests.fuzz.cases import KINDS, random_of
from tests.fuzz.guard import Guard, limit_memory

MEMORY = 1 << 30
"""Memory limit of all cases of a process, in bytes beyond its memory at the start."""

LATE = ("scipy.sparse", "pytensor.sparse")
"""Modules that engines import only when a graph needs them; the warm-up cases may not import them."""


def installed(name: str) -> bool:
    """Whether the top-level package of a module is installed."""
    return find_spec(name.partition(".")[0]) is not None


def main(arguments: list[str]) -> None:
    """Run the cases from the first to the one before the last."""
    kind, seed, first, last, scratch = arguments[0], *map(int, arguments[1:4]), Path(arguments[4])
    faulthandler.enable()
    warnings.simplefilter("ignore")
    cases = KINDS[kind](scratch)
    # Import lazily imported modules now, so that the guard sees only what the cases do.
    for name in filter(installed, LATE):
        import_module(name)
    for number in range(-20, 0):
        _quietly(cases, kind, seed, number)
    limit_memory(MEMORY)
    guard = Guard(scratch)
    for number in range(first, last):
        _say(f"begin {number}")
        _one(cases, guard, kind, seed, number)
    _say("finished")


def _quietly(cases: object, kind: str, seed: int, number: int) -> None:
    try:
        cases.prepare(random_of(kind, seed, number))()  # type: ignore[attr-defined]
    except Exception:  # of a warm-up case, whose outcome does not matter
        return


def _one(cases: object, guard: Guard, kind: str, seed: int, number: int) -> None:
    case = cases.prepare(random_of(kind, seed, number))  # type: ignore[attr-defined]
    try:
        with guard:
            outcome = case()
    except BaseException as error:
        fault = "".join(traceback.format_exception(error, limit=-12))
    else:
        fault = ""
    noted, guard.noted = guard.noted, []
    if noted:
        fault = f"forbidden: {noted}\n{fault}"
    _say(f"fault {number} {json.dumps(fault[-6_000:])}" if fault else f"end {number} {outcome}")


def _say(text: str) -> None:
    sys.__stdout__.write(text + "\n")
    sys.__stdout__.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
