"""Coordinates of xarray, zarr and netCDF: decreasing, uneven, of single voxels, missing."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import MetadataWarning
from neuromancer.volumes import open_source, result_array
from tests.volumes.factories import numbered

import xarray  # isort: skip

Z, Y, X = 40.0 * np.arange(6), 4.0 * np.arange(7)[::-1], 4.0 * np.arange(8) + 100


def data(**coords):
    array = xarray.DataArray(numbered((6, 7, 8), "uint8"), dims=("z", "y", "x"), coords=coords, name="raw")
    for name in coords:
        array[name].attrs["units"] = "nm"
    return array


@pytest.fixture
def node(fresh_model):
    inp = nm.Input((1, 1, 3, 4, 4), "b,f,z,y,x", print_repr=False)
    return nm.Conv(inp, 1, (3, 3, 3), print_repr=False)


@pytest.mark.parametrize("name", ["a.zarr", "a.h5:b", "a.tif", "image.zarr"])
def test_falling_positions_stay_what_they_are(node, tmp_path, name):
    store = {"multiscale": True} if name == "image.zarr" else None
    raw = data(z=Z, y=Y, x=X)
    node.predict_dense(raw, out=f"{tmp_path}/{name}", store=store)
    source = open_source(f"{tmp_path}/{name}")
    assert source.voxel_size == (40, 4, 4) and source.unit == "nanometer" and source.direction == (1, -1, 1)
    result = node.predict_dense(raw)
    for k, axis in enumerate("zyx"):
        positions = source.offset[k] + source.direction[k] * source.voxel_size[k] * np.arange(source.shape[k + 1])
        np.testing.assert_array_equal(positions, result[axis].values)
    # again, from the file
    node.predict_dense(f"{tmp_path}/{name}", out=tmp_path / "again.h5", axes="czyx")
    again = open_source(tmp_path / "again.h5")
    assert again.offset == (80, source.offset[1] - 4, source.offset[2] + 4) and again.direction == (1, -1, 1)
    source.close()


@pytest.mark.parametrize("odd", [Y**2, [f"s{k}" for k in range(7)], np.arange(7).astype("M8[D]"), np.r_[np.nan, Y[1:]]])
def test_positions_that_are_not_even_are_lost_in_files_only(node, tmp_path, odd):
    raw = data(z=Z, y=odd, x=X)
    result = node.predict_dense(raw)  # no warning: the result keeps them
    np.testing.assert_array_equal(result.y.values, raw.y.values[1:-1])
    with pytest.warns(MetadataWarning, match="voxel size of y: "):
        node.predict_dense(raw, out=tmp_path / "a.zarr")
    source = open_source(tmp_path / "a.zarr")
    assert source.voxel_size == (40, None, 4) and source.offset == (40, 0, 104) and source.unit == "nanometer"


def test_single_voxels_and_missing_coordinates():
    source = open_source(data(z=Z, y=Y)[2:3])
    assert source.voxel_size == (None, 4, None) and source.offset == (80, 24, 0)
    assert open_source(data()).voxel_size is None


def test_one_unit_is_that_of_all_and_another_is_converted():
    raw = data(z=Z, y=Y, x=X)
    for name in "yx":
        del raw[name].attrs["units"]
    assert open_source(raw).unit == "nanometer" and open_source(raw).voxel_size == (40, 4, 4)
    raw.x.attrs["units"] = "um"
    assert open_source(raw).voxel_size == (40, 4, 4000)


def test_beyond_the_ends():
    found = result_array(data(y=Y), np.zeros((1, 6, 9, 8)), (0, -1, 0))
    assert found.y.values.tolist() == [28, 24, 20, 16, 12, 8, 4, 0, -4]


@pytest.mark.parametrize("version", [2, 3])
def test_beside_an_array_of_zarr(tmp_path, version):
    data(z=Z, y=Y, x=X).assign_coords(time=3).to_zarr(tmp_path / "a.zarr", zarr_format=version, consolidated=False)
    for path in (tmp_path / "a.zarr", f"{tmp_path}/a.zarr/raw"):  # coordinates are not images
        source = open_source(path)
        assert source.voxel_size == (40, 4, 4) and source.offset == (0, 24, 100) and source.direction == (1, -1, 1)
        assert source.unit == "nanometer" and source.shape == (1, 6, 7, 8)


def test_scales_of_netcdf(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["z"], file["y"], file["x"] = Z, Y, np.zeros(8)
        file["raw"] = numbered((6, 7, 8), "uint8")
        file["z"].attrs["units"] = np.bytes_("nm")
        for k, name in enumerate("zyx"):
            file[name].make_scale(name if k < 2 else "This is a netCDF dimension but not a netCDF variable.  8")
            file["raw"].dims[k].attach_scale(file[name])
    source = open_source(tmp_path / "a.h5")
    assert source.layout.stored == "zyx" and source.unit == "nanometer"
    assert source.voxel_size == (40, 4, None) and source.offset == (0, 24, 0) and source.direction == (1, -1, 1)
    source.close()
