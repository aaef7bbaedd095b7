"""A process that works through cases, and says before each which it is: whoever waits can name the one it dies of.

``python -m tests.fuzz.child KIND SEED FIRST LAST SCRATCH``: a line ``begin N`` before a case, ``end N OUTCOME`` after
it, or ``fault N`` with what went wrong as JSON.
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
"""Bytes that all cases of a process may need beyond what it has when it begins."""

LATE = ("scipy.sparse", "pytensor.sparse")
"""What engines import when a graph needs it, which the first cases may not."""


def installed(name: str) -> bool:
    """Whether a package of this name, or that it belongs to, is there."""
    return find_spec(name.partition(".")[0]) is not None


def main(arguments: list[str]) -> None:
    """Work through the cases from the first to before the last."""
    kind, seed, first, last, scratch = arguments[0], *map(int, arguments[1:4]), Path(arguments[4])
    faulthandler.enable()
    warnings.simplefilter("ignore")
    cases = KINDS[kind](scratch)
    # What is imported when it is first needed is imported now, so that the guard sees what cases do only.
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
    except Exception:  # it is a case of no run; those that matter are looked at
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
