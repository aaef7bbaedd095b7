"""PyTensor's random draws: `perform` agrees with the torch form; other devices advance the state alike."""

from __future__ import annotations

import numpy as np
import pytensor
import pytest

from neuromancer import engine as E
from neuromancer.config import config
from neuromancer.engine.pytensor.ops.random import RandomDraw
from tests.engine.pytensor.test_conv_ops import PYTHON


def test_other_devices_do_not_matter_for_the_state() -> None:
    stream = E.RandomStream(2)
    f = E.function([], stream.uniform((2,)))
    first = f()
    f()
    config.device = "meta"
    try:
        E.function([], stream.uniform((2,)))()
    finally:
        config.device = "cpu"
    stream.reseed(2)
    np.testing.assert_array_equal(f(), first)


@pytest.mark.parametrize("kind", ["normal", "uniform", "bernoulli"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_perform_gives_the_same_numbers(kind, dtype) -> None:
    state = E.constant(np.array([7, 3]))
    state_after, numbers = RandomDraw(kind, dtype)(state, np.float32(0.5), 3, 4)
    assert numbers.type.shape == (3, 4)
    slow = pytensor.function([], [state_after, numbers], mode=PYTHON)()
    fast = E.function([], [state_after, numbers])()
    np.testing.assert_array_equal(slow[0], [7, 4])
    for a, b in zip(slow, fast, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype
