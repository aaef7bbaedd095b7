"""One side against many peers."""

from __future__ import annotations

import signal
import time

import numpy as np
import pytest

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs timers of signals")
VALUES = np.array([1.0, -4.0])


def peer(error=0.0):
    return lambda: lambda: VALUES + error


def test_peers_that_fail_are_named_and_the_others_measured():
    from contest import contest

    def broken():
        raise RuntimeError("no such\nprocessor")

    found = contest("test", lambda: VALUES, {"broken": broken, "right": peer(1e-6)}, runs=3)
    assert found.failed == {"broken": "RuntimeError: no such processor"}
    assert found.best == "right" and list(found.theirs) == ["right"]
    assert 1 <= len(found.ours) <= 3 and len(found.ours) == len(found.theirs["right"])
    assert found.error == pytest.approx(2.5e-7)
    assert "broken failed" in found.columns()


@pytest.mark.parametrize("wrong", [VALUES + 1e-3, VALUES[:1], VALUES * np.nan])
def test_another_result_ends_the_benchmark(wrong):
    from contest import contest

    with pytest.raises(SystemExit, match="another result"):
        contest("test", lambda: VALUES, {"wrong": lambda: lambda: wrong})


def test_less_exact_peers_are_named_and_wrong_ones_left_out():
    from contest import contest

    peers = {"exact": peer(), "coarse": peer(1e-3), "wrong": peer(1)}
    found = contest("test", lambda: VALUES, peers, runs=1)
    assert found.inexact == {"coarse": pytest.approx(2.5e-4), "wrong": pytest.approx(0.25)}
    assert set(found.theirs) == {"exact", "coarse"} and found.error == 0
    assert len(found.remarks("test")) == 2


def test_only_the_fastest_stay():
    from contest import contest

    found = contest("test", lambda: VALUES, {str(k): peer() for k in range(4)}, runs=1, keep=2)
    assert len(found.theirs) == 2 and len(found.first) == 4
    assert all(name in found.columns() for name in found.first)


def test_without_any_peer_our_time_remains():
    from contest import contest, header

    found = contest("test", lambda: VALUES, {}, runs=1)
    assert found.columns().count("|") == header().splitlines()[0].count("|")


def test_a_peer_that_takes_too_long_is_left_out():
    from contest import contest

    found = contest("test", lambda: VALUES, {"slow": lambda: time.sleep(60)}, runs=1, patience=0.05)
    assert found.failed["slow"].startswith("TimeoutError")


def test_limits_are_nested():
    from contest import limit

    with pytest.raises(TimeoutError, match="0 s"), limit(0.2):
        with limit(30):
            pass
        time.sleep(60)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
