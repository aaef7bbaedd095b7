"""Voxel size, unit and position by the conventions of Neuroglancer, tensorstore, N5 and COSEM, read and written."""

from __future__ import annotations

import json

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import MetadataWarning
from neuromancer.volumes import open_source
from tests.volumes.factories import numbered, zarr

import tensorstore  # isort: skip

SHAPE = (4, 6, 8)  # z, y, x


def precomputed(path, shape, dtype="uint8", channels=1, first=(100, 50, 7)):
    """Create a Neuroglancer volume (x, y, z, channel); `shape` and `first` are in order z, y, x."""
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": {"driver": "file", "path": str(path)},
        "multiscale_metadata": {"type": "image", "data_type": dtype, "num_channels": channels},
        "scale_metadata": {
            "resolution": [4, 5, 40],
            "size": shape[::-1],
            "voxel_offset": list(first),
            "encoding": "raw",
            "chunk_size": [4, 4, 4],
        },
    }
    return tensorstore.open(spec, create=True, open=True).result()


@pytest.fixture
def node(fresh_model):
    inp = nm.Input((1, 1, 2, 4, 4), "b,f,z,y,x", print_repr=False)
    return nm.Conv(inp, 2, (1, 3, 3), print_repr=False)


def test_neuroglancer_both_ways(node, tmp_path):
    values = numbered(SHAPE, "uint8")
    raw = precomputed(tmp_path / "raw", SHAPE)
    raw[...].write(values.T[..., None]).result()
    source = open_source(raw)
    assert source.shape == (1, *SHAPE) and source.unit == "nanometer"
    assert source.voxel_size == (40, 5, 4) and source.offset == (280, 250, 400)
    assert open_source(source.locator).offset == source.offset
    want = node.predict_dense(values[None])
    node.predict_dense(raw, out=tmp_path / "out.zarr")
    result = open_source(tmp_path / "out.zarr")
    np.testing.assert_allclose(result[:], want, atol=1e-6)
    assert result.voxel_size == (40, 5, 4) and result.offset == (280, 255, 404) and result.unit == "nanometer"
    opened = tensorstore.open(
        {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{tmp_path}/out.zarr"}}
    ).result()
    assert opened.domain.labels == ("c", "z", "y", "x")
    assert opened.dimension_units == (None, *(tensorstore.Unit(n, "nm") for n in (40, 5, 4)))
    out = precomputed(tmp_path / "out", want.shape[1:], "float32", 2, (101, 51, 7))
    node.predict_dense(raw, out=out)
    found = open_source(out)
    np.testing.assert_allclose(found[:], want, atol=1e-6)
    assert found.voxel_size == result.voxel_size and found.offset == result.offset


def test_parts_of_a_tensorstore(tmp_path):
    raw = precomputed(tmp_path / "raw", SHAPE)
    assert open_source(raw[110 - 8 : 106]).offset == (280, 250, 408)
    assert open_source(raw[::2]).voxel_size == (40, 5, 8) and open_source(raw[::2]).offset == (280, 250, 400)


N5 = {
    "neuroglancer": {"axes": ["x", "y", "z"], "units": ["nm"] * 3, "resolution": [4, 5, 40], "offset": [1, 2, 3]},
    "viewer": {"pixelResolution": {"unit": "nm", "dimensions": [4, 5, 40]}, "offset": [1, 2, 3]},
    "cosem": {
        "transform": {"axes": ["z", "y", "x"], "units": ["nm"] * 3, "scale": [40, 5, 4], "translate": [3, 2, 1]},
    },
}


def n5(folder, **attributes):
    spec = {
        "driver": "n5",
        "kvstore": {"driver": "file", "path": str(folder)},
        "metadata": {
            "dimensions": SHAPE[::-1],
            "blockSize": [4, 4, 4],
            "dataType": "uint8",
            "compression": {"type": "raw"},
        },
    }
    array = tensorstore.open(spec, create=True).result()
    array[...].write(numbered(SHAPE, "uint8").T).result()
    file = folder / "attributes.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **attributes}))


@pytest.mark.parametrize("kind", N5)
def test_n5(node, tmp_path, kind):
    n5(tmp_path / "a.n5" / "s0", **N5[kind])
    source = open_source(tmp_path / "a.n5/s0")
    assert source.voxel_size == (40, 5, 4) and source.offset == (3, 2, 1) and source.unit == "nanometer"
    node.predict_dense(tmp_path / "a.n5/s0", out=tmp_path / "out.h5")
    result = open_source(tmp_path / "out.h5")
    assert result.voxel_size == (40, 5, 4) and result.offset == (3, 7, 5) and result.unit == "nanometer"


def test_levels_of_n5(tmp_path):
    n5(tmp_path / "a.n5" / "s1", downsamplingFactors=[2, 2, 1])
    (tmp_path / "a.n5/attributes.json").write_text(json.dumps(N5["viewer"] | {"name": "em"}))
    source = open_source(tmp_path / "a.n5/s1")
    assert source.voxel_size == (40, 10, 8) and source.offset == (3, 4.5, 3) and source.unit == "nanometer"


@pytest.mark.parametrize(
    "odd",
    [{"resolution": "fine"}, {"resolution": [4, 5]}, {"units": 5, "resolution": [4, 5, 0]}, {"pixelResolution": 5}],
)
def test_odd_attributes_of_n5(tmp_path, odd):
    n5(tmp_path / "a.n5" / "s0", **odd)
    with pytest.warns(MetadataWarning):
        source = open_source(tmp_path / "a.n5/s0")
    np.testing.assert_array_equal(source[:][0], numbered(SHAPE, "uint8"))


@pytest.mark.parametrize(
    ("attributes", "axes"),
    [
        ({"voxel_offset": [100, 50, 7], "resolution": [4, 5, 40], "units": ["nm"] * 3}, "xyz"),
        ({"dimension_units": ["4 nm", "5 nm", "40 nm"], "offset": [400, 250, 280]}, "xyz"),
        (N5["cosem"] | {"transform": N5["cosem"]["transform"] | {"translate": [280, 250, 400]}}, "zyx"),
    ],
)
def test_zarr(tmp_path, attributes, axes):
    shape = SHAPE if axes == "zyx" else SHAPE[::-1]
    zarr.create_array(tmp_path / "a.zarr", data=numbered(shape, "uint8")).attrs.update(attributes)
    source = open_source(tmp_path / "a.zarr", axes=axes)
    assert source.voxel_size == (40, 5, 4) and source.offset == (280, 250, 400) and source.unit == "nanometer"
