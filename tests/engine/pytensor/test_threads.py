"""Thread pool of the kernels."""

from __future__ import annotations

import os
import threading

import pytest
import torch

from neuromancer.engine.pytensor.kernels.threads import each, pool


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_item_is_processed_once(threads):
    done = []
    each(done.append, range(50), threads)
    assert sorted(done) == list(range(50))


def test_order_does_not_matter():
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
def test_exceptions_are_raised(threads):
    def work(k):
        if k in (3, 7):
            raise ValueError(f"item {k}")

    with pytest.raises(ValueError, match="item 3"):
        each(work, range(10), threads)
    done = []
    each(done.append, range(10), threads)
    assert len(done) == 10, "threads continue after an exception"


@pytest.mark.parametrize("threads", [1, 2])
def test_nothing_to_do(threads):
    each(lambda item: pytest.fail("nothing"), [], threads)


def test_torch_uses_one_thread_inside_each():
    used = torch.get_num_threads()
    together = threading.Barrier(3)
    seen = []

    def look(_):
        together.wait(60)  # so that every thread takes one item
        seen.append((torch.get_num_threads(), threading.current_thread().name))

    try:
        torch.set_num_threads(3)
        pool.cache_clear()
        each(look, range(3), 3)
        assert torch.get_num_threads() == 3
        assert [count for count, _ in seen] == [1, 1, 1]
        torch.set_num_threads(2)
        each(look, range(3), 3)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(used)
    assert [count for count, _ in seen] == [1] * 6
    names = {name for _, name in seen}
    assert len(names) == 3 and all(name.startswith("neuromancer-kernel") for name in names)


def test_pools_are_reused_but_not_those_of_another_process():
    used = torch.get_num_threads()
    try:
        own, other = pool(2, os.getpid()), pool(2, -1)
        assert pool(2, os.getpid()) is own and other is not own
    finally:
        torch.set_num_threads(used)
