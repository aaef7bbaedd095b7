"""Implausible voxel sizes and units: a warning, and unknown for that axis, but never an error."""

from __future__ import annotations

import warnings

import h5py
import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import ArgumentError, MetadataWarning
from neuromancer.volumes import create_sink, open_source, write_pyramid
from neuromancer.volumes.axes import Layout
from neuromancer.volumes.calibration import calibrated
from neuromancer.volumes.placement import StatedPlacement
from tests.volumes.factories import numbered, zarr

import tifffile  # isort: skip

ODD = [0, -2.0, float("nan"), float("inf"), "thick", "", [1.0], {}]
SHAPE = (1, 4, 5, 6)


def found(stated, stored="zyx", spatial="zyx"):
    placement, doubts = calibrated(StatedPlacement(**stated), Layout(stored, spatial))
    return placement.voxel_size, placement.offset, placement.unit, len(doubts)


@pytest.mark.parametrize("odd", ODD)
def test_one_odd_axis_does_not_lose_the_others(odd):
    assert found({"voxel_size": [odd, 4, 5], "unit": "nm"}) == ((None, 4, 5), None, "nanometer", 1)
    assert found({"voxel_size": [4, 4, 5], "offset": [1, odd, 2], "unit": "nm"})[1] in ((1, None, 2), (1, odd, 2))
    assert found({"voxel_size": [odd, 4, 5, 6]}, "fzyx") == ((4, 5, 6), None, None, 0)  # channels have no voxel size


@pytest.mark.parametrize("odd", [0, "thick", [1, 2], [1, 2, 3, 4], [], {}, b"x"])
def test_what_is_no_size_at_all(odd):
    assert found({"voxel_size": odd, "unit": "nm"}) == (None, None, "nanometer", 1)


def test_units():
    sizes = {"voxel_size": [2, 500, 5]}
    assert found(sizes | {"unit": ["um", "nm", "Å"]}) == ((2, 0.5, 0.0005), None, "micrometer", 0)
    assert found(sizes | {"unit": ["um", "nm", "furlong"]}) == ((2, 0.5, None), None, "micrometer", 1)
    assert found(sizes | {"unit": ["um", None, "pixel"]}) == ((2, None, None), None, "micrometer", 2)
    assert found(sizes | {"unit": "furlong"}) == ((2, 500, 5), None, None, 1)
    assert found(sizes | {"unit": "pixel"}) == ((2, 500, 5), None, None, 0)
    assert found(sizes | {"unit": ["nm", "nm"]}) == ((2, 500, 5), None, None, 1)
    assert found({"voxel_size": (4, 4, 40), "first_voxel": (10, 0, 2), "unit": "nm"}, "xyz")[1] == (80, 0, 40)


def described(path, attributes):
    with h5py.File(path, "w") as file:
        file["raw"] = numbered(SHAPE[1:], "uint8")
        file["raw"].attrs.update(attributes)
    return path


def open_with_warning(path):
    with pytest.warns(MetadataWarning, match="taken as unknown"):
        return open_source(path)


def test_of_every_kind_of_file(tmp_path):
    values = numbered(SHAPE[1:], "uint8")
    group = zarr.open_group(tmp_path / "ome.zarr", mode="w")
    group.create_array("0", data=values)
    axes = [{"name": a, "type": "space", "unit": "micrometer"} for a in "zyx"]
    level = {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [-2.0, 0.5, 0.25]}]}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": [level]}]}
    zarr.create_array(tmp_path / "a.zarr", data=values).attrs.update(resolution=[0, 0.5, 0.25], unit="um")
    described(tmp_path / "a.h5", {"element_size_um": [np.nan, 0.5, 0.25]})
    resolution, meta = (4, 2), {"axes": "ZYX", "spacing": -2.0, "unit": "um"}
    tifffile.imwrite(tmp_path / "ij.tif", values, imagej=True, resolution=resolution, metadata=meta)
    sizes = {"PhysicalSizeZ": 0.0, "PhysicalSizeY": 0.5, "PhysicalSizeX": 250.0, "PhysicalSizeXUnit": "nm"}
    tifffile.imwrite(tmp_path / "ome.tif", values, ome=True, metadata={"axes": "ZYX", **sizes})
    for name in ("ome.zarr", "a.zarr", "a.h5", "ij.tif", "ome.tif"):
        source = open_with_warning(tmp_path / name)
        assert source.voxel_size == (None, 0.5, 0.25) and source.unit == "micrometer", name
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # workers do not warn again
            assert open_source(source.locator).voxel_size == source.voxel_size
        source.close()


