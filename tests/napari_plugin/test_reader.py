"""Volumes open as layers: lazily, with scale, units and position, and with labels as Labels."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from neuromancer.errors import FileError, ShapeError, UnknownNameError
from neuromancer.napari_plugin.reader import get_reader, read
from neuromancer.volumes import create_sink, write_pyramid
from tests.napari_plugin.nets import small_model

RAW = np.random.default_rng(0).integers(0, 256, (6, 10, 12), "uint8")
PLACE = {"voxel_size": (40, 4, 4), "unit": "nm", "offset": (80, 8, 4)}


def stored(path, array=RAW[None], **options):
    sink = create_sink(path, array.shape, array.dtype, **{**PLACE, **options})
    sink[tuple(map(slice, array.shape))] = array
    sink.close()
    return str(path)


@pytest.mark.parametrize("name", ["a.zarr", "a.h5:/em", "a.tif", "a.nii", "a.mrc", "a.nrrd", "a.nii.gz"])
def test_a_volume_of_any_format_is_a_layer_at_its_place(tmp_path, name):
    pytest.importorskip({"nii": "nibabel", "mrc": "mrcfile", "nrr": "nrrd"}.get(name[2:5], "zarr"))
    place = {"voxel_size": (40, 4, 4), "unit": "nm"} if "tif" in name or "mrc" in name or "nii" in name else PLACE
    array = RAW.astype("int16") if "mrc" in name else RAW
    path = stored(tmp_path / name, array[None], **place)
    assert get_reader(path) is read
    [(data, arguments, kind)] = read(path)
    assert kind == "image" and data.shape == RAW.shape and type(data).__module__.startswith("dask")
    np.testing.assert_array_equal(data[2:4].compute(), array[2:4])
    size = {"micrometer": 1e-3, "millimeter": 1e-6, "angstrom": 10, "nanometer": 1}[arguments["units"][0]]
    np.testing.assert_allclose(arguments["scale"], np.multiply((40, 4, 4), size), rtol=1e-6)
    if "offset" in place and place is PLACE:
        np.testing.assert_allclose(arguments["translate"], np.multiply((80, 8, 4), size), rtol=1e-6)
    assert arguments["name"] == ("em" if "h5" in name else "a")


def test_channels_are_layers_and_levels_a_pyramid(tmp_path):
    path = stored(tmp_path / "a.zarr", np.stack([RAW, 255 - RAW]), multiscale=True)
    write_pyramid(path, levels=1)
    first, second = read(path)
    assert [len(data) for data, *_ in (first, second)] == [2, 2] and first[0][1].shape == (6, 5, 6)
    np.testing.assert_array_equal(second[0][0].compute(), 255 - RAW)
    assert (first[1]["name"], second[1]["name"]) == ("a, channel 0", "a, channel 1") and second[1][
        "blending"
    ] == "additive"


def test_all_arrays_of_a_file_are_opened_and_labels_are_labels(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["raw"], file["deep/label"], file["table"] = RAW, (RAW > 100).astype("uint16"), np.arange(4)
    found = {arguments["name"]: kind for _, arguments, kind in read(str(tmp_path / "a.h5"))}
    assert list(found.items()) == [("a raw", "image"), ("a deep/label", "labels")]
    path = str(tmp_path / "group.zarr")
    stored(f"{path}/raw", multiscale=True)
    stored(f"{path}/mask")
    assert {arguments["name"]: kind for _, arguments, kind in read(path)} == {
        "group raw": "image", "group mask": "labels"
    }  # fmt: skip


def test_images_with_two_axes(tmp_path):
    np.save(tmp_path / "segments.npy", RAW[0].astype("int32"))
    [(data, arguments, kind)] = read(str(tmp_path / "segments.npy"))
    assert data.shape == (10, 12) and kind == "labels"
    assert arguments["scale"] == [1, 1] and arguments["units"] == ["pixel"] * 2


def test_of_many_arrays_the_user_chooses_one(tmp_path, monkeypatch):
    with h5py.File(tmp_path / "many.h5", "w") as file:
        for k in range(20):
            file[f"v{k:02}"] = RAW
    monkeypatch.setattr("napari.current_viewer", lambda: "a viewer")
    answers = iter([("v07", True), ("v07", False)])
    monkeypatch.setattr("qtpy.QtWidgets.QInputDialog.getItem", lambda *arguments: next(answers))
    [(_, arguments, _)] = read(str(tmp_path / "many.h5"))
    assert arguments["metadata"]["neuromancer"]["path"] == f"{tmp_path}/many.h5:v07"
    assert read(str(tmp_path / "many.h5")) == [(None,)]  # cancelled


def test_what_is_no_volume_is_refused_with_the_reason(tmp_path):
    assert get_reader(["a.tif", "b.tif"]) is None and get_reader("a.docx") is None
    with pytest.raises(FileError, match="no such file"):
        read(str(tmp_path / "a.tif"))
    np.save(tmp_path / "line.npy", np.arange(9))
    with pytest.raises(ShapeError, match="wrong number of axes"):
        read(str(tmp_path / "line.npy"))
    with h5py.File(tmp_path / "two.h5", "w") as file:
        file["line"], file["table"] = np.arange(3), np.arange(4)
    with pytest.raises(ShapeError, match="wrong number of axes"):
        read(str(tmp_path / "two.h5"))
    with pytest.raises(UnknownNameError, match=r"no such array in the file; got lines.*nearest valid: line"):
        read(f"{tmp_path}/two.h5:/lines")
    small_model().save(tmp_path / "model.h5")
    with pytest.raises(FileError, match=r"is a model, not a volume.*Predict"):
        read(str(tmp_path / "model.h5"))
