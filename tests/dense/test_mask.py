"""Masked arrays as images and masks: same results as with their mask given as `mask`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from neuromancer.dense.mask import Visible
from neuromancer.dense.stores import MemorySource
from neuromancer.errors import FileError, InputTypeError
from tests.dense.nets import image, plane_net, volume_net


def with_holes(raw, seed=0):
    """Image with garbage under its mask of slabs and single voxels."""
    masked = np.ma.array(raw, mask=np.random.default_rng(seed).random(raw.shape) < 0.02)
    masked[..., 5:9, :, :] = np.ma.masked
    return masked


def as_given(node, masked, **options):
    return node.predict_dense(masked.data, mask=~masked.mask.any(axis=0), **options)


@pytest.mark.parametrize(
    "options", [{}, {"pad_raw": True, "fill": -1}, {"roi": [(2, 9), None, (3, 20)]}, {"tile": (3, 8, 9)}]
)
def test_a_masked_image_is_an_image_and_a_mask(options):
    node, masked = volume_net(), with_holes(image(1, 14, 30, 33))
    want = as_given(node, masked, **options)
    np.testing.assert_array_equal(node.predict_dense(masked, **options), want)
    assert (want == options.get("fill", 0)).any()


def test_a_voxel_is_masked_where_one_of_its_channels_is():
    node, masked = volume_net(channels=2), with_holes(image(2, 14, 30, 33))
    want = as_given(node, masked)
    np.testing.assert_array_equal(node.predict_dense(masked), want)
    turned = np.ma.array(np.moveaxis(masked.data, 0, -1), mask=np.moveaxis(masked.mask, 0, -1))
    np.testing.assert_allclose(node.predict_dense(turned, axes="zyxc"), want, atol=1e-6)
    np.testing.assert_array_equal(node.predict_dense([masked[0], masked[1]]), want)


def test_without_an_axis_for_the_channel_sliced_and_with_nothing_masked():
    node, masked = volume_net(), with_holes(image(1, 14, 30, 33))
    want = as_given(node, masked)
    np.testing.assert_array_equal(node.predict_dense(masked[0]), want)
    part = masked[:, 1:, ::2]
    np.testing.assert_array_equal(node.predict_dense(part), as_given(node, part))
    whole = node.predict_dense(masked.data)
    for nothing in (np.ma.array(masked.data), np.ma.array(masked.data, mask=False)):
        np.testing.assert_array_equal(node.predict_dense(nothing), whole)
    assert not node.predict_dense(np.ma.array(masked.data, mask=True)).any()


def test_stacks():
    node, raw = plane_net(), image(1, 6, 20, 21)
    masked = np.ma.array(raw, mask=np.zeros(raw.shape, bool))
    masked[:, 2, 5:9] = masked[:, 4] = np.ma.masked
    np.testing.assert_array_equal(node.predict_dense(masked), as_given(node, masked))


def test_beside_a_given_mask():
    node, masked = volume_net(), with_holes(image(1, 14, 30, 33))
    coarse = np.zeros((7, 15, 17), "uint8")
    coarse[2:, 3:, :9] = 1
    fine = np.kron(coarse, np.ones((2, 2, 2)))[:, :30, :33].astype(bool)
    want = node.predict_dense(masked.data, mask=fine & ~masked.mask[0])
    np.testing.assert_array_equal(node.predict_dense(masked, mask=coarse), want)
    given = np.ma.array(np.ones((14, 30, 33), "uint8"), mask=~fine)
    np.testing.assert_array_equal(node.predict_dense(masked, mask=given), want)


def test_into_files_with_workers_and_again(tmp_path):
    node, masked = volume_net(), with_holes(image(1, 14, 30, 33))
    want = as_given(node, masked)
    out = tmp_path / "out.npy"
    with ThreadPoolExecutor(2) as pool:
        node.predict_dense(masked, out=out, executor=pool, tile=(3, 8, 9))
    np.testing.assert_allclose(np.load(out), want, atol=1e-6)
    node.predict_dense(masked, out=out, resume=True, tile=(3, 8, 9))
    for other in (masked.data, np.ma.array(masked.data, mask=np.roll(masked.mask, 1))):
        with pytest.raises(FileError, match="another options"):
            node.predict_dense(other, out=out, resume=True, tile=(3, 8, 9))


def test_mapped_from_a_file(tmp_path):
    node, masked = volume_net(), with_holes(image(1, 14, 30, 33))
    np.save(tmp_path / "raw.npy", masked.data)
    mapped = np.ma.array(np.load(tmp_path / "raw.npy", mmap_mode="r"), mask=masked.mask)
    np.testing.assert_allclose(node.predict_dense(mapped), as_given(node, masked), atol=1e-6)


def test_dask():
    array = pytest.importorskip("dask.array")
    node, masked = volume_net(), with_holes(image(1, 14, 30, 33))
    found = node.predict_dense(array.from_array(masked, chunks=(1, 6, 16, 16)))
    np.testing.assert_allclose(found, as_given(node, masked), atol=1e-6)


def test_what_a_worker_is_sent_of_a_mask():
    masked = with_holes(image(2, 14, 30, 33))
    visible = Visible(MemorySource(masked.mask))
    whole = visible[(slice(None),) * 4]
    np.testing.assert_array_equal(whole[0], ~masked.mask.any(axis=0))
    assert visible.fingerprint() == Visible(MemorySource(masked.mask.copy())).fingerprint()


class Masking:
    """Array that returns masked blocks, as some netCDF libraries do."""

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype

    def __getitem__(self, key):
        return self.array[key]


def test_blocks_that_come_masked():
    node, masked = volume_net(), with_holes(image(1, 14, 30, 33))
    np.testing.assert_allclose(
        node.predict_dense(Masking(np.ma.array(masked.data))), node.predict_dense(masked.data), atol=1e-6
    )
    with pytest.raises(InputTypeError, match=r"masked values.*filled\(value\)"):
        node.predict_dense(Masking(masked))


def test_structured_and_hard_masks():
    node = volume_net()
    with pytest.raises(InputTypeError, match="no numeric dtype"):
        node.predict_dense(np.ma.zeros((1, 14, 30, 33), dtype=[("a", "f4"), ("b", "f4")]))
    raw = image(1, 14, 30, 33)
    empty = np.zeros_like(node.predict_dense(raw))
    out = np.ma.array(empty, mask=empty == 0, hard_mask=True)
    with pytest.raises(InputTypeError, match=r"hard mask; expected out\.data"):
        node.predict_dense(raw, out=out)


def test_an_xarray_around_a_masked_array():
    xarray, array = pytest.importorskip("xarray"), pytest.importorskip("dask.array")
    node, masked = volume_net(), with_holes(image(1, 14, 30, 33))
    given = xarray.DataArray(array.zeros((14, 30, 33), chunks=16), dims=("z", "y", "x"))
    given.variable._data = array.from_array(
        masked[0], chunks=16
    )  # some versions of xarray replace masked values by NaN
    np.testing.assert_allclose(node.predict_dense(given), as_given(node, masked), atol=1e-6)


def test_nested_lists():
    node, masked = volume_net(), with_holes(image(1, 14, 30, 33))
    expected = as_given(node, masked)
    np.testing.assert_allclose(node.predict_dense([list(masked[0])]), expected, atol=1e-6)
    ones = np.ma.array(np.ones((14, 30, 33), "u1"), mask=masked[0].mask)
    np.testing.assert_allclose(node.predict_dense(masked.data, mask=[list(ones)]), expected, atol=1e-6)


def test_blocks_of_dask_that_are_masked_without_being_said_to_be():
    array = pytest.importorskip("dask.array")
    node, masked = volume_net(), with_holes(image(1, 14, 30, 33))
    plain = array.from_array(masked.data, chunks=(1, 6, 16, 16))
    with pytest.raises(InputTypeError, match="masked values"):
        node.predict_dense(plain.map_blocks(lambda b: np.ma.masked_less(b, 0.5), dtype=plain.dtype, meta=plain._meta))