@pytest.mark.parametrize(
    "steps",
    [
        [{"type": "scale", "scale": [1]}],
        [{"type": "scale", "scale": "large"}],
        [{"type": "scale", "scale": ["x", 0, None]}],
        [{"type": "scale", "scale": [1, 1, 1]}, {"type": "translation", "translation": [1, 2]}],
    ],
)
def test_odd_steps_of_ome_zarr(tmp_path, steps):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    group.create_array("0", data=numbered(SHAPE[1:], "uint8"))
    level = {"path": "0", "coordinateTransformations": steps}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": list("zyx"), "datasets": [level]}]}
    source = open_with_warning(tmp_path / "a.zarr")
    assert source.offset == (0, 0, 0) and source.voxel_size in (None, (1, 1, 1))
    assert write_pyramid_quietly(tmp_path / "a.zarr") == ["0", "1"]


def write_pyramid_quietly(path):
    with pytest.warns(MetadataWarning):
        return write_pyramid(path, levels=1)


PLACED = {"voxel_size": (None, 4.0, 5.0), "unit": "nm", "offset": (None, 80.0, -2.5), "direction": (1, -1, 1)}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.zarr", {}),
        ("a.zarr", {"axes": "xyzc"}),
        ("a.zarr", {"multiscale": True}),
        ("a.zarr/b", {"multiscale": True, "axes": "xyzc"}),
        ("a.h5:b", {}),
        ("a.tif", {}),
    ],
)
def test_what_is_unknown_is_written_as_unknown(tmp_path, name, options):
    create_sink(f"{tmp_path}/{name}", SHAPE, "float32", **PLACED, **options).close()
    source = open_source(f"{tmp_path}/{name}")  # files of this package give no warning
    assert source.voxel_size == PLACED["voxel_size"] and source.offset == (0, 80, -2.5)
    assert source.direction == PLACED["direction"] and source.unit == "nanometer"
    source.close()
    if "multiscale" in options:
        write_pyramid(f"{tmp_path}/{name}", levels=1)
        coarse = open_source(f"{tmp_path}/{name}/1")
        assert coarse.voxel_size == (None, 8, 10) and coarse.direction == (1, -1, 1)
        assert coarse.offset == (0, 78, 0)


def test_other_readers_find_what_is_known(tmp_path):
    tensorstore = pytest.importorskip("tensorstore")
    create_sink(tmp_path / "a.zarr", SHAPE, "float32", **PLACED).close()
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{tmp_path}/a.zarr"}}
    units = tensorstore.open(spec).result().dimension_units
    assert units == (None, None, tensorstore.Unit(4, "nm"), tensorstore.Unit(5, "nm"))
    create_sink(tmp_path / "a.tif", SHAPE, "float32", **PLACED).close()
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        pixels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
    assert "PhysicalSizeZ" not in pixels and pixels["PhysicalSizeY"] == 4 and pixels["PhysicalSizeXUnit"] == "nm"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"voxel_size": (0, 4, 4)}, "positive"),
        ({"voxel_size": (-1, 4, 4)}, "positive"),
        ({"voxel_size": (float("nan"), 4, 4)}, "not lengths"),
        ({"voxel_size": (4, 4)}, "not lengths"),
        ({"voxel_size": "444"}, "not lengths"),
        ({"voxel_size": 4}, "not lengths"),
        ({"offset": ("x", 0, 0)}, "not lengths"),
        ({"unit": "nanomter"}, "not a unit of length.*nearest valid: nanometer"),
        ({"direction": (1, 2, 1)}, "not valid directions"),
    ],
)
def test_what_a_user_says_wrongly_is_refused(fresh_model, tmp_path, wrong, says):
    with pytest.raises(ArgumentError, match=says):
        create_sink(tmp_path / "a.zarr", SHAPE, "float32", **wrong)
    with pytest.raises(ArgumentError, match=says):
        net().predict_dense(numbered(SHAPE, "uint8"), out=tmp_path / "a.zarr", store=wrong)
    assert not list(tmp_path.iterdir())


