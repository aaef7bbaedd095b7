"""Functions that are written with Python's operators compute what Python would."""

from __future__ import annotations

import subprocess
import sys
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromancer.engine.pytensor.kernels import products
from neuromancer.engine.pytensor.kernels.native import FLOATS, INT, INTS, Vectors
from neuromancer.engine.pytensor.kernels.simd import CACHE_LINE, LANES
from neuromancer.engine.pytensor.kernels.values import loop, unless, when, written
from neuromancer.engine.pytensor.kernels.vectors import load, registers, store, vectors

OPERATIONS = {
    "sum": lambda a, b: a + b,
    "difference": lambda a, b: a - b,
    "product": lambda a, b: a * b,
    "quotient": lambda a, b: a // (b * b + 1),
    "remainder": lambda a, b: a % (b * b + 1),
    "with constants": lambda a, b: 3 + (a - 2) * 5,
}
CHOICES = {
    "smaller": (lambda a, b: a < b, lambda a, b: a < b),
    "larger": (lambda a, b: a > b, lambda a, b: a > b),
    "at least": (lambda a, b: a >= b, lambda a, b: a >= b),
    "index": (lambda a, b: (a - 3).within(b), lambda a, b: 0 <= a - 3 < b),
    "both": (lambda a, b: (a > 3) & (b > 4), lambda a, b: a > 3 and b > 4),
}


@cache
def arithmetic():
    """Write the result of each operation, then the choice between 1 and 0, then the least and the most."""

    def write(result, a, b):
        values = [operation(a, b) for operation in OPERATIONS.values()]
        values += [flag(a, b).choose(1, 0) for flag, _ in CHOICES.values()]
        for k, value in enumerate([*values, a.least(b), a.most(b)]):
            (result + k).put(value)

    return written("arithmetic", [INTS, INT, INT], write)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 1 << 20), st.integers(0, 1 << 10))
def test_operators_are_those_of_python(a, b):
    result = np.zeros(len(OPERATIONS) + len(CHOICES) + 2, np.int64)
    arithmetic()(result.ctypes.data, a, b)
    expected = [operation(a, b) for operation in OPERATIONS.values()]
    expected += [int(flag(a, b)) for _, flag in CHOICES.values()]
    assert result.tolist() == [*expected, min(a, b), max(a, b)]


@pytest.mark.parametrize(("first", "end"), [(0, 5), (2, 9), (4, 4), (5, 2)])
def test_loops_and_conditions(first, end):
    def write(x, first, end):
        with loop(end, first) as k:
            with when(k % 2 > 0):
                (x + k).put(k)
            with unless(k % 2 > 0):
                (x + k).put(k * 10)

    x = np.full(10, -1, np.int64)
    written("loops", [INTS, INT, INT], write)(x.ctypes.data, first, end)
    expected = [(k if k % 2 else 10 * k) if first <= k < end else -1 for k in range(10)]
    assert x.tolist() == expected


def test_a_function_calls_another_one_by_its_address():
    kinds = [INTS, INT]
    add = written("add", kinds, lambda x, n: x.put(x.get() + n))

    def write(function, x):
        with loop(x.constant(3)) as k:
            function.call(kinds, x + k, k * 7)

    x = np.array([1, 2, 3, 4])
    written("calls", [INT, INTS], write)(add.address, x.ctypes.data)
    assert x.tolist() == [1, 9, 17, 4]


def test_room_on_the_stack_is_aligned_and_written_to():
    def write(x, result, count):
        room = x.room(count)
        result.put(type(x)(x.builder, x.builder.ptrtoint(room.raw, INT)))
        with loop(count) as k:
            (room + k).put((x + k).get())
        with loop(count) as k:
            (x + k).put((room + (count - 1 - k)).get())

    x, place = np.arange(100, dtype="float32"), np.zeros(1, np.int64)
    written("room", [FLOATS, INTS, INT], write)(x.ctypes.data, place.ctypes.data, 100)
    assert place[0] % CACHE_LINE == 0 and x.tolist() == list(range(99, -1, -1))


@pytest.mark.parametrize("count", [LANES, LANES + 1, 3 * LANES, 3 * LANES + 5])
def test_vectors_of_a_row_and_their_parts(count):
    def write(x, y, count):
        with vectors(count) as k, registers(x) as (part, kind):
            store(load(x + (k + part), kind), y + (k + part))

    x, y = np.arange(count, dtype="float32"), np.full(count + 1, -1, "float32")
    written("copy", [FLOATS, FLOATS, INT], write)(x.ctypes.data, y.ctypes.data, count)
    assert y.tolist() == [*x, -1]


@pytest.mark.parametrize(
    ("registers", "expected"),
    [(Vectors(16, 32), (6, 2)), (Vectors(8, 16), (2, 1)), (Vectors(4, 32), (2, 1)), (Vectors(4, 16), (1, 1))],
)
def test_blocks_of_products_fit_into_the_registers(registers, expected, monkeypatch):
    monkeypatch.setattr(products, "vectors", lambda: registers)
    assert products.block_size() == expected


def test_kernels_do_not_wait_for_numba():
    """Importing it takes longer than compiling a kernel."""
    code = """
import sys, torch
from neuromancer.engine.pytensor.kernels import fourier, pool, winograd
x, w = torch.zeros(1, 16, 20, 20), torch.zeros(16, 16, 3, 3)
for tiling in (fourier.Tiling(x.shape, w.shape, (1, 1), (1, 6, 6)), winograd.Tiling(x.shape, w.shape, (1, 1), 6)):
    tiling.conv(x, tiling.transformed(w), None, (0, 0))
pool.max_pool_one_pass(x.to(memory_format=torch.channels_last), (2, 2), (1, 1))
assert "numba" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
