"""Executors: that of the calling thread, and processes that would hang."""

from __future__ import annotations

import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_all_start_methods, get_context

import pytest

from neuromancer.errors import ArgumentError
from neuromancer.executors import AtOnce, require_spawned


def test_tasks_run_in_the_calling_thread_when_they_are_submitted():
    seen = []
    future = AtOnce().submit(lambda *values, sep: seen.append((values, sep, threading.current_thread())), 1, 2, sep="-")
    assert seen == [((1, 2), "-", threading.current_thread())] and future.done()


def test_the_future_holds_the_error():
    future = AtOnce().submit(int, "text")
    assert isinstance(future.exception(), ValueError)
    with pytest.raises(ValueError, match="text"):
        future.result()


@pytest.mark.skipif("fork" not in get_all_start_methods(), reason="this system cannot fork")
def test_forking_executors_are_refused():
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool, pytest.raises(ArgumentError, match="spawn"):
        require_spawned(pool)


def test_other_executors_are_accepted():
    with ThreadPoolExecutor(1) as threads, ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
        for executor in (threads, processes, AtOnce(), object()):
            require_spawned(executor)
