"""Voxel size, unit and position, in exchange with other programs; resolution pyramids."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from neuromancer.errors import ArgumentError, FileError
from neuromancer.volumes import create_sink, open_source, write_pyramid
from tests.volumes.factories import numbered, zarr

import tifffile  # isort: skip
import xarray  # isort: skip

PLACED = {"voxel_size": (40.0, 4.5, 5.0), "unit": "nm", "offset": (80.0, -9.0, 2.5)}


def placed(path, shape=(2, 6, 10, 12), **options):
    sink = create_sink(path, shape, "float32", **PLACED, **options)
    sink[:] = numbered(shape, "float32")
    sink.close()
    return numbered(shape, "float32")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.zarr", {}),
        ("a.zarr", {"axes": "xyzc"}),
        ("a.zarr/b", {"multiscale": True}),
        ("a.zarr", {"multiscale": True, "axes": "zyxc"}),
        ("a.h5:b", {}),
        ("a.h5:b", {"axes": "cxyz"}),
        ("a.tif", {}),
    ],
)
@pytest.mark.parametrize("spatial", ["zyx", "yxz"])
def test_what_is_written_is_read(tmp_path, name, options, spatial):
    placed(f"{tmp_path}/{name}", **options)
    source = open_source(f"{tmp_path}/{name}", spatial=spatial)
    order = ["zyx".index(a) for a in spatial]
    assert source.voxel_size == tuple(PLACED["voxel_size"][k] for k in order)
    assert source.offset == tuple(PLACED["offset"][k] for k in order)
    assert source.unit == "nanometer"
    source.close()


def test_plain_zarr(tmp_path):
    values = placed(tmp_path / "a.zarr", chunks=(1, 4, 4, 4), shards=(1, 8, 8, 8))
    array = zarr.open_array(tmp_path / "a.zarr", mode="r")
    np.testing.assert_array_equal(array[:], values)
    assert array.metadata.dimension_names == ("c", "z", "y", "x")
    assert array.chunks == (1, 4, 4, 4) and array.shards == (1, 8, 8, 8)
    assert array.attrs["voxel_size"] == [40.0, 4.5, 5.0] and array.attrs["unit"] == "nanometer"
    placed(tmp_path / "group.zarr/probs", values.shape)
    found = xarray.open_zarr(tmp_path / "group.zarr", consolidated=False, zarr_format=3)["probs"]
    assert found.dims == ("c", "z", "y", "x")
    np.testing.assert_array_equal(found.values, values)


def test_plain_hdf5(tmp_path):
    values = placed(f"{tmp_path}/a.h5:out/probs", compression="gzip", chunks=(1, 3, 5, 6))
    with h5py.File(tmp_path / "a.h5") as file:
        data = file["out/probs"]
        np.testing.assert_array_equal(data[:], values)
        assert [d.label for d in data.dims] == ["c", "z", "y", "x"]
        assert data.chunks == (1, 3, 5, 6) and data.compression == "gzip"
        assert data.attrs["voxel_size"].tolist() == [40.0, 4.5, 5.0] and data.attrs["unit"] == "nanometer"


def test_plain_tiff(tmp_path):
    values = placed(tmp_path / "a.tif")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.is_ome and file.is_bigtiff and file.series[0].axes == "CZYX"
        np.testing.assert_array_equal(file.asarray(), values)
        pixels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
    assert pixels["PhysicalSizeZ"] == 40 and pixels["PhysicalSizeY"] == 4.5 and pixels["PhysicalSizeXUnit"] == "nm"


@pytest.mark.parametrize("shape", [(1, 1, 10, 12), (1, 6, 10, 12), (2, 1, 10, 12)])
def test_tiff_with_axes_of_size_1(tmp_path, shape):
    values = placed(tmp_path / "a.tif", shape)
    source = open_source(tmp_path / "a.tif")
    np.testing.assert_array_equal(source[:], values)
    assert source.voxel_size == PLACED["voxel_size"] and source.offset == PLACED["offset"]
    np.testing.assert_array_equal(open_source(source.locator)[:], values)
    again = create_sink(tmp_path / "a.tif", shape, "float32", existing="open")
    np.testing.assert_array_equal(again[:], values)
    again.close()


def test_imagej_and_plain_resolution(tmp_path):
    stack = numbered((6, 10, 12))
    meta = {"axes": "ZYX", "spacing": 0.04, "unit": "um"}
    tifffile.imwrite(tmp_path / "ij.tif", stack, imagej=True, resolution=(200, 250), metadata=meta)
    source = open_source(tmp_path / "ij.tif")
    assert source.voxel_size == (0.04, 0.004, 0.005) and source.unit == "micrometer"
    tifffile.imwrite(tmp_path / "cm.tif", stack[0], resolution=(1000, 2000), resolutionunit="CENTIMETER")
    source = open_source(tmp_path / "cm.tif", spatial="yx")
    assert source.voxel_size == (0.0005, 0.001) and source.unit == "centimeter"
    tifffile.imwrite(tmp_path / "none.tif", stack)
    source = open_source(tmp_path / "none.tif")
    assert source.voxel_size is None and source.unit is None and source.offset == (0, 0, 0)


def test_other_conventions(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a"] = file["b"] = numbered((2, 3, 4))
        file["a"].attrs["element_size_um"] = [0.04, 0.005, 0.006]
        file["b"].attrs.update({"resolution": [40, 5, 6], "offset": [1, 2, 3], "unit": "nm", "axes": "xyz"})
    source = open_source(f"{tmp_path}/a.h5:a")
    assert source.voxel_size == (0.04, 0.005, 0.006) and source.unit == "micrometer"
    source = open_source(f"{tmp_path}/a.h5:b")
    assert source.shape == (1, 4, 3, 2) and source.voxel_size == (6, 5, 40) and source.offset == (3, 2, 1)
    array = zarr.create_array(tmp_path / "a.zarr", shape=(2, 3, 4), dtype="uint8", zarr_format=2)
    array.attrs.update({"_ARRAY_DIMENSIONS": ["x", "y", "z"], "resolution": [6, 5, 40], "offset": "unknown"})
    source = open_source(tmp_path / "a.zarr")
    assert source.shape == (1, 4, 3, 2) and source.voxel_size == (40, 5, 6) and source.offset == (0, 0, 0)


def described(image, version):
    return {"multiscales": [image]} if version == "0.4" else {"ome": {"version": "0.5", "multiscales": [image]}}


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr_of_others(tmp_path, version):
    group = zarr.open_group(tmp_path / "image.zarr", mode="w", zarr_format=2 if version == "0.4" else 3)
    values = numbered((1, 2, 4, 8, 6))
    group.create_array("s0", data=values)
    group.create_array("s1", data=values[..., ::2, ::2])
    axes = [{"name": "t", "type": "time"}, {"name": "c", "type": "channel"}]
    axes += [
        {"name": a, "type": "space", "unit": u}
        for a, u in zip("zyx", ("micrometer", "nanometer", "nanometer"), strict=True)
    ]
    levels = [
        {
            "path": f"s{k}",
            "coordinateTransformations": [
                {"type": "scale", "scale": [1, 1, 0.04, 4 * 2**k, 4 * 2**k]},
                {"type": "translation", "translation": [0, 0, 0, 2.0 * k, 2.0 * k]},
            ],
        }
        for k in range(2)
    ]
    image = {"version": "0.4", "name": "em", "axes": axes, "datasets": levels}
    image["coordinateTransformations"] = [{"type": "scale", "scale": [1, 1, 2, 1, 1]}]
    group.attrs.update(described(image, version))
    source = open_source(tmp_path / "image.zarr")
    np.testing.assert_array_equal(source[:], values[0])
    assert source.voxel_size == (0.08, 0.004, 0.004) and source.unit == "micrometer" and source.offset == (0, 0, 0)
    coarse = open_source(f"{tmp_path}/image.zarr/s1", spatial="xyz")
    assert coarse.shape == (2, 3, 4, 4) and coarse.voxel_size == (0.008, 0.008, 0.08)
    assert coarse.offset == (0.002, 0.002, 0)
    array = open_source(zarr.open(tmp_path / "image.zarr", mode="r")["s0"])
    assert array.voxel_size == source.voxel_size
    image["axes"] = [{"type": "space"}] * 5
    group.attrs.update(described(image, version))
    with pytest.raises(FileError, match="OME-Zarr metadata cannot be understood"):
        open_source(tmp_path / "image.zarr")


def naive(values, factors, method):
    shape = [-(-n // f) for n, f in zip(values.shape, factors, strict=True)]
    result = np.zeros(shape)
    for index in np.ndindex(*shape):
        block = values[tuple(slice(i * f, i * f + f) for i, f in zip(index, factors, strict=True))]
        result[index] = block.mean() if method == "mean" else block.flat[0]
    return result


@pytest.mark.parametrize("method", ["mean", "nearest"])
@pytest.mark.parametrize("axes", ["czyx", "xyzc"])
@pytest.mark.parametrize("shards", [None, (1, 8, 8, 8)])
def test_coarser_levels(tmp_path, method, axes, shards):
    options = {"axes": axes, "chunks": (1, 4, 4, 4), "shards": shards, "multiscale": True}
    sink = create_sink(tmp_path / "a.zarr", (2, 5, 19, 24), "float64", **PLACED, **options)
    values = np.random.default_rng(0).random((2, 5, 19, 24))
    sink[:] = values
    assert write_pyramid(sink, method, levels=4) == ["0", "1", "2", "3", "4"]
    sizes, offsets = np.array(PLACED["voxel_size"]), np.array(PLACED["offset"])
    for level in range(5):
        found = open_source(f"{tmp_path}/a.zarr/{level}")
        np.testing.assert_allclose(found[:], values)
        np.testing.assert_allclose(found.voxel_size, sizes)
        np.testing.assert_allclose(found.offset, offsets)
        factors = np.array([2 if s < 2 * sizes.min() else 1 for s in sizes])
        if level == 0:
            assert factors.tolist() == [1, 2, 2]
        values = naive(values, [1, *factors], method)
        offsets = offsets + (factors - 1) / 2 * sizes * (method == "mean")
        sizes = sizes * factors
    assert write_pyramid(tmp_path / "a.zarr", method, levels=1) == ["0", "1"]


def test_coarser_levels_of_labels_and_greys(tmp_path):
    labels = (numbered((1, 6, 6, 6)) % 5).astype("uint8")
    for method in ("mean", "nearest"):
        sink = create_sink(f"{tmp_path}/{method}.zarr", labels.shape, "uint8", multiscale=True)
        sink[:] = labels
        write_pyramid(sink, method, levels=1)
        coarse = open_source(f"{tmp_path}/{method}.zarr/1")
        assert coarse.dtype == "uint8"
        np.testing.assert_array_equal(coarse[:], np.rint(naive(labels, (1, 2, 2, 2), method)))
    assert write_pyramid(sink) == ["0"]
    with pytest.raises(ArgumentError, match="unknown method"):
        write_pyramid(sink, "median")
    create_sink(tmp_path / "plain.zarr", labels.shape, "uint8").close()
    with pytest.raises(FileError, match="is not an OME-Zarr image"):
        write_pyramid(tmp_path / "plain.zarr")
