"""Malformed attributes of HDF5 datasets: unknown, with a warning, and the image is read."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from neuromancer.errors import MetadataWarning
from neuromancer.volumes import open_source
from tests.volumes.factories import numbered

WHOLE = numbered((3, 4, 5), "uint8")
SCALAR = h5py.h5s.create(h5py.h5s.SCALAR)


def written(path, change):
    with h5py.File(path, "w") as file:
        file["raw"] = WHOLE
        change(file, file["raw"])
    return f"{path}:raw"


def scaled(file, raw):
    """Attach coordinates as netCDF does."""
    for k, (name, n) in enumerate(zip("zyx", WHOLE.shape, strict=True)):
        file[name] = np.arange(n) * 2.0
        file[name].attrs["units"] = "nm"
        file[name].make_scale()
        raw.dims[k].attach_scale(file[name])


def read_with_warning(path, says):
    with pytest.warns(MetadataWarning, match=says):
        source = open_source(path)
    np.testing.assert_array_equal(source[:], WHOLE[None])
    return source


@pytest.mark.parametrize("name", ["DIMENSION_LABELS", "DIMENSION_LIST"])
@pytest.mark.parametrize(
    "value", [np.array([b"z", b"y", b"x"]), 5, "junk", ["z", "y"], h5py.Empty("f4"), np.zeros((3, 3))]
)
def test_what_the_library_cannot_read_without_a_crash(tmp_path, name, value):
    read_with_warning(written(tmp_path / "a.h5", lambda file, raw: raw.attrs.update({name: value})), name)


@pytest.mark.filterwarnings("error")
def test_labels_and_scales(tmp_path):
    source = open_source(written(tmp_path / "a.h5", scaled))
    assert source.voxel_size == (2, 2, 2) and source.unit == "nanometer"

    def label(file, raw):
        for k, name in enumerate("xyz"):
            raw.dims[k].label = name

    assert open_source(written(tmp_path / "b.h5", label)).shape == (1, 5, 4, 3)


def _gone(file, raw):
    del file["y"]


def _named_otherwise(file, raw):
    file["y"].attrs.update({"NAME": "y", "REFERENCE_LIST": 7})


def _of_another_length(file, raw):
    raw.dims[1].detach_scale(file["y"])
    del file["y"]
    file["y"] = np.arange(3.0)
    file["y"].make_scale()
    raw.dims[1].attach_scale(file["y"])


def _texts(file, raw):
    raw.dims[1].detach_scale(file["y"])
    del file["y"]
    file["y"] = np.array([b"a"] * 4)
    file["y"].make_scale()
    raw.dims[1].attach_scale(file["y"])


@pytest.mark.parametrize("harm", [_gone, _of_another_length, _texts])
def test_scales_that_cannot_be_read(tmp_path, harm):
    path = written(tmp_path / "a.h5", lambda file, raw: (scaled(file, raw), harm(file, raw)))
    assert read_with_warning(path, "scale of axis 1|voxel size of y").voxel_size == (2, None, 2)


@pytest.mark.filterwarnings("error")
def test_a_scale_whose_name_is_a_text_of_any_length(tmp_path):
    path = written(tmp_path / "a.h5", lambda file, raw: (scaled(file, raw), _named_otherwise(file, raw)))
    assert open_source(path).voxel_size == (2, 2, 2)


@pytest.mark.parametrize("name", ["when", "units", "voxel_size", "scale_factor", "_FillValue", "axes", "CLASS"])
def test_types_that_numpy_lacks(tmp_path, name):
    def add(file, raw):
        h5py.h5a.create(raw.id, name.encode(), h5py.h5t.UNIX_D32LE, SCALAR)

    read_with_warning(written(tmp_path / "a.h5", add), f"attribute {name}")


@pytest.mark.parametrize("value", [np.eye(3), np.zeros(3, [("a", "i4")]), 5])
@pytest.mark.parametrize("name", ["direction", "voxel_size", "axis_names"])
def test_values_of_another_kind(tmp_path, name, value):
    path = written(tmp_path / "a.h5", lambda file, raw: raw.attrs.update({name: value, "neuromancer_id": "a"}))
    read_with_warning(path, name.replace("voxel_size", "voxel size"))
