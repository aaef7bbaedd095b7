"""Coarser levels of OME-Zarr images: downsampling, number of levels and placement."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from neuromancer.errors import ArgumentError, FileError
from neuromancer.volumes import create_sink, open_source, write_pyramid
from neuromancer.volumes.downsample import shrink
from tests.volumes.factories import numbered, zarr

SHAPES = hnp.array_shapes(min_dims=1, max_dims=3, max_side=6)


def groups(block, factors):
    """Yield the index of every coarse voxel, and the fine voxels that it covers."""
    for index in np.ndindex(*[-(-n // f) for n, f in zip(block.shape, factors, strict=True)]):
        yield index, block[tuple(slice(i * f, i * f + f) for i, f in zip(index, factors, strict=True))]


@settings(max_examples=40, deadline=None)
@given(SHAPES, st.sampled_from(["uint8", "int16", "uint16", "float16", "float32", "float64"]), st.data())
def test_shrinking_takes_the_mean_or_the_first_voxel(shape, dtype, data):
    block = data.draw(hnp.arrays(dtype, shape, elements={"min_value": 0, "max_value": 200}))
    factors = [data.draw(st.integers(1, 2)) for _ in shape]
    mean, first = shrink(block, factors, "mean"), shrink(block, factors, "nearest")
    assert mean.dtype == first.dtype == block.dtype
    for index, group in groups(block, factors):
        assert first[index] == group.flat[0]
        # Over an even number of edge voxels the mean is that of the existing ones.
        expected = group.astype(float)
        for axis in range(group.ndim):
            expected = expected.mean(axis, keepdims=True)
        exact = np.dtype(dtype).kind != "f"
        assert mean[index] == pytest.approx(np.rint(expected.item()) if exact else expected.item(), rel=2e-3, abs=1e-6)


def test_means_of_integers_do_not_overflow_and_are_rounded_to_even():
    assert shrink(np.array([255, 255, 255, 254, 0, 1], "uint8"), (2,), "mean").tolist() == [255, 254, 0]
    assert shrink(np.array([-3, -4, 2, 1], "int8"), (2,), "mean").tolist() == [-4, 2]
    assert shrink(np.array([65504.0] * 2, "float16"), (2,), "mean").tolist() == [65504.0]
    assert shrink(np.array([True, True, False, False]), (2,), "mean").tolist() == [True, False]


def image(path, shape=(1, 6, 10, 12), **options):
    sink = create_sink(path, shape, "float32", multiscale=True, **options)
    sink[:] = numbered(shape, "float32")
    return sink


def test_levels_end_with_256_voxels_or_as_told(tmp_path):
    sink = image(tmp_path / "a.zarr", (1, 1, 2, 1025))
    assert write_pyramid(sink) == ["0", "1", "2", "3"]
    assert [open_source(f"{tmp_path}/a.zarr/{k}").shape[-1] for k in range(4)] == [1025, 513, 257, 129]
    assert write_pyramid(sink, levels=0) == ["0"]
    small = image(tmp_path / "b.zarr", (1, 1, 2, 3))
    assert write_pyramid(small) == ["0"]
    assert write_pyramid(small, levels=9) == ["0", "1", "2"]  # a single voxel cannot be divided


def test_levels_are_recreated_from_what_the_finest_holds(tmp_path):
    sink = image(tmp_path / "a.zarr")
    write_pyramid(sink, levels=1)
    sink[:] = np.full(sink.shape, 7, "float32")
    assert write_pyramid(sink, "nearest", levels=1) == ["0", "1"]
    assert (open_source(f"{tmp_path}/a.zarr/1")[:] == 7).all()
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    assert group.attrs["ome"]["multiscales"][0]["type"] == "nearest" and group["1"].dtype == "float32"


def test_an_axis_of_unknown_size_counts_as_finest(tmp_path):
    write_pyramid(image(tmp_path / "a.zarr", voxel_size=(None, 4, 8), unit="nm", offset=(None, 1, 2)), levels=1)
    coarse = open_source(f"{tmp_path}/a.zarr/1")
    assert coarse.shape == (1, 3, 5, 12) and coarse.voxel_size == (None, 8, 8) and coarse.offset == (0, 3, 2)


def test_levels_of_unknown_size_overlay_each_other(tmp_path):
    sink = create_sink(tmp_path / "a.zarr", (1, 9, 12, 14), "uint8", multiscale=True)
    write_pyramid(sink, levels=2)
    image = zarr.open(tmp_path / "a.zarr").attrs["ome"]["multiscales"][0]
    steps = [[list(step.values())[1] for step in level["coordinateTransformations"]] for level in image["datasets"]]
    assert steps[1] == [[1, 2, 2, 2], [0, 0.5, 0.5, 0.5]] and steps[2] == [[1, 4, 4, 4], [0, 1.5, 1.5, 1.5]]
    coarse = open_source(tmp_path / "a.zarr/2")
    assert coarse.voxel_size is None and coarse.offset == (0, 0, 0)


def test_decreasing_positions_shift_backwards(tmp_path):
    options = {"voxel_size": (2, 2, 2), "unit": "nm", "offset": (10, 10, 10), "direction": (-1, 1, 1)}
    write_pyramid(image(tmp_path / "a.zarr", **options), "mean", levels=1)
    coarse = open_source(f"{tmp_path}/a.zarr/1")
    assert coarse.voxel_size == (4, 4, 4) and coarse.offset == (9, 11, 11) and coarse.direction == (-1, 1, 1)
    write_pyramid(tmp_path / "a.zarr", "nearest", levels=1)
    assert open_source(f"{tmp_path}/a.zarr/1").offset == (10, 10, 10)


def test_what_is_no_image(tmp_path):
    zarr.create_group(tmp_path / "group.zarr")
    for name in ("group.zarr", "nothing.zarr"):
        with pytest.raises(FileError) as caught:
            write_pyramid(tmp_path / name)
        assert name in caught.value.node


@pytest.mark.parametrize(
    "given",
    [
        *[{"levels": n} for n in (-1, 1.5, True, "1", [1])],
        *[{"method": m} for m in ("median", None, ["mean"], np.array(["mean", "nearest"]))],
    ],
)
def test_a_method_is_a_name_and_levels_are_counted(tmp_path, given):
    with pytest.raises(ArgumentError) as caught:
        write_pyramid(image(tmp_path / "a.zarr"), **given)
    assert caught.value.node == "write_pyramid" and caught.value.got is next(iter(given.values()))
