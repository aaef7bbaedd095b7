"""Options of outputs are checked before a file is created."""

from __future__ import annotations

import numpy as np
import pytest

from neuromancer.errors import ArgumentError, InputTypeError
from neuromancer.volumes import create_sink
from neuromancer.volumes.axes import Layout
from neuromancer.volumes.options import MOST_BYTES, check_kinds, check_spec, checked_block_shape
from neuromancer.volumes.placement import Placement
from neuromancer.volumes.protocol import Locator
from neuromancer.volumes.store_spec import StoreSpec


def spec_of(chunks=(1, 4, 4, 4), shards=None, compression="default", multiscale=False, dtype="float32", shape=None):
    shape = shape or tuple(8 * c for c in chunks)
    return StoreSpec(
        shape, np.dtype(dtype), Layout("fzyx", "zyx"), chunks, shards, compression, Placement(), multiscale
    )


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("axes", (3, b"zyx", ("z", "y", "x"))),
        ("compression", (True, 5, ("gzip",))),
        ("multiscale", (1, 0, None, "yes")),
    ],
)
def test_kinds_of_options(name, values):
    given = {"axes": "zyx", "compression": "gzip", "multiscale": np.bool_(True)}
    check_kinds(**given)
    check_kinds(None, None, False)
    for value in values:
        with pytest.raises(InputTypeError) as caught:
            check_kinds(**{**given, name: value})
        assert caught.value.node == name


@pytest.mark.parametrize("given", [(1, 2, 3), [1, 2, 3], np.array([1, 2, 3], "uint8"), range(1, 4)])
def test_block_shapes_are_integers_per_axis(given):
    found = checked_block_shape(given, (4, 5, 6), "chunks")
    assert found == (1, 2, 3) and all(type(n) is int for n in found)


@pytest.mark.parametrize(
    "given", [(1, 2), (1, 2, 3, 4), (1, 0, 3), (1, -2, 3), (1, 2.0, 3), (True, 2, 3), 4, None, "123", {1, 2, 3}]
)
def test_what_is_no_block_shape(given):
    with pytest.raises(ArgumentError) as caught:
        checked_block_shape(given, (4, 5, 6), "shards")
    assert caught.value.node == "shards" and caught.value.got == given


@pytest.mark.parametrize(
    ("locator", "spec", "error"),
    [
        (("npy", "a.npy"), {"compression": "gzip"}, ArgumentError),
        (("tif", "a.tif"), {"compression": "zstd"}, ArgumentError),
        (("hdf5", "a.h5", "b"), {"compression": "zstd"}, ArgumentError),
        (("zarr", "a.zarr"), {"compression": "szip"}, ArgumentError),
        (("hdf5", "a.h5", "b"), {"shards": (1, 8, 8, 8)}, ArgumentError),
        (("npy", "a.npy"), {"multiscale": True}, ArgumentError),
        (("npy", "a.npy", "b"), {}, ArgumentError),
        (("tif", "a.tif", "b"), {}, ArgumentError),
        (("tif", "a.tif"), {"dtype": "int64"}, InputTypeError),
    ],
)
def test_options_that_a_format_lacks(locator, spec, error):
    with pytest.raises(error) as caught:
        check_spec(Locator(*locator), spec_of(**spec))
    assert caught.value.node == str(Locator(*locator))


@pytest.mark.parametrize(
    ("kind", "dtype", "nearest"),
    [
        ("mrc", "uint8", "uint16"),
        ("tif", "float16", "float32"),
        ("nifti", "bool", "uint8"),
        ("precomputed", "int64", None),
        ("tif", "uint64", None),
    ],
)
def test_the_nearest_dtype_holds_all_values(kind, dtype, nearest):
    with pytest.raises(InputTypeError, match=f"does not support this dtype; got {dtype}") as caught:
        check_spec(Locator(kind, "a"), spec_of(dtype=dtype))
    assert caught.value.nearest == nearest


@pytest.mark.parametrize("axes", ["zyxc", "xyzc", "yczx", "zxy"])
def test_planes_of_a_tiff_are_y_and_x(axes, tmp_path):
    with pytest.raises(ArgumentError, match=f"a.tif.*y and x; got {axes}; nearest valid: c?zyx"):
        create_sink(tmp_path / "a.tif", (1, 3, 4, 5), "uint8", axes=axes)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("compression", ["default", None, "gzip", "lzf"])
def test_options_of_hdf5(compression):
    check_spec(Locator("hdf5", "a.h5", "b"), spec_of(compression=compression))
    check_spec(Locator("npy", "a.npy"), spec_of(compression="default"))
    check_spec(Locator("npy", "a.npy"), spec_of(compression=None))


def test_the_size_of_a_chunk_is_limited_by_what_the_library_counts():
    most = MOST_BYTES["hdf5"] // 4
    check_spec(Locator("hdf5", "a.h5", "b"), spec_of((1, 1, 1, most)))
    with pytest.raises(ArgumentError) as caught:
        check_spec(Locator("hdf5", "a.h5", "b"), spec_of((1, 1, 1, most + 1)))
    assert str(MOST_BYTES["hdf5"]) in caught.value.expected and str(4 * (most + 1)) in caught.value.got
    # What counts is what is stored: a chunk larger than the volume is cut to it, unless it is part of a shard.
    check_spec(Locator("hdf5", "a.h5", "b"), spec_of((1, 1, 1, most + 1), shape=(1, 1, 1, 100)))
    with pytest.raises(ArgumentError, match="zarr"):
        check_spec(
            Locator("zarr", "a.zarr"),
            spec_of((1, 1, 1, MOST_BYTES["zarr"]), shards=(1, 1, 1, MOST_BYTES["zarr"]), shape=(1, 1, 1, 100)),
        )
