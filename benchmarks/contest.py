"""Time one piece of work against several peers that do the same, in turns in one process."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from common import TOLERANCE, difference, seconds, timed

Work = Callable[[], Any]
COARSE = 10
LONG = 10
"""Seconds from which on the first run of a peer also counts as the measurement that decides whether it stays."""


@contextmanager
def limit(most: float) -> Iterator[None]:
    """Raise `TimeoutError` in what takes longer than so many seconds, such as a compilation; can be nested."""

    def stop(*_: Any) -> None:
        raise TimeoutError(f"took longer than {most:.0f} s")

    start = time.monotonic()
    before = signal.signal(signal.SIGALRM, stop)
    outer, _ = signal.setitimer(signal.ITIMER_REAL, most)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if outer:
            signal.setitimer(signal.ITIMER_REAL, max(1e-3, outer - (time.monotonic() - start)))


@dataclass
class Contest:
    """Seconds of our runs and of those of the fastest peers, run by run.

    Attributes
    ----------
    ours : list of float
    theirs : dict of str to list of float
        Of the peers that were measured in turns with ours.
    first : dict of str to float
        Seconds of the run of every peer that decided which ones stay.
    failed : dict of str to str
        Reasons why peers are missing.
    inexact : dict of str to float
        Differences of peers from the first one, relative to the largest value, where they are above the tolerance.
    error : float
        Our difference from the first peer, relative to the largest value.
    """

    ours: list[float] = field(default_factory=list)
    theirs: dict[str, list[float]] = field(default_factory=dict)
    first: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    inexact: dict[str, float] = field(default_factory=dict)
    error: float = 0.0

    def remarks(self, what: str) -> list[str]:
        """Return lines about peers that are missing or not exact."""
        failed = [f"- {what}, {name} failed: {reason}" for name, reason in self.failed.items()]
        return failed + [f"- {what}, {name} differs from the first peer by {e:.0e}" for name, e in self.inexact.items()]

    @property
    def best(self) -> str:
        """Name of the fastest peer."""
        return min(self.theirs, key=lambda name: float(np.median(self.theirs[name])))

    @property
    def ratios(self) -> np.ndarray:
        """Ours by the fastest peer's, over neighbouring runs."""
        return np.array(self.ours) / np.array(self.theirs[self.best])

    def columns(self) -> str:
        """Return the end of a line of a table, see `COLUMNS`."""
        if not self.theirs:
            return f"| {seconds(float(np.median(self.ours)))} |  |  |  | {self._others()} |  | {len(self.ours)} |"
        ours, theirs = float(np.median(self.ours)), float(np.median(self.theirs[self.best]))
        return (
            f"| {seconds(ours)} | {seconds(theirs)} ({self.best}) | **{np.median(self.ratios):.2f}** "
            f"| {self.ratios.min():.2f} to {self.ratios.max():.2f} | {self._others()} | {self.error:.0e} "
            f"| {len(self.ours)} |"
        )

    def _others(self) -> str:
        times = {name: float(np.median(self.theirs.get(name, [value]))) for name, value in self.first.items()}
        best = self.best if self.theirs else None
        others = [f"{name} {seconds(value)}" for name, value in times.items() if name != best]
        return ", ".join([*others, *(f"{name} failed" for name in self.failed)])


COLUMNS = ("neuromancer", "best peer", "ratio", "range of ratios", "other peers", "difference", "runs")


def header(*before: str) -> str:
    """Return the head of a table whose lines end with the columns of a contest."""
    names = [*before, *COLUMNS]
    return f"| {' | '.join(names)} |\n|{'---|' * len(names)}"


def contest(
    what: str,
    ours: Work,
    peers: Mapping[str, Callable[[], Work]],
    most: float = 40,
    runs: int = 7,
    keep: int = 2,
    tolerance: float = TOLERANCE,
    probe: Callable[[Work], np.ndarray] = lambda work: work(),
    patience: float = 120,
) -> Contest:
    """Compare results, drop all but the fastest peers, and time these in turns with ours.

    The first peer that works is the reference: our result has to agree with its. Other peers may be less exact (group
    normalisation of torch in channels last is); up to ten times the tolerance they are measured, and named.

    Parameters
    ----------
    what : str
        Named in messages.
    ours : callable
        Our work.
    peers : dict of str to callable
        Peers: functions that prepare (compile, convert) and return the work. What fails is left out and named.
    most : float
        Seconds for the runs in turns; at least one is made.
    runs : int
        Largest number of runs in turns.
    keep : int
        Number of peers that are timed in turns with ours.
    tolerance : float
        Largest difference of the results, relative to the largest value.
    probe : callable
        Runs the work for the first time and returns what is compared.
    patience : float
        Seconds for preparing a peer and its first run.

    Raises
    ------
    SystemExit
        If we compute something else than the first peer.
    """
    found = Contest()
    expected = probe(ours)
    reference: np.ndarray | None = None
    works: dict[str, Work] = {}
    for name, prepare in peers.items():
        try:
            with limit(patience):
                work = prepare()
                start = time.perf_counter()
                result = probe(work)
                first = time.perf_counter() - start
        except Exception as reason:  # peers fail in many ways: not supported, out of memory, too slow
            found.failed[name] = f"{type(reason).__name__}: {' '.join(str(reason).split())[:200]}"
            print(f"{what}: {name} is left out, {found.failed[name]}", flush=True)
            continue
        if reference is None:
            reference, found.error = result, difference(expected, result)
            if not found.error <= tolerance:
                raise SystemExit(f"{what}: {name} gives another result, by {found.error:.1e} of the largest value")
        error = difference(result, reference)
        if not error <= tolerance:
            found.inexact[name] = error
            print(f"{what}: {name} differs from the first peer by {error:.1e}", flush=True)
        if not error <= COARSE * tolerance:
            continue
        found.first[name] = first if first > LONG and "compile" not in name else timed(work)
        works[name] = work
    fastest = sorted(works, key=lambda name: found.first[name])[:keep]
    found.theirs = {name: [] for name in fastest}
    begin = time.perf_counter()
    while not found.ours or (
        len(found.ours) < runs and (time.perf_counter() - begin) * (1 + 1 / len(found.ours)) < most
    ):
        found.ours.append(timed(ours))
        for name in fastest:
            found.theirs[name].append(timed(works[name]))
    return found
