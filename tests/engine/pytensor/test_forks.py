"""A forked child computes, in one thread, even if its parent has computed in several."""

from __future__ import annotations

import multiprocessing

import numpy as np
import pytest
import torch

from neuromancer import engine as E


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_a_child_of_a_parent_with_threads(two_threads):
    x, w = E.tensor("x", (None, 4, None, None), "float32"), E.tensor("w", (4, 4, 3, 3), "float32")
    function = E.function([x, w], E.conv(x, w).sum())
    data, kernel = np.ones((1, 4, 200, 200), "float32"), np.ones((4, 4, 3, 3), "float32")
    want = function(data, kernel)
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    process = context.Process(target=lambda: queue.put((float(function(data, kernel)), torch.get_num_threads())))
    process.start()
    process.join(60)
    hangs = process.is_alive()
    process.kill()
    assert not hangs
    got, threads = queue.get()
    assert threads == 1
    np.testing.assert_allclose(got, want, rtol=1e-5)