def net(stride=1):
    inp = nm.Input((1, 1, 2, 4, 4), "b,f,z,y,x", print_repr=False)
    node = nm.Conv(inp, 1, (2, 2, 2), print_repr=False)
    return node if stride == 1 else nm.UpConv(node, 1, (1, stride, stride), print_repr=False)


def test_a_prediction_keeps_what_is_known(fresh_model, tmp_path):
    raw = {"voxel_size": [0, 4, 5], "unit": "nm", "offset": [10, 20, 30]}
    path = described(tmp_path / "raw.h5", raw)
    with pytest.warns(MetadataWarning, match=r"voxel size of z: 0[.;,]"):
        net().predict_dense(path, out=tmp_path / "a.zarr")
    result = open_source(tmp_path / "a.zarr")
    shift = net().shape.offsets
    assert result.voxel_size == (None, 4, 5) and result.unit == "nanometer"
    assert result.offset[1:] == (20 + 4 * shift[1], 30 + 5 * shift[2])


def test_what_the_user_says_goes_before(fresh_model, tmp_path):
    path, node = described(tmp_path / "raw.h5", {"voxel_size": [0, 4, 5], "unit": "nm"}), net()
    with pytest.warns(MetadataWarning):
        node.predict_dense(path, out=tmp_path / "a.zarr", store={"voxel_size": (0.04, 0.004, 0.005), "unit": "um"})
    result = open_source(tmp_path / "a.zarr")
    assert result.voxel_size == (0.04, 0.004, 0.005) and result.unit == "micrometer"
    np.testing.assert_allclose(result.offset, np.multiply(result.voxel_size, node.shape.offsets))
    node.predict_dense(numbered(SHAPE, "uint8"), out=tmp_path / "b.zarr", store={"voxel_size": (40, 4, 5)})
    np.testing.assert_allclose(open_source(tmp_path / "b.zarr").offset, np.multiply((40, 4, 5), node.shape.offsets))


def test_of_a_network_with_another_grid(fresh_model, tmp_path):
    node = net(stride=2)
    node.predict_dense(numbered((1, 4, 8, 8), "uint8"), out=tmp_path / "a.zarr", store={"voxel_size": (40, 2, 2)})
    assert open_source(tmp_path / "a.zarr").voxel_size == (40, 2, 2)


class Foreign:
    """Source of another library with implausible metadata."""

    chunks = locator = None
    unit, offset = "furlong", None

    def __init__(self, array, voxel_size):
        self.array, self.shape, self.dtype, self.voxel_size = array, array.shape, array.dtype, voxel_size

    def __getitem__(self, where):
        return self.array[where]

    def fingerprint(self):
        return "foreign"

    def close(self):
        pass


@pytest.mark.parametrize("size", [(0, 4, 5), (4, 5), "x"])
def test_sources_of_another_make(fresh_model, tmp_path, size):
    with pytest.warns(MetadataWarning):
        net().predict_dense(Foreign(numbered(SHAPE, "uint8"), size), out=tmp_path / "a.zarr")
    assert open_source(tmp_path / "a.zarr").voxel_size in ((None, 4, 5), None)
