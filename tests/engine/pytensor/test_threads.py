"""Threads of the kernels: those of torch's OpenMP library, or of a pool where there is none."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from pathlib import Path

import pytest
import torch

from neuromancer.engine.pytensor.kernels import threads as kernel_threads
from neuromancer.engine.pytensor.kernels.threads import Team, each, openmp, pool, together


@pytest.fixture(params=["OpenMP", "pool"])
def kind(request, monkeypatch):
    """Both kinds of threads, with the number that torch uses restored afterwards."""
    used = torch.get_num_threads()
    if request.param == "pool":
        monkeypatch.setattr(kernel_threads, "openmp", lambda: None)
    elif openmp() is None:
        pytest.skip("torch's OpenMP library is not that of GNU")
    yield request.param
    torch.set_num_threads(used)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other OpenMP libraries")
def test_torch_s_own_threads_are_found_on_linux():
    assert isinstance(openmp(), Team) and openmp() is openmp()


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_item_is_processed_once(kind, threads):
    done = []
    each(done.append, range(50), threads)
    assert sorted(done) == list(range(50))


def test_order_does_not_matter(kind):
    """The first item waits for the last one."""
    last = threading.Event()
    done = []

    def work(k):
        if k == 0:
            assert last.wait(60)
        if k == 9:
            last.set()
        done.append(k)

    each(work, iter(range(10)), 2)
    assert done[-2:] in ([9, 0], [0, 9]) and sorted(done) == list(range(10))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_exceptions_are_raised(kind, threads):
    def work(k):
        if k in (3, 7):
            raise ValueError(f"item {k}")

    with pytest.raises(ValueError, match="item 3"):
        each(work, range(10), threads)
    done = []
    each(done.append, range(10), threads)
    assert len(done) == 10, "threads continue after an exception"


def test_interrupts_are_raised(kind):
    def work(k):
        if k == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        each(work, range(4), 2)


def test_an_interrupt_before_the_work_begins_is_raised():
    def parallel(callback, data, threads, flags):
        """As ctypes does where an exception comes before the first line of a callback."""

    with pytest.raises(KeyboardInterrupt):
        Team(parallel).run(lambda: pytest.fail("not reached"), 2)


@pytest.mark.parametrize("threads", [1, 2])
def test_nothing_to_do(kind, threads):
    each(lambda item: pytest.fail("nothing"), [], threads)


@pytest.mark.parametrize("threads", [1, 3])
def test_work_runs_in_every_thread(kind, threads):
    here, seen = threading.Barrier(threads), set()

    def work():
        here.wait(60)
        seen.add(threading.get_ident())

    together(work, threads)
    assert len(seen) == threads


def test_kernels_inside_kernels_stay_in_their_thread(kind):
    seen = []

    def outer(k):
        inside = []
        each(lambda _: inside.append(threading.get_ident()), range(8), torch.get_num_threads())
        seen.append((threading.get_ident(), inside))

    torch.set_num_threads(2)
    each(outer, range(6), 2)
    assert len(seen) == 6 and all(set(inside) == {own} and len(inside) == 8 for own, inside in seen)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in /proc")
def test_torch_starts_no_threads_inside(kind):
    torch.set_num_threads(2)
    x, y = torch.ones(1 << 20), torch.ones(512, 512)
    each(lambda _: None, range(8), 2)
    (x + x).sum()
    tasks = Path("/proc/self/task")
    before = len(list(tasks.iterdir()))

    def work(_):
        assert (x + x).sum() == 2 * x.numel()
        assert (y @ y)[0, 0] == 512

    each(work, range(8), 2)
    each(work, [0], 2)
    assert len(list(tasks.iterdir())) <= before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_threads_of_its_own():
    each(lambda _: None, range(8), 2)
    child = os.fork()
    if not child:
        done = []
        with contextlib.suppress(BaseException):
            each(done.append, range(50), 2)
        os._exit(0 if openmp() is None and sorted(done) == list(range(50)) else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_the_number_of_torch_s_threads_stays(kind):
    torch.set_num_threads(3)
    pool.cache_clear()
    each(lambda _: None, range(3), 3)
    assert torch.get_num_threads() == 3
    torch.set_num_threads(2)
    each(lambda _: None, range(3), 3)
    assert torch.get_num_threads() == 2


def test_pools_are_reused_but_not_those_of_another_process():
    used = torch.get_num_threads()
    try:
        own, other = pool(2, os.getpid()), pool(2, -1)
        assert pool(2, os.getpid()) is own and other is not own
    finally:
        torch.set_num_threads(used)
