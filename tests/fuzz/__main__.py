"""``python -m tests.fuzz [KIND] [-n N] [--seed S] [--case K]``: run any number of cases, or repeat one."""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
from pathlib import Path

from tests.fuzz.cases import KINDS, random_of
from tests.fuzz.runner import run

SHARES = {"documents": 2 / 3, "pickles": 1 / 6, "journals": 1 / 6}


def main() -> int:
    """Run the requested cases; return 1 if any has failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("kind", nargs="?", choices=[*KINDS, "all"], default="all")
    parser.add_argument("-n", type=int, default=3_000, help="total number of cases (default: 3000)")
    parser.add_argument("--seed", type=int, help="default: random")
    parser.add_argument("--case", type=int, help="run this case of the seed, and keep its file")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-faults"), help="folder for the files of failed cases")
    options = parser.parse_args()
    seed = secrets.randbelow(1 << 32) if options.seed is None else options.seed
    kinds = [*KINDS] if options.kind == "all" else [options.kind]
    if options.case is not None:
        faults = [f for kind in kinds for f in run(kind, seed, options.case, options.case + 1).faults]
        for kind in kinds:
            _say(f"kept {keep(kind, seed, options.case, options.keep)}")
    else:
        faults = []
        for kind in kinds:
            n = round(options.n * SHARES[kind]) if len(kinds) > 1 else options.n
            outcome = run(kind, seed, 0, n)
            counts = ", ".join(f"{word} {count}" for word, count in outcome.counts.most_common())
            slowest = "slowest {:.1f} s (case {})".format(*outcome.slowest)
            _say(f"{kind}, seed {seed}: {n} cases; {counts}; {slowest}; {len(outcome.faults)} failed")
            faults += outcome.faults
        for fault in faults:
            keep(fault.kind, fault.seed, fault.number, options.keep)
    for fault in faults:
        _say(f"\n{fault}")
    return 1 if faults else 0


def keep(kind: str, seed: int, number: int, folder: Path) -> Path:
    """Write the file of a case."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{kind}-{seed}-{number}"
    with tempfile.TemporaryDirectory() as scratch:
        path.write_bytes(KINDS[kind](Path(scratch)).keep(random_of(kind, seed, number)))
    return path


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
