"""NIfTI files: affine, zooms, units and scaling as nibabel has them."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from neuromancer.errors import ArgumentError, FileError, InputTypeError, MetadataWarning, ShapeError
from neuromancer.volumes import create_sink, open_source
from tests.volumes.factories import numbered

nibabel = pytest.importorskip("nibabel")

SHAPE = (5, 6, 7)
TURNED = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, -1.0]])


def written(path, affine, values=None, unit="mm", kind=nibabel.Nifti1Image, **fields):
    image = kind(numbered(SHAPE, "int16") if values is None else values, affine)
    image.header.set_xyzt_units(unit)
    for key, value in fields.items():
        image.header[key] = value
    image.to_filename(path)
    return path


def affine_of(towards, sizes, origin):
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = np.asarray(towards) * sizes, origin
    return affine


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_flipped_axes_decrease(tmp_path, name, kind):
    affine = affine_of(np.diag([-1, 1, 1]), (0.7, 0.8, 3), (90.5, -20, 30))
    source = open_source(written(tmp_path / name, affine, kind=kind))
    assert source.shape == (1, 7, 6, 5) and source.unit == "millimeter" and source.orientation is None
    assert source.voxel_size == pytest.approx((3, 0.8, 0.7), rel=1e-7)
    assert source.offset == (30, -20, 90.5) and source.direction == (1, 1, -1)
    np.testing.assert_array_equal(source[0:1, 2:4, 1:3, 0:5][0], numbered(SHAPE, "int16").T[2:4, 1:3])


def test_oblique_axes_keep_their_order(tmp_path):
    affine = affine_of(TURNED, (2, 2.5, 3), (10, -20, 30))
    source = open_source(written(tmp_path / "a.nii", affine))
    np.testing.assert_array_equal(source[:][0], numbered(SHAPE, "int16").T)
    assert source.voxel_size == pytest.approx((3, 2.5, 2)) and source.direction is None
    np.testing.assert_allclose(source.orientation, TURNED.T[::-1], atol=1e-6)
    np.testing.assert_allclose(np.array(source.orientation).T @ source.offset, (10, -20, 30), atol=1e-4)


@pytest.mark.parametrize("name", ["out.nii", "out.nii.gz", "out.nrrd"])
@pytest.mark.parametrize("affine", [TURNED, np.diag([-1.0, 1, -1]), np.array([[0, 1.0, 0], [0, 0, 1], [1, 0, 0]])])
def test_a_copy_lies_where_the_image_does(tmp_path, name, affine):
    if name == "out.nrrd":
        pytest.importorskip("nrrd")
    affine = affine_of(affine, (2, 2.5, 3), (10, -20, 30))
    source = open_source(written(tmp_path / "a.nii", affine))
    meta = {key: getattr(source, key) for key in ("voxel_size", "offset", "unit", "direction", "orientation")}
    sink = create_sink(tmp_path / name, source.shape, source.dtype, **meta)
    sink[:] = source[:]
    sink.close()
    found = open_source(tmp_path / name)
    for key, value in meta.items():
        if value is None or key == "unit":
            assert getattr(found, key) == value
        else:
            np.testing.assert_allclose(getattr(found, key), value, atol=1e-5)
    if "nii" in name:
        copy = nibabel.load(tmp_path / name)
        np.testing.assert_allclose(copy.affine, affine, atol=1e-5)
        np.testing.assert_array_equal(copy.dataobj, numbered(SHAPE, "int16"))
        assert copy.header.get_xyzt_units()[0] == "mm"
        np.testing.assert_allclose(copy.get_qform(), affine, atol=1e-4)


def test_scaled_values(tmp_path):
    path = written(tmp_path / "a.nii", np.eye(4))
    with path.open("r+b") as file:
        header = nibabel.Nifti1Header.from_fileobj(file)
        header["scl_slope"], header["scl_inter"] = 0.5, -3
        file.seek(0)
        header.write_to(file)
    source = open_source(path)
    assert source.dtype == "float64"
    np.testing.assert_array_equal(source[:][0].T, nibabel.load(path).get_fdata())
    with pytest.raises(FileError, match=r"is not writable.*unscaled"):
        create_sink(path, source.shape, "float64", existing="open")


@pytest.mark.parametrize(
    ("shape", "seen"), [((5, 6), None), ((5, 6, 7, 2), (2, 7, 6, 5)), ((5, 6, 7, 1, 3), (3, 7, 6, 5))]
)
def test_channels(tmp_path, shape, seen):
    values = numbered(shape, "uint8")
    path = written(tmp_path / "a.nii", np.eye(4), values)
    if seen is None:
        assert open_source(path, spatial="yx").shape == (1, 6, 5)
        with pytest.raises(ShapeError, match="no axis z"):
            open_source(path)
    else:
        source = open_source(path)
        assert source.shape == seen
        np.testing.assert_array_equal(source[:], values.reshape(5, 6, 7, -1).T)


def test_time_is_refused(tmp_path):
    path = written(tmp_path / "a.nii", np.eye(4), numbered((5, 6, 7, 4, 3), "uint8"))
    with pytest.raises(ShapeError, match="axis 't' of size 4"):
        open_source(path)


@pytest.mark.parametrize(("unit", "voxel_size"), [("unknown", None), ("mm", (1, 1, 1))])
def test_a_header_that_says_nothing(tmp_path, unit, voxel_size):
    path = written(tmp_path / "a.nii", None, unit=unit)
    source = open_source(path)
    assert source.voxel_size == voxel_size and source.offset == (0, 0, 0)


@pytest.mark.parametrize(
    ("fields", "says"),
    [({"pixdim": [1, 0, 2, 3, 1, 1, 1, 1]}, "voxel size of x"), ({"srow_x": [0] * 4, "srow_y": [0] * 4}, "affine")],
)
def test_impossible_placements(tmp_path, fields, says):
    path = written(tmp_path / "a.nii", np.diag([2, 2, 3, 1]))
    with path.open("r+b") as file:
        header = nibabel.Nifti1Header.from_fileobj(file)
        for key, value in fields.items():
            header[key] = value
        file.seek(0)
        header.write_to(file)
    with pytest.warns(MetadataWarning, match=says):
        source = open_source(path)
    np.testing.assert_array_equal(source[:][0].T, numbered(SHAPE, "int16"))


@pytest.mark.parametrize(
    ("unit", "sizes", "stored", "code"),
    [
        ("nm", (40, 4.5, 4.5), (0.0045, 0.0045, 0.04), "micron"),
        ("mm", (3, 2, 2), (2, 2, 3), "mm"),
        ("cm", (3, 2, 2), (20, 20, 30), "mm"),
        (None, (3, 2, 2), (2, 2, 3), "unknown"),
    ],
)
def test_units_are_those_of_nifti(tmp_path, unit, sizes, stored, code):
    sink = create_sink(tmp_path / "a.nii", (2, 4, 5, 6), "float32", voxel_size=sizes, unit=unit)
    sink.close()
    image = nibabel.load(tmp_path / "a.nii")
    assert image.shape == (6, 5, 4, 2) and image.header.get_xyzt_units()[0] == code
    assert image.header.get_zooms()[:3] == pytest.approx(stored)
    np.testing.assert_allclose(image.affine, np.diag([*stored, 1]), rtol=1e-6)


def test_what_nifti_cannot_say_is_noted(tmp_path):
    meta = {"voxel_size": (None, 4, 5), "unit": "um", "offset": (None, 1, 2), "direction": (1, -1, 1)}
    create_sink(tmp_path / "a.nii", (1, 4, 5, 6), "uint8", **meta).close()
    source = open_source(tmp_path / "a.nii")
    assert source.voxel_size == (None, 4, 5) and source.direction == (1, -1, 1) and source.offset[1:] == (1, 2)
    create_sink(tmp_path / "b.nii", (1, 4, 5, 6), "uint8").close()
    assert open_source(tmp_path / "b.nii").voxel_size is None


def test_images_of_two_axes_and_long_ones(tmp_path):
    for channels in (1, 3):
        sink = create_sink(tmp_path / f"{channels}.nii", (channels, 5, 6), "uint8", spatial="yx")
        sink[:] = numbered(sink.shape, "uint8")
        sink.close()
        found = open_source(tmp_path / f"{channels}.nii", spatial="yx")
        np.testing.assert_array_equal(found[:].reshape(channels, 5, 6), numbered((channels, 5, 6), "uint8"))
    create_sink(tmp_path / "long.nii", (1, 1, 1, 40_000), "uint8").close()
    assert isinstance(nibabel.load(tmp_path / "long.nii"), nibabel.Nifti2Image)
    assert open_source(tmp_path / "long.nii").shape == (1, 1, 1, 40_000)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"datatype": 999}, "datatype 999"),
        ({"vox_offset": np.nan}, "voxels at byte nan"),
        ({"vox_offset": 100}, "voxels at byte 100"),
        ({"scl_slope": 2, "scl_inter": np.inf}, "scl_inter inf"),
    ],
)
def test_impossible_headers(tmp_path, fields, says):
    path = written(tmp_path / "a.nii", np.eye(4))
    header = nibabel.Nifti1Header(path.read_bytes()[:348], check=False)
    for key, value in fields.items():
        header[key] = value
    path.write_bytes(header.binaryblock + path.read_bytes()[348:])
    with pytest.raises(FileError, match=f"a.nii.*has an impossible header; got {says}"):
        open_source(path)


def test_what_is_no_nifti(tmp_path):
    (tmp_path / "text.nii").write_text("no image")
    np.save(tmp_path / "a.npy", np.zeros(300))
    (tmp_path / "a.npy").rename(tmp_path / "npy.nii")
    (tmp_path / "zeros.nii").write_bytes(bytes(500))
    (tmp_path / "plain.nii.gz").write_bytes((written(tmp_path / "a.nii", np.eye(4))).read_bytes())
    nibabel.Nifti1Pair(numbered(SHAPE, "int16"), np.eye(4)).to_filename(tmp_path / "pair.img")
    (tmp_path / "pair.hdr").rename(tmp_path / "pair.nii")
    for name in ("text.nii", "npy.nii", "zeros.nii", "plain.nii.gz", "pair.nii"):
        with warnings.catch_warnings(), pytest.raises(FileError, match=name.replace(".", r"\.")):
            warnings.simplefilter("error")
            open_source(tmp_path / name)
    rgb = np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    with pytest.raises(InputTypeError, match="no numeric dtype"):
        open_source(written(tmp_path / "rgb.nii", np.eye(4), rgb))
    with pytest.raises(ArgumentError, match="unnamed array"):
        open_source(f"{tmp_path / 'a.nii'}:raw")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_long_extensions(tmp_path, name):
    image = nibabel.Nifti1Image(numbered(SHAPE, "int16"), np.eye(4))
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", np.random.default_rng(0).bytes(100_000)))
    image.to_filename(tmp_path / name)
    np.testing.assert_array_equal(open_source(tmp_path / name)[:][0], numbered(SHAPE, "int16").T)
