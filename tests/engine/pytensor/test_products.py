"""Products of complex matrices in groups of channels agree with numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromancer.engine.pytensor.kernels import products
from neuromancer.engine.pytensor.kernels.simd import LANES, PAIR


def array(offset, *shape):
    """float32 array that starts `offset` values after a cache line boundary, filled with NaN."""
    size = int(np.prod(shape))
    memory = np.full(size + 2 * LANES, np.nan, "float32")
    first = -memory.ctypes.data % 64 // 4 + offset
    return memory[first : first + size].reshape(shape)


def complex_of(groups):
    """Convert (..., groups * PAIR) to complex numbers (..., groups * LANES)."""
    parts = groups.reshape(*groups.shape[:-1], -1, 2, LANES).astype("float64")
    whole = parts[..., 0, :] + 1j * parts[..., 1, :]
    return whole.reshape(*groups.shape[:-1], -1)


@settings(max_examples=100, deadline=None)
@given(
    points=st.integers(1, 4),
    tiles=st.integers(1, 15),
    n_in=st.integers(1, 50),
    groups=st.integers(1, 5),
    offset=st.sampled_from([0, 0, 1, 4, 15]),
    data=st.data(),
)
def test_products_are_those_of_complex_matrices(points, tiles, n_in, groups, offset, data):
    first, end = sorted(data.draw(st.tuples(*[st.integers(0, points)] * 2)))
    rng = np.random.default_rng(0)
    before = -n_in % LANES
    room = (n_in + before) // LANES
    v, s = (array(offset, points, tiles, count * PAIR) for count in (room, groups))
    w = array(0, points, groups, n_in, PAIR)
    v[...], w[...] = rng.standard_normal(v.shape), rng.standard_normal(w.shape)
    v.reshape(points, tiles, room, 2, LANES)[:, :, 0, :, :before] = np.nan  # must not be read
    products.multiplier(v, w, s, before)((first, end))
    left = complex_of(v)[:, :, before:]
    right = np.moveaxis(complex_of(w), 1, 2).reshape(points, n_in, groups * LANES)
    expected = np.matmul(left, right)
    np.testing.assert_allclose(complex_of(s)[first:end], expected[first:end], atol=2e-6 * (n_in + 4))
    assert np.isnan(s[:first]).all() and np.isnan(s[end:]).all(), "other points belong to other threads"


@pytest.mark.parametrize("tiles", [5, 7])
def test_rows_do_not_depend_on_alignment_or_points(tiles):
    """The last block of rows may overlap the one before; fewer rows than a block are computed one by one."""
    rng = np.random.default_rng(0)
    v, w = array(0, 2, tiles, 3 * PAIR), array(0, 2, 3, 40, PAIR)
    v[...], w[...] = rng.standard_normal(v.shape), rng.standard_normal(w.shape)
    whole, aside, part = array(0, 2, tiles, 3 * PAIR), array(3, 2, tiles, 3 * PAIR), array(0, 2, tiles, 3 * PAIR)
    for result in (whole, aside):
        products.multiplier(v, w, result, 8)((0, 2))
    for point in range(2):
        products.multiplier(v, w, part, 8)((point, point + 1))
    assert whole.tobytes() == aside.tobytes() == part.tobytes()
