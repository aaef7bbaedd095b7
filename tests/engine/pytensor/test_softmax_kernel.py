"""Softmax over a few channels in one pass, against torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neuromancer import engine as E
from neuromancer.engine.pytensor.kernels.softmax import is_suitable, softmax


@pytest.mark.parametrize("logarithm", [False, True])
@pytest.mark.parametrize("channels", [2, 3, 16])
def test_values(channels, logarithm):
    torch.manual_seed(0)
    x = torch.randn(2, channels, 30, 31, 20) * 10
    x[0, :, 0, 0, 0] = torch.tensor([-200.0, 300.0, *[0.0] * (channels - 2)])
    x[1, 1, 0, 0, 1] = float("nan")
    for image in (x, x[:, :, 1:, 2:, 3:]):
        assert is_suitable(image)
        want = (torch.log_softmax if logarithm else torch.softmax)(image, 1)
        torch.testing.assert_close(softmax(image, logarithm), want, rtol=1e-5, atol=1e-6, equal_nan=True)


def test_what_is_left_to_torch():
    x = torch.zeros(1, 3, 200, 200)
    assert is_suitable(x) and not is_suitable(x.double()) and not is_suitable(x[:, :, :5, :5])
    assert not is_suitable(x.to(memory_format=torch.channels_last)) and not is_suitable(x[:, :1])
    assert not is_suitable(torch.zeros(1, 17, 200, 200)) and not is_suitable(x.to("meta"))


def test_in_a_function():
    x = E.tensor("x", (1, 3, None, None), "float32")
    a = np.random.default_rng(0).standard_normal((1, 3, 150, 140)).astype("float32")
    for function, by_torch in ((E.softmax, torch.softmax), (E.log_softmax, torch.log_softmax)):
        got = E.function([x], function(x, 1))(a)
        np.testing.assert_allclose(got, by_torch(torch.from_numpy(a), 1).numpy(), rtol=1e-5, atol=1e-6)
