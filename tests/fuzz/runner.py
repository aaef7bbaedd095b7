"""Runs cases in child processes with time and memory limits, and reports those that fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Queue

ROOT = Path(__file__).parents[2]
START, CASE = 300.0, 60.0
"""Time limits in seconds: for the start of a child, and for a case."""


@dataclass
class Fault:
    """A failed case."""

    kind: str
    seed: int
    number: int
    problem: str

    def __str__(self) -> str:
        again = f"python -m tests.fuzz {self.kind} --seed {self.seed} --case {self.number}"
        return f"{self.kind}, seed {self.seed}, case {self.number} (again: {again}): {self.problem}"


@dataclass
class Outcome:
    """Outcome of a run: number of cases by result, and those that failed."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[Fault] = field(default_factory=list)
    slowest: tuple[float, int] = (0.0, 0)
    """Seconds, and number of the case."""


def run(kind: str, seed: int, first: int, last: int, most: int = 20) -> Outcome:
    """Run cases of one kind; end early after `most` faults.

    A child that dies or hangs is replaced by another one, which continues with the next case.
    """
    outcome, number = Outcome(), first
    while number < last and len(outcome.faults) < most:
        number = run_child(kind, seed, number, last, outcome, most)
    return outcome


def run_child(kind: str, seed: int, first: int, last: int, outcome: Outcome, most: int) -> int:
    """Run cases in a child process; return the number of the case to continue with."""
    command = [sys.executable, "-m", "tests.fuzz.child", kind, str(seed), str(first), str(last)]
    with tempfile.TemporaryDirectory(prefix="fuzz") as scratch, tempfile.TemporaryFile("w+") as errors:
        settings = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
        child = subprocess.Popen(
            [*command, scratch], cwd=ROOT, env=settings, text=True, stdout=subprocess.PIPE, stderr=errors
        )
        try:
            now, since = first, time.monotonic()
            for line in _lines(child):
                word, _, rest = line.partition(" ")
                if word == "begin":
                    now, since = int(rest), time.monotonic()
                    continue
                outcome.slowest = max(outcome.slowest, (time.monotonic() - since, now))
                if word == "end":
                    outcome.counts[rest.partition(" ")[2]] += 1
                    now += 1
                elif word == "fault":
                    outcome.faults.append(Fault(kind, seed, now, json.loads(rest.partition(" ")[2])))
                    now += 1
                    if len(outcome.faults) >= most:
                        return last
                elif word == "finished":
                    return last
            problem = "took too long" if child.poll() is None else f"the process died with status {child.wait()}"
            child.kill()
            errors.seek(0)
            outcome.faults.append(Fault(kind, seed, now, f"{problem}\n{errors.read()[-4_000:]}"))
            return now + 1
        finally:
            child.kill()
            child.wait()
            child.stdout.close()  # type: ignore[union-attr]


def _lines(child: subprocess.Popen[str]) -> Iterator[str]:
    """Yield the lines that a child writes, until it ends or exceeds a time limit."""
    queue: Queue[str | None] = Queue()

    def read() -> None:
        for line in child.stdout or ():
            queue.put(line.rstrip("\n"))
        queue.put(None)

    threading.Thread(target=read, daemon=True).start()
    limit = START
    while True:
        try:
            line = queue.get(timeout=limit)
        except Empty:
            return
        if line is None:
            child.wait()
            return
        limit = CASE
        yield line
