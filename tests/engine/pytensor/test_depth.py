"""Deep graphs: compilation, gradients, and long runs of elementwise operations."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import numpy as np
import pytest
from pytensor.tensor.elemwise import Elemwise

from neuromancer import engine as E
from neuromancer.engine.pytensor import depth as deep
from neuromancer.engine.pytensor.ops.fence import Fence
from neuromancer.errors import EngineError, InputTypeError
from neuromancer.exclusive import building_lock


def chain(n, step=E.T.tanh):
    x = E.tensor("x", (None,), "float32")
    y = x
    for _ in range(n):
        y = step(y)
    return x, y


def largest(function):
    """Return the largest number of inputs of an operation of a compiled function."""
    nodes = function.pytensor_function.maker.fgraph.apply_nodes
    assert not any(isinstance(node.op, Fence) for node in nodes)
    return max(len(node.inputs) for node in nodes if isinstance(node.op, Elemwise))


def test_graphs_deeper_than_the_recursion_limit():
    x, y = chain(1200)
    assert deep.depth([y]) == 1200
    limit, size = sys.getrecursionlimit(), threading.stack_size()
    value = np.float32([0, 1])
    want = value
    for _ in range(1200):
        want = np.tanh(want)
    np.testing.assert_allclose(E.function([x], y)(value), want, rtol=1e-4)
    assert (sys.getrecursionlimit(), threading.stack_size()) == (limit, size)


def test_gradient_of_a_deep_graph():
    x, y = chain(300)
    function = E.function([x], E.grad(y.sum(), [x])[0])
    value, want = np.float64([0.1, 1]), np.ones(2)
    for _ in range(300):
        value = np.tanh(value)
        want *= 1 - value**2
    np.testing.assert_allclose(function(np.float32([0.1, 1])), want, rtol=1e-3)
    assert largest(function) < 50


def test_short_runs_are_not_cut():
    x, y = chain(6)
    assert largest(E.function([x], E.grad(y.sum(), [x])[0])) >= 6


def test_errors_in_a_deep_graph_are_raised():
    _, y = chain(200)
    with pytest.raises(EngineError, match="depend on variables that are not given"):
        E.function([], y)
    with pytest.raises(InputTypeError, match="not a symbolic variable"):
        E.function([1], y)

    def fails():
        raise KeyError("inside")

    with pytest.raises(KeyError, match="inside"):
        deep.with_room([y], fails)


def test_work_in_its_own_thread_may_build():
    _, y = chain(200)
    here = threading.current_thread()

    def work():
        with E.building():
            return threading.current_thread(), deep.with_room([y], threading.current_thread)

    with building_lock:
        first, second = deep.with_room([y], work)
    assert len({here, first, second}) == 3
    assert deep.with_room([chain(3)[1]], threading.current_thread) is here


def test_a_stack_that_cannot_be_allocated(monkeypatch):
    _, y = chain(200)

    def refused(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    with pytest.raises(EngineError, match=r"a graph of this depth needs a larger stack.*got 200 operations in a row"):
        deep.with_room([y], lambda: 1)
    monkeypatch.undo()
    assert deep.with_room([y], lambda: 1) == 1


@pytest.mark.parametrize("pause", [0, 0.05])
def test_an_interrupt_reaches_the_work_and_leaves_everything_as_it_was(pause):
    """Also one that arrives while the thread is being started."""
    _, y = chain(200)
    limit, size = sys.getrecursionlimit(), threading.stack_size()
    ended = []

    def work():
        try:
            time.sleep(pause)
            os.kill(os.getpid(), signal.SIGINT)
            give_up = time.monotonic() + 30
            while time.monotonic() < give_up:
                time.sleep(0.001)
        except KeyboardInterrupt:
            ended.append("interrupted")
            raise

    with pytest.raises(KeyboardInterrupt):
        deep.with_room([y], work)
    assert ended == ["interrupted"]
    assert (sys.getrecursionlimit(), threading.stack_size()) == (limit, size)
    assert deep.with_room([y], lambda: 1) == 1, "the lock is free"


@pytest.mark.parametrize("operations", [deep.SHALLOW, deep.SHALLOW + 1])
def test_only_deep_graphs_get_a_thread_of_their_own(operations):
    _, y = chain(operations)
    alone = deep.with_room([y], threading.current_thread) is not threading.current_thread()
    assert alone == (operations > deep.SHALLOW)
    assert deep.depth([]) == 0 and deep.depth([chain(2)[1], y]) == operations, "the longest path counts"


def test_sums_are_not_merged_across_a_fence():
    x = E.tensor("x", (None,), "float32")
    y = E.fence(x - np.float32(1e8)) + np.float32(0.25)
    value, slope = E.function([x], [y, E.grad(y.sum(), [x])[0]])(np.float32([1e8]))
    assert (value.item(), slope.item()) == (0.25, 1)
