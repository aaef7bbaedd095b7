"""Linear interpolation of images against torch in float64: sizes, memory formats, threads, values not finite."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch.nn.functional import interpolate

from neuromancer.engine.pytensor.kernels import interpolation, linear_resize

MODES = ("linear", "bilinear", "trilinear")


def expected(x, sizes, align_corners):
    return interpolate(x.double(), size=list(sizes), mode=MODES[len(sizes) - 1], align_corners=align_corners)


@st.composite
def images(draw):
    """An image, maybe channels-last or cropped, and sizes that are not smaller."""
    spatial = draw(st.lists(st.integers(1, 9), min_size=1, max_size=3))
    sizes = tuple(n + draw(st.sampled_from([0, 1, n, 2 * n, 13])) for n in spatial)
    x = torch.randn(draw(st.integers(1, 3)), draw(st.sampled_from([1, 2, 3, 5, 16, 17])), *(n + 1 for n in spatial))
    if draw(st.booleans()):
        x = x.movedim(1, -1).contiguous().movedim(-1, 1)
    x = x[(slice(None), slice(None), *(slice(1, None) for _ in spatial))]
    return (x.clone() if draw(st.booleans()) else x), sizes


@given(images(), st.booleans(), st.sampled_from([1, 2, 5]))
@settings(max_examples=100)
def test_any_image(case, align_corners, threads):
    x, sizes = case
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = linear_resize.linear_resize(x, sizes, align_corners)
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(found.double(), expected(x, sizes, align_corners), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("fmt", [torch.contiguous_format, torch.channels_last_3d])
def test_large_images_keep_their_format(fmt):
    x = torch.randn(1, 16, 12, 13, 14).to(memory_format=fmt)
    sizes = (24, 26, 28)
    assert linear_resize.is_suitable(x, sizes)
    found = interpolation.resize(x, sizes, "linear", False)
    assert found.is_contiguous(memory_format=fmt)
    torch.testing.assert_close(found.double(), expected(x, sizes, False), rtol=1e-5, atol=1e-5)


def test_what_torch_interpolates():
    x = torch.randn(1, 8, 32, 32)
    assert linear_resize.is_suitable(x, (200, 200))
    for other, sizes in [(x, (40, 40)), (x, (1000, 31)), (x.double(), (200, 200)), (x[:0], (200, 200))]:
        assert not linear_resize.is_suitable(other, sizes)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_stay_near(value):
    x = torch.zeros(1, 1, 8, 8, 8)
    x[0, 0, 4, 4, 4] = value
    found = linear_resize.linear_resize(x, (16, 16, 16), False)
    torch.testing.assert_close(found.isfinite(), expected(x, (16, 16, 16), False).isfinite())
    assert (~found.isfinite()).sum() == 64
