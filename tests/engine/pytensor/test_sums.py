"""Sums of expressions against float64: axes, memory formats, threads, precision."""

from __future__ import annotations

from itertools import combinations

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings

from neuromancer.engine.pytensor.kernels import sums
from neuromancer.engine.pytensor.kernels.expressions import Expression
from neuromancer.engine.pytensor.kernels.sums import Sums

x, y = Expression.operand(0), Expression.operand(1)
PRODUCT, SQUARE = Expression("mul", x, y), Expression("sqr", x)
FORMATS = [torch.contiguous_format, torch.channels_last_3d]


@pytest.fixture(autouse=True)
def small_tensors_too(monkeypatch):
    monkeypatch.setattr(sums, "SHARE", 16)


def compare(a, b, axes, rtol=1e-6):
    a64, b64 = a.double(), b.double()
    for found, exact in zip(Sums(PRODUCT, SQUARE, axes=axes)((a, b)), (a64 * b64, a64 * a64), strict=True):
        scale = exact.abs().sum(axes)
        assert found.shape == scale.shape and found.dtype is torch.float32
        assert ((found - exact.sum(axes)).abs() <= rtol * scale).all()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("shape", [(2, 3, 5, 7, 11), (1, 16, 6, 6, 30), (2, 17, 3, 4, 100), (1, 1, 1, 1, 5000)])
def test_all_axes_and_formats(shape, fmt, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    image = torch.randn(shape).to(memory_format=fmt)
    try:
        for n in range(1, 6):
            for axes in list(combinations(range(5), n))[::2]:
                compare(image, torch.randn(1, shape[1], 1, 1, 1), axes)
                compare(image, image, axes)
    finally:
        torch.set_num_threads(before)


@st.composite
def arrays(draw):
    """An array with axes in any order in memory, maybe cropped; one that broadcasts against it; axes of sums."""
    ndim = draw(st.integers(2, 5))
    shape = [draw(st.integers(1, 9)) for _ in range(ndim)]
    shape[draw(st.integers(0, ndim - 1))] = draw(st.sampled_from([2, 20, 33, 100, 700, 3000]))
    order, margin = draw(st.permutations(range(ndim))), draw(st.sampled_from([0, 0, 0, 1]))
    whole = torch.randn([shape[a] + margin for a in order]).permute([order.index(a) for a in range(ndim)])
    other = torch.randn([n if draw(st.booleans()) else 1 for n in shape])
    axes = draw(st.lists(st.integers(0, ndim - 1), min_size=1, unique=True))
    return whole[(slice(margin, None),) * ndim], other, tuple(sorted(axes))


@given(arrays(), st.sampled_from([1, 2]))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_shape_and_format(case, threads):
    a, b, axes = case
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = Sums(PRODUCT, SQUARE, axes=axes)((a, b))
    finally:
        torch.set_num_threads(before)
    a64, b64 = a.double().numpy(), b.double().numpy()
    for got, terms in zip(found, (a64 * b64, a64**2), strict=True):
        scale = np.abs(terms).sum(axes)
        assert (np.abs(got.numpy() - terms.sum(axes)) <= 1e-6 * scale).all()


@pytest.mark.parametrize(("channels", "groups"), [(2, 1), (8, 2), (16, 8), (20, 4), (33, 11)])
@pytest.mark.parametrize("threads", [1, 2])
def test_groups_of_channels(channels, groups, threads, monkeypatch):
    """The fastest axes of the image are groups, which are kept, and the channels of a group, which are not."""
    seen, image = [], torch.randn(2, channels, 9, 10, 11).to(memory_format=torch.channels_last_3d)
    arranged = sums.arranged
    monkeypatch.setattr(
        sums, "arranged", lambda *args: seen.append(arranged(*args)[0].axes[-1].length) or arranged(*args)
    )
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        compare(image.unflatten(1, (groups, -1)), torch.randn(2, groups, 1, 1, 1, 1), (2, 3, 4, 5))
    finally:
        torch.set_num_threads(before)
    assert min(seen) >= channels


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int16, torch.int32])
@pytest.mark.parametrize("fmt", FORMATS)
def test_operands_of_several_dtypes(fmt, dtype):
    """A gradient sums float32 values where a mask is set."""
    image = torch.randn(2, 5, 9, 10, 11).to(memory_format=fmt)
    numbers = torch.randint(0, 2, (2, 5, 9, 10, 11)).to(dtype).to(memory_format=fmt)
    for axes in [(2, 3, 4), (0, 2, 3, 4), (0,), (1,), (0, 1, 2, 3, 4)]:
        compare(image, numbers, axes)
        compare(numbers, image, axes)


@pytest.mark.parametrize("fmt", FORMATS)
def test_parts_of_images(fmt):
    image = torch.randn(2, 5, 9, 10, 30).to(memory_format=fmt)[:, 1:, 2:, :-3, 4:]
    for axes in [(2, 3, 4), (0, 2, 3, 4), (1,), (0, 1, 2, 3, 4)]:
        compare(image, torch.randn(2, 4, 1, 1, 26), axes)


def test_many_sums_are_those_of_torch(monkeypatch):
    monkeypatch.setattr(sums, "MANY", 10)
    compare(torch.randn(4, 5, 6), torch.randn(4, 5, 6), (1,))


def test_small_tensors_and_operands_alone(monkeypatch):
    monkeypatch.setattr(sums, "SHARE", 1 << 15)
    a = torch.randn(4, 5)
    torch.testing.assert_close(Sums(x, axes=[0])((a,))[0], a.sum(0))
    assert Sums(x, axes=[1])((torch.zeros(3, 0),))[0].tolist() == [0, 0, 0]


def test_not_a_number_stays_in_its_sum():
    a = torch.ones(3, 4, 50)
    a[1, 2, 3] = float("nan")
    a[2, 0, 49] = float("inf")
    (found,) = Sums(SQUARE, axes=[1, 2])((a,))
    assert found.tolist()[0] == 200 and found[1].isnan() and found[2].isinf()
    (found,) = Sums(SQUARE, axes=[0])((a,))
    assert found.isnan().sum() == found.isinf().sum() == 1


def test_sums_of_many_values_are_exact():
    """In float32, 2^24 + 1 is 2^24: adding ones would end there."""
    ones = torch.ones(1).expand(1 << 14, 1 << 11)
    assert Sums(Expression("add", x, Expression.number(0.0)), axes=[0, 1])((ones,))[0].item() == 1 << 25


@pytest.mark.parametrize("mean", [0.0, 1e3, 1e4])
def test_variance_beside_a_large_mean(mean):
    torch.manual_seed(0)
    a = torch.randn(2, 3, 20, 20, 20) + mean
    a64 = a.double()
    total, squares = Sums(x, SQUARE, axes=[2, 3, 4])((a - mean,))
    n = 8000
    variance = squares / n - (total / n) ** 2
    torch.testing.assert_close(variance.double(), a64.var((2, 3, 4), correction=0), rtol=1e-5, atol=0)
