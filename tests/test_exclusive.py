"""The lock for building graphs: re-entrant, lendable, and free in a forked child."""

from __future__ import annotations

import multiprocessing
import threading

import pytest

from neuromancer.exclusive import Exclusive


def in_thread(work):
    """Run `work` in another thread; return an event that is set when it has finished, and the thread."""
    ended = threading.Event()

    def run():
        work()
        ended.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return ended, thread


def enter(lock):
    with lock, lock:
        pass


def test_other_threads_wait_for_the_holder():
    lock = Exclusive()
    with lock:
        with lock:
            ended, thread = in_thread(lambda: enter(lock))
        assert not ended.wait(0.05)
    thread.join(10)
    assert ended.is_set()


def test_it_is_released_after_an_error():
    lock = Exclusive()
    with pytest.raises(ZeroDivisionError), lock:
        _ = 1 / 0
    ended, thread = in_thread(lambda: enter(lock))
    thread.join(10)
    assert ended.is_set()


def test_a_thread_that_borrows_the_lock_can_enter():
    lock = Exclusive()
    caller = threading.get_ident()

    def helper():
        with lock.lent_by(caller):
            enter(lock)

    with lock:
        ended, thread = in_thread(helper)
        thread.join(10)
        assert ended.is_set()
        ended, thread = in_thread(lambda: enter(lock))
        assert not ended.wait(0.05)
    thread.join(10)


@pytest.mark.parametrize("holder", ["another thread", "the thread that forks"])
def test_a_forked_child_does_not_wait_for_a_missing_thread(holder):
    lock, held, leave = Exclusive(), threading.Event(), threading.Event()

    def hold():
        with lock:
            held.set()
            leave.wait(30)

    def child():
        enter(lock)

    process = multiprocessing.get_context("fork").Process(target=child)
    if holder == "another thread":
        thread = threading.Thread(target=hold)
        thread.start()
        held.wait(10)
        process.start()
        leave.set()
        thread.join()
    else:
        with lock:
            process.start()
    process.join(30)
    assert process.exitcode == 0
