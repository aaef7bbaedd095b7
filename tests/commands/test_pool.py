"""Worker processes that Ctrl-C ends silently."""

from __future__ import annotations

import os
import signal

import pytest

from neuromancer.commands import pool


def test_an_interrupt_ends_tasks_and_nothing_else(monkeypatch):
    monkeypatch.setattr(pool, "interrupted", False)
    before = signal.signal(signal.SIGINT, pool.interrupt)
    try:
        assert pool.run_task(lambda: 3) == 3
        with pytest.raises(KeyboardInterrupt):
            pool.run_task(signal.raise_signal, signal.SIGINT)
        signal.raise_signal(signal.SIGINT)  # while it waits
        with pytest.raises(KeyboardInterrupt):
            pool.run_task(lambda: 3)
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(not pool.MASKS, reason="signals cannot be held back here")
def test_a_process_that_starts_is_not_interrupted(monkeypatch):
    seen = []
    monkeypatch.setattr(
        pool.ProcessPoolExecutor, "submit", lambda *args: seen.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
    )
    with pool.Pool(1) as executor:
        executor.submit(os.getpid)
    assert signal.SIGINT in seen[0] and signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
