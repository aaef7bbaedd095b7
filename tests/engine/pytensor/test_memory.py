"""Reused memory: never shared by two arrays, merged when it is free, and returned to the system."""

from __future__ import annotations

import gc
import mmap
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromancer import engine as E
from neuromancer import host_memory
from neuromancer.dense.memory import available
from neuromancer.engine.pytensor.kernels import memory
from neuromancer.engine.pytensor.kernels.memory import Range, Reserve, empty

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems use numpy's memory")
PAGE = mmap.PAGESIZE


def eventually(condition) -> None:
    """Wait for a condition, up to ten seconds."""
    end = time.monotonic() + 10
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    assert condition()


def resident() -> int:
    """Return the resident memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3 * PAGE), st.integers(0, 5)), max_size=40))
def test_arrays_do_not_share_memory_and_all_of_it_is_returned(steps):
    addresses = Range(64 * PAGE)
    alive = []
    for size, victim in steps:
        if victim < len(alive):
            del alive[victim]
        array = addresses.take((size,))
        if array is None:
            continue
        array[:] = len(alive)
        alive.append((array, len(alive)))
        for other, value in alive:
            assert (other == value).all()
    del alive[:]
    array = other = None
    assert addresses.is_empty


def test_first_fit():
    addresses = Range(16 * PAGE)
    first, second = addresses.take((PAGE,)), addresses.take((PAGE,))
    place = first.ctypes.data
    del first
    third = addresses.take((PAGE,))
    assert third.ctypes.data == place and second.ctypes.data == place + 4 * PAGE
    assert addresses.take((16 * PAGE,)) is None


def chain(reserve):
    """Take results that are each computed from the previous one."""
    before = None
    for megabytes in (74, 73, 72, 128, 110):
        array = reserve.take((megabytes << 18,))
        array[0] = 0 if before is None else before[0]
        before = array


def test_a_chain_of_results_takes_no_more_memory_than_the_largest_two():
    reserve = Reserve()
    for _ in range(3):
        chain(reserve)
        assert sum(some.resident for some in reserve.ranges) == (128 + 110) << 20


def test_room_is_made_from_free_memory():
    reserve = Reserve()
    chain(reserve)
    kept = reserve.take((40 << 18,))
    reserve.make_room(50 << 20)
    assert sum(some.resident for some in reserve.ranges) == (128 + 110 - 50) << 20
    reserve.make_room(500 << 20)
    assert sum(some.resident for some in reserve.ranges) == kept.nbytes


@pytest.fixture
def impatient(monkeypatch):
    """A reserve that keeps nothing beyond 4 MiB, and waits for a fifth of a second."""
    monkeypatch.setattr(memory, "KEPT", 4 << 20)
    monkeypatch.setattr(memory, "IDLE", 0.2)
    return Reserve()


def test_memory_beyond_the_kept_part_is_returned(monkeypatch, impatient):
    reserve = impatient
    monkeypatch.setattr(memory, "available", lambda: 0)
    with reserve.hold():
        before = resident()
        arrays = [reserve.take((16 << 20,)) for _ in range(2)]
        for array in arrays:
            array[:] = 1
        del array
        with reserve.hold():
            kept = arrays.pop()
        assert resident() - before > 120 << 20
        arrays.clear()
    assert resident() - before < 90 << 20
    assert (kept == 1).all()
    del kept
    with reserve.hold():
        pass
    assert resident() - before < 40 << 20  # the C library may keep the memory of the comparison


def test_memory_is_kept_for_calls_that_follow_soon(impatient, monkeypatch):
    monkeypatch.setattr(memory, "IDLE", 600.0)
    for _ in range(3):
        with impatient.hold():
            impatient.take((16 << 20,))[:] = 1
        assert impatient.kept == 64 << 20
    impatient.release()
    assert impatient.kept == 0


def test_memory_is_returned_after_a_while(impatient):
    with impatient.hold():
        impatient.take((16 << 20,))[:] = 1
    eventually(lambda: impatient.kept == 4 << 20)


def test_a_long_call_returns_what_earlier_ones_left(impatient):
    with impatient.hold():
        impatient.take((16 << 20,))[:] = 1
    with impatient.hold():
        used = impatient.take((8 << 20,))
        used[:] = 2
        eventually(lambda: sum(some.resident for some in impatient.ranges) <= (32 + 4) << 20)
        assert (used == 2).all()


def test_blocks_may_keep_nothing(impatient, monkeypatch):
    monkeypatch.setattr(memory, "IDLE", 600.0)
    with impatient.hold(and_after=False):
        impatient.take((16 << 20,))[:] = 1
    assert impatient.kept == 4 << 20


def test_memory_is_returned_at_once_without_further_threads(monkeypatch, impatient):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(memory.Timer, "start", refuse)
    with impatient.hold():
        impatient.take((16 << 20,))[:] = 1
    assert impatient.kept == 4 << 20


def test_kept_memory_counts_as_available(monkeypatch):
    monkeypatch.setattr(host_memory, "available", lambda: 10**9)
    with memory.reserve.hold():
        memory.reserve.take((128 << 20,))[:] = 1
        assert E.kept_memory() >= 512 << 20
        assert available() == 10**9 + E.kept_memory()
    E.return_memory()
    assert E.kept_memory() == 0 and available() == 10**9


def test_numpy_allocates_small_results_and_all_under_an_address_limit(monkeypatch):
    reserve = Reserve()
    assert reserve.take((10, 2)).shape == (10, 2) and reserve.ranges == []

    def refuse(*args, **kwargs):
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(memory.mmap, "mmap", refuse)
    array = reserve.take((2 << 20,))
    assert array.dtype == np.float32 and array.flags.owndata and reserve.ranges == []


def test_a_tensor_keeps_its_memory():
    tensor = empty(3, 1 << 20)
    tensor.fill_(3)
    rows = tensor[1:].numpy()
    del tensor
    gc.collect()
    others = [empty(1 << 20).fill_(5) for _ in range(4)]
    assert (rows == 3).all() and len(others) == 4
