"""Mean and variance in one pass: precision, values that are not finite, and where programs use it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import neuromancer as nm
from neuromancer import engine as E
from neuromancer.engine.pytensor.kernels import sums
from neuromancer.engine.pytensor.kernels.moments import centred_sums, raw_moments
from neuromancer.engine.pytensor.ops.moments import CentredSums, RawMoments
from tests.engine.pytensor.test_fusion import operations

T = E.T
AXES = [(2, 3, 4), (0, 2, 3, 4)]


@pytest.fixture(autouse=True)
def small_tensors_too(monkeypatch):
    monkeypatch.setattr(sums, "SHARE", 16)


def exact(x, axes):
    """Return mean and variance in float64."""
    x = x.double()
    return x.mean(axes), x.var(axes, correction=0)


def computed(x, axes):
    """Return mean and variance by the sums of deviations from the mean in float32."""
    n = np.prod([x.shape[axis] for axis in axes])
    total, raw = raw_moments(x, axes)
    shape = [1 if axis in axes else size for axis, size in enumerate(x.shape)]
    center = (total / n).reshape(shape)
    first, second = centred_sums(raw, center, axes)
    shift = first.double() / n
    return center.double().reshape(shift.shape) + shift, second.double() / n - shift**2


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("fmt", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize("mean", [0.0, -3.0, 1e3, 1e5])
def test_precision_beside_a_large_mean(mean, fmt, axes):
    torch.manual_seed(0)
    x = (torch.randn(2, 3, 20, 21, 22) + mean).to(memory_format=fmt)
    for got, want in zip(computed(x, axes), exact(x, axes), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("channels", "groups"), [(2, 1), (5, 1), (8, 2), (16, 8), (20, 4), (33, 11)])
def test_groups_of_channels_last_images(channels, groups):
    torch.manual_seed(0)
    x = (torch.randn(2, channels, 12, 13, 14) + 100).to(memory_format=torch.channels_last_3d)
    grouped = x.unflatten(1, (groups, channels // groups))
    for got, want in zip(computed(grouped, (2, 3, 4, 5)), exact(grouped, (2, 3, 4, 5)), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-7)


def test_precision_with_a_middle_that_differs():
    torch.manual_seed(0)
    x = torch.randn(1, 2, 20, 20, 20) + 1e4
    x[:, :, 10, 10, 10] = 0
    x[0, 1, 10, 10, 10] = -1e6
    for got, want in zip(computed(x, (2, 3, 4)), exact(x, (2, 3, 4)), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-6, atol=0)


def test_values_that_are_equal_have_no_variance():
    x = torch.full((1, 2, 10, 10, 10), 0.1)
    mean, variance = computed(x, (2, 3, 4))
    assert variance.tolist() == [[0, 0]]
    torch.testing.assert_close(
        mean, torch.full((1, 2), np.float32(0.1).item(), dtype=torch.float64), rtol=1e-12, atol=0
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("place", [0, 5])
def test_values_that_are_not_finite(value, place):
    x = torch.randn(1, 3, 10, 10, 10)
    x[0, 1, place, place, place] = value
    total, raw = raw_moments(x, (2, 3, 4))
    torch.testing.assert_close(total, x.sum((2, 3, 4)), equal_nan=True, rtol=1e-4, atol=1e-4)
    first, second = centred_sums(raw, total.reshape(1, 3, 1, 1, 1) / 1000, (2, 3, 4))
    assert first.isnan().tolist() == second.isnan().tolist() == [[False, True, False]]


def test_moments_over_all_axes():
    x = torch.randn(3, 4, 50) + 7
    for got, want in zip(computed(x, (0, 1, 2)), exact(x, (0, 1, 2)), strict=True):
        torch.testing.assert_close(got.squeeze(), want, rtol=1e-6, atol=0)


def test_no_values():
    total, raw = raw_moments(torch.zeros(0, 3, 5), (0, 2))
    assert total.tolist() == [0, 0, 0]
    assert [v.tolist() for v in centred_sums(raw, torch.zeros(1, 3, 1), (0, 2))] == [[0, 0, 0]] * 2


@pytest.mark.parametrize("mean", [0, 1e4])
@pytest.mark.parametrize("make", [nm.BatchNorm, nm.InstanceNorm])
def test_normalisations_use_it(make, mean):
    node = make(nm.Input((2, 3, 12, 13, 14), "b,f,z,y,x", print_repr=False), print_repr=False)
    function = E.function(node.input_tensors, node.output)
    found = operations(function)
    assert RawMoments in found and CentredSums in found
    x = (np.random.default_rng(0).standard_normal((2, 3, 12, 13, 14)) + mean).astype("float32")
    axes = (2, 3, 4) if make is nm.InstanceNorm else (0, 2, 3, 4)
    x64 = x.astype("float64")
    want = (x64 - x64.mean(axes, keepdims=True)) / np.sqrt(x64.var(axes, keepdims=True) + node.eps)
    np.testing.assert_allclose(function(x), want, rtol=1e-4, atol=1e-5)


def test_sums_that_are_not_moments_are_kept():
    x, y = (E.tensor(name, (None, 3, None), "float32") for name in "xy")
    c = T.sum(x, axis=(0, 2), keepdims=True)
    moved = T.exp(y) - c
    other = E.function([x, y], [c, T.sum(T.sqr(moved), axis=(0, 2)), T.sum(moved, axis=(0, 2))])
    assert RawMoments not in operations(other)
    a, b = np.random.default_rng(0).standard_normal((2, 4, 3, 50)).astype("float32")
    total = a.sum((0, 2), keepdims=True)
    difference = (np.exp(b) - total).astype("float64")
    for got, want in zip(other(a, b), (total, (difference**2).sum((0, 2)), difference.sum((0, 2))), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-4)
