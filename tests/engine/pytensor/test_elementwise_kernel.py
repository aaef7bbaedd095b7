"""Expressions over tensors against torch: shapes, memory formats, dtypes, threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings

from neuromancer.engine.pytensor.kernels.elementwise import Elementwise
from neuromancer.engine.pytensor.kernels.expressions import Expression
from neuromancer.engine.pytensor.kernels.row_layout import arranged, format_of

x, y, z = (Expression.operand(k) for k in range(3))
MULTIPLY_ADD = Elementwise(Expression("add", Expression("mul", x, y), z))
IDENTITY = Expression("mul", x, Expression.number(1.0))


def compare(*operands):
    """Compare x * y + z with torch, also in memory format."""
    (found,) = MULTIPLY_ADD(operands)
    expected = operands[0] * operands[1] + operands[2]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    return found


@st.composite
def operands(draw):
    """Three tensors that broadcast to one shape, each with axes in any order in memory, maybe cropped."""
    ndim = draw(st.integers(1, 5))
    shape = [draw(st.integers(1, 7)) for _ in range(ndim)]
    if draw(st.booleans()):
        shape[draw(st.integers(0, ndim - 1))] = draw(st.sampled_from([33, 100, 5000]))
    tensors = []
    for k in range(3):
        own = [n if k == 0 or draw(st.booleans()) else 1 for n in shape]
        margins = [draw(st.sampled_from([0, 0, 0, 1])) for _ in own]
        order = draw(st.permutations(range(ndim)))
        whole = torch.randn([own[a] + margins[a] for a in order]).permute([order.index(a) for a in range(ndim)])
        tensors.append(whole[tuple(slice(m, None) for m in margins)])
    return tensors


@given(operands())
@settings(max_examples=150)
def test_any_shape_and_format(tensors):
    torch.manual_seed(0)
    found, expected = compare(*tensors), torch.empty_like(tensors[0], device="meta")
    # the stride along an axis of length 1 means nothing
    assert [s for s, n in zip(found.stride(), found.shape, strict=True) if n > 1] == [
        s for s, n in zip(expected.stride(), expected.shape, strict=True) if n > 1
    ]


@pytest.mark.parametrize("fmt", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize("channels", [1, 2, 3, 16, 17])
@pytest.mark.parametrize("threads", [1, 2])
def test_values_per_channel(fmt, channels, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        image = torch.randn(2, channels, 31, 30, 29).to(memory_format=fmt)
        compare(image, torch.randn(1, channels, 1, 1, 1), torch.randn(2, channels, 1, 1, 1))
        compare(image[:, :, 3:, :-2, 5:], torch.randn(2, channels, 1, 1, 1), torch.randn(1, 1, 28, 1, 24))
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("channels", "groups"), [(2, 2), (8, 2), (16, 8), (20, 4), (33, 11)])
def test_values_per_group_of_channels(channels, groups):
    """They are repeated for every channel, so that rows are longer than a group."""
    image = torch.randn(2, channels, 21, 20, 19).to(memory_format=torch.channels_last_3d)
    grouped = image.unflatten(1, (groups, -1))
    a, b = torch.randn(1, groups, 1, 1, 1, 1), torch.randn(2, groups, channels // groups, 1, 1, 1)
    compare(grouped, a, b)
    shape, strides = format_of([grouped, a, b])
    assert arranged((grouped, a, b), shape, strides, [strides])[0].axes[-1].length >= 512


def test_small_operands_that_are_not_contiguous():
    """They are copied as they are, not repeated to the size of the result."""
    image, vector = torch.randn(2, 16, 21, 20, 19).to(memory_format=torch.channels_last_3d), torch.randn(32)[::2]
    vector = vector.reshape(1, 16, 1, 1, 1)
    compare(image, torch.randn(1, 48, 1, 1, 1)[:, ::3], torch.randn(16, 2).T[:, :, None, None, None])
    compare(image, vector, vector)
    strided = torch.randn(1, 48, 1, 1, 1)[:, ::3]
    shape, strides = format_of([image, strided])
    first = arranged((image, strided), shape, strides, [strides])[1][0]
    assert first[0] == 1 and first[1](strided).numel() == 16


@pytest.mark.parametrize("shape", [(0,), (3, 0, 4), (), (1, 1)])
def test_degenerate_shapes(shape):
    assert compare(*(torch.randn(shape) for _ in range(3))).shape == shape


def test_numbers():
    image = torch.randn(3, 50)
    torch.testing.assert_close(MULTIPLY_ADD((image, 3.0, -0.5))[0], image * 3 - 0.5)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "int32", "bool"])
@pytest.mark.parametrize("n", [5, 1000])
def test_integers_are_converted(dtype, n):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 2, n) if dtype == "bool" else rng.integers(*_limits(dtype), n)
    array = values.astype(dtype)
    (found,) = Elementwise(Expression("mul", x, Expression.number(0.25)))((torch.from_numpy(array),))
    np.testing.assert_array_equal(found.numpy(), array.astype(np.float32) * np.float32(0.25))


def _limits(dtype):
    limits = np.iinfo(dtype)
    return max(limits.min, -(2**24)), min(limits.max, 2**24)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "int32", "bool"])
def test_results_are_converted(dtype):
    values = torch.linspace(0, 127.9, 1001)
    values[:2] = torch.tensor([0.0, 0.5])
    (found,) = Elementwise(IDENTITY, dtypes=[getattr(torch, dtype)])((values,))
    np.testing.assert_array_equal(found.numpy(), values.numpy().astype(dtype))
    assert found.numpy().dtype == dtype


def test_masks_are_results():
    values = torch.randn(100)
    mask = Expression("gt", x, Expression.number(0.0))
    truth, numbers = Elementwise(mask, mask, dtypes=[torch.bool, torch.float32])((values,))
    assert torch.equal(truth, values > 0) and torch.equal(numbers, (values > 0).float())


def test_results_overwrite_operands():
    a, b = torch.randn(2, 1000), torch.randn(2, 1000)
    total, difference = a + b, a - b
    both = Elementwise(Expression("add", x, y), Expression("sub", x, y))
    first, second = both((a, b), into=(1, 0))
    assert first.data_ptr() == b.data_ptr() and second.data_ptr() == a.data_ptr()
    assert torch.equal(first, total) and torch.equal(second, difference)


def test_only_operands_of_the_right_kind_are_overwritten():
    a, vector, image = torch.randn(4, 100), torch.randn(1, 100), torch.ones(4, 100, dtype=torch.uint8)
    for over in range(3):
        operands = (a.clone(), vector.clone(), image.clone())
        (found,) = MULTIPLY_ADD(operands, into=(over,))
        assert (found.data_ptr() == operands[over].data_ptr()) is (over == 0)
        torch.testing.assert_close(found, a * vector + image)


def test_many_threads_may_call():
    fresh = Elementwise(Expression("add", Expression("exp", x), y))
    images = [torch.randn(k % 7 + 1, 1000) for k in range(200)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda image: fresh((image, image))[0], images))
    for image, result in zip(images, found, strict=True):
        torch.testing.assert_close(result, image.exp() + image)


def test_what_can_be_an_operand():
    assert Elementwise.takes(torch.zeros(1)) and Elementwise.takes(1.0)
    assert not Elementwise.takes(torch.zeros(1, dtype=torch.float64))
    assert not Elementwise.takes(torch.zeros(1, device="meta"))
