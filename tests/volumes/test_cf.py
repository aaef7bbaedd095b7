"""Packed files are decoded to the same values as by xarray."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import InputTypeError, MetadataWarning
from neuromancer.train.data import LabelledVolume, PatchSampler
from neuromancer.volumes import open_source, result_array
from neuromancer.volumes.cf import packing_of
from neuromancer.volumes.objects import open_array
from tests.volumes.factories import numbered, zarr

import xarray  # isort: skip

ENCODINGS = [
    {"dtype": "int16", "scale_factor": 0.01, "_FillValue": -1},
    {"dtype": "uint8", "scale_factor": 0.05, "add_offset": -2.0, "_FillValue": 255},
    {"dtype": "int16", "scale_factor": np.float32(0.01), "add_offset": np.float32(1), "missing_value": -9},
    {"dtype": "uint16", "_FillValue": 0},
    {"dtype": "int8", "_Unsigned": "true", "_FillValue": -1, "scale_factor": 0.05},
    {"dtype": "int32", "add_offset": 3.0, "_FillValue": -5},
    {"dtype": "float32", "_FillValue": -1e30},
    {"dtype": "float32"},
]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("version", [2, 3])
def test_as_xarray_writes_them(tmp_path, encoding, version):
    array = xarray.DataArray(1 + 5 * np.random.default_rng(0).random((3, 4, 5)), dims=("z", "y", "x"), name="raw")
    if len(encoding) > 1:
        array[1, 2] = np.nan
    array.to_zarr(tmp_path / "a.zarr", encoding={"raw": encoding}, zarr_format=version, consolidated=version == 2)
    want = xarray.open_zarr(tmp_path / "a.zarr", consolidated=version == 2)["raw"]
    source = open_source(f"{tmp_path}/a.zarr/raw")
    assert source.dtype == want.dtype
    np.testing.assert_array_equal(source[:][0], want.values)
    assert bool(np.isnan(source[:]).any()) == (len(encoding) > 1)
    again = open_source(source.locator)
    np.testing.assert_array_equal(again[0:1, 1:2, 1:3, 0:4], source[:][:, 1:2, 1:3, 0:4])


def packed(file, **attributes):
    stored = np.arange(60, dtype="int16").reshape(3, 4, 5)
    file.create_dataset("raw", data=stored, chunks=(2, 2, 2)).attrs.update(attributes)
    return stored


def test_hdf5_open_and_by_path(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        stored = packed(file, scale_factor=np.array([0.5]), add_offset=1.0, _FillValue=np.array([7], "int16"))
        want = np.where(stored == 7, np.nan, stored * 0.5 + 1)
        np.testing.assert_array_equal(open_source(file["raw"])[:][0], want)
        np.testing.assert_array_equal(open_array(file["raw"], "raw")[:], want)
    source = open_source(tmp_path / "a.h5")
    np.testing.assert_array_equal(source[:][0], want)
    assert source.dtype == "float64" and source.chunks == (1, 2, 2, 2)
    source.close()


def test_flags_and_signs():
    packing, _ = packing_of({"dtype": "bool"}, np.dtype("int8"))
    assert packing.unpacked(np.array([0, 1], "int8")).tolist() == [False, True]
    packing, _ = packing_of({"_Unsigned": b"true", "_FillValue": np.array([-2], "int8")}, np.dtype("int8"))
    assert packing.unpacked(np.array([1, -1, -2], "int8")).tolist()[:2] == [1, 255]
    assert np.isnan(packing.unpacked(np.array([-2], "int8"))).all()
    for nothing in ({}, {"units": "nm"}, {"_FillValue": np.nan}, {"_Unsigned": "false"}):
        assert packing_of(nothing, np.dtype("int16")) == (None, ())


@pytest.mark.parametrize(
    "odd", [{"scale_factor": "large"}, {"scale_factor": [1.0, 2.0]}, {"_FillValue": "none at all"}]
)
def test_attributes_that_make_no_sense(tmp_path, odd):
    zarr.create_array(tmp_path / "a.zarr", data=numbered((3, 4, 5))).attrs.update(odd)
    with pytest.warns(MetadataWarning, match=next(iter(odd))):
        source = open_source(tmp_path / "a.zarr")
    np.testing.assert_array_equal(source[:][0], numbered((3, 4, 5)))


def test_zeros_of_zarr_2_are_values_unless_xarray_says_otherwise(tmp_path):
    array = zarr.create_array(tmp_path / "a.zarr", data=numbered((3, 4, 5)), zarr_format=2)
    array.attrs["_ARRAY_DIMENSIONS"] = list("zyx")
    assert open_source(tmp_path / "a.zarr").dtype == "uint16"


def test_predictions_are_those_of_the_opened_array(fresh_model, tmp_path):
    inp = nm.Input((1, 1, 2, 4, 4), "b,f,z,y,x", print_repr=False)
    node = nm.Conv(inp, 1, (2, 2, 2), print_repr=False)
    array = xarray.DataArray(np.random.default_rng(0).random((5, 9, 8)), dims=("z", "y", "x"), name="raw")
    array[0, 0, 0] = np.nan
    array.to_zarr(tmp_path / "a.zarr", encoding={"raw": ENCODINGS[0]}, consolidated=False)
    opened = xarray.open_zarr(tmp_path / "a.zarr", consolidated=False)["raw"]
    want = node.predict_dense(opened)
    np.testing.assert_allclose(node.predict_dense(f"{tmp_path}/a.zarr/raw"), want.values, atol=1e-6)
    assert np.isnan(want.values).any() and np.isfinite(want.values).any()
    mask = np.isfinite(opened.values)
    mask[:2, :2, :2] = False
    result = node.predict_dense(f"{tmp_path}/a.zarr/raw", out=tmp_path / "out.npy", mask=mask)
    assert np.isfinite(np.load(result)).all()
    raw = xarray.open_zarr(tmp_path / "a.zarr", consolidated=False, mask_and_scale=False)["raw"]
    assert raw.dtype == "int16" and open_source(raw).dtype == "int16"  # opened without decoding on purpose
    attributes = result_array(raw, np.zeros((1, 5, 9, 8)), (0, 0, 0)).attrs
    assert not {"scale_factor", "_FillValue"} & set(attributes)


def test_masked_labels_count_as_not_labelled(fresh_model):
    inp = nm.Input((4, 1, 8, 8), "b,f,y,x", print_repr=False)
    node = nm.Softmax(nm.Conv(inp, 2, (3, 3), activation_func="lin", print_repr=False), print_repr=False)
    raw, labels = np.zeros((20, 20), "float32"), np.ones((20, 20), "int16")
    labels[:, 10:] = 77  # garbage under the mask
    hidden = labels == 77
    masked = np.ma.array(labels, mask=hidden)
    want = PatchSampler(node, LabelledVolume(raw, labels, mask=~hidden), seed=3).batch(0)
    for given in (LabelledVolume(raw, masked), LabelledVolume(raw, masked, mask=np.ones((20, 20)))):
        for found, wanted in zip(PatchSampler(node, given, seed=3).batch(0), want, strict=True):
            np.testing.assert_array_equal(found, wanted)
    assert set(np.unique(want[1])) == {-1, 1}
    with pytest.raises(InputTypeError, match=r"volume 0.*masked values|'raw': masked"):
        PatchSampler(node, LabelledVolume(np.ma.array(raw, mask=hidden), labels))
