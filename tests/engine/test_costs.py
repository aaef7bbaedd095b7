"""Costs that plans are told: multiply-adds of direct convolution against counting them, and arrays of a pool."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuromancer import engine as E
from neuromancer.config import config
from neuromancer.engine.common.costs import copies_by_axes, direct_conv_cost, no_device_memory, one_call_at_a_time
from neuromancer.engine.common.pending import Done
from tests.engine import reference


@st.composite
def layers(draw):
    """Draw the shapes of an input and a kernel that fits it, and a dilation."""
    ndim = draw(st.integers(1, 3))
    axes = st.tuples(*[st.integers(1, 3)] * ndim)
    kernel, dilation, extra = draw(axes), draw(axes), draw(axes)
    sizes = [d * (k - 1) + e for k, d, e in zip(kernel, dilation, extra, strict=True)]
    b, n_in, n_out = draw(st.tuples(*[st.integers(1, 3)] * 3))
    return (b, n_in, *sizes), (n_out, n_in, *kernel), dilation


@given(layers())
def test_multiply_adds_of_a_direct_convolution_are_counted(layer) -> None:
    """A convolution of ones adds 1 per multiplication."""
    x_shape, w_shape, dilation = layer
    ndim = len(dilation)
    ones = reference.conv(np.ones(x_shape), np.ones(w_shape), (1,) * ndim, dilation, (0,) * ndim)
    assert direct_conv_cost(*layer, "float32") == (ones.sum(), 0, 0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_engine_knows_the_cost_of_every_layer(dtype) -> None:
    config.device = "cpu"
    for n_out in (1, 16, 32):
        layer = (2, 3, 9, 10), (n_out, 3, 2, 3), (2, 1)
        seconds, kept, scratch = E.conv_cost(*layer, dtype)
        assert seconds > 0 and kept >= 0 and scratch >= 0
        if dtype == "float64" or E.NAME == "theano":
            products = 2 * prod((7, 8)) * n_out * 3 * prod((2, 3))
            assert seconds == products * E.unit_costs(dtype).product


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_only_convolutions_along_rows_read_parts(dtype) -> None:
    config.device = "cpu"
    few, many = ((1, n, 400, 400) for n in (8, 2048))
    along_rows = dtype == "float32" and E.NAME == "pytensor"
    assert E.reads_parts(few, (2, 8, 3, 3), (1, 1), dtype) == along_rows
    assert not E.reads_parts((1, 8, 4, 4), (2, 8, 3, 3), (1, 1), dtype)  # too little work for another algorithm
    assert not E.reads_parts(many, (2048, 2048, 1, 1), (1, 1), dtype)  # a matrix product is faster


def test_a_maximum_takes_two_arrays_at_most() -> None:
    assert [copies_by_axes(axes, "float32") for axes in (0, 1, 2, 3)] == [0, 1, 2, 2]
    config.device = "cpu"
    for dtype in ("float32", "float64"):
        assert all(1 <= E.pool_copies(axes, dtype) <= 2 for axes in (1, 2, 3))


@pytest.mark.skipif(E.NAME != "pytensor", reason="other engines are started with a number of threads")
def test_tasks_share_the_processor() -> None:
    import torch

    before = torch.get_num_threads()
    with E.shared_processor(1000):
        assert torch.get_num_threads() == 1
    with E.shared_processor(1):
        assert 1 <= torch.get_num_threads() <= before
    assert torch.get_num_threads() == before


def test_on_the_host_there_is_no_device_memory_and_one_call_at_a_time() -> None:
    config.device = "cpu"
    assert E.free_memory() is None is no_device_memory()
    assert E.calls_under_way() == one_call_at_a_time() == 1


def test_a_started_call_has_finished_on_the_host_and_its_result_is_that_of_a_call() -> None:
    config.device = "cpu"
    x, p = E.tensor("x", (None,), "float32"), E.SharedVariable(np.zeros(2, "float32"), "p")
    f = E.function([x], [x * 2, p + 0], updates=[(p, p + x)])
    first = f.start([1, 2])
    assert p.get_value().tolist() == [1, 2], "updates have been applied"
    second = f.start([3, 4])
    assert [v.tolist() for v in first.result()] == [[2, 4], [0, 0]]
    assert [v.tolist() for v in second.result()] == [[6, 8], [1, 2]]
    assert second.result() is second.result()
    assert E.function([x], x + 1).start([1]).result().tolist() == [2], "one output is not in a list"
    assert Done(5).result() == 5


def test_only_convolutions_along_rows_are_planar() -> None:
    config.device = "cpu"
    few, many = ((1, n, 400, 400) for n in (8, 2048))
    layers = (few, (2, 8, 3, 3)), (many, (2048, 2048, 1, 1))
    kinds = [E.is_planar(*shapes, (1, 1), "float32") for shapes in layers]
    assert kinds == ([True, False] if E.NAME == "pytensor" else [None, None])
    assert E.is_planar(few, (2, 8, 3, 3), (1, 1), "float64") is None
