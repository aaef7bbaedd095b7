"""NRRD files: kinds, directions, units and encodings as pynrrd has them."""

from __future__ import annotations

import os
import warnings

import numpy as np
import pytest

from neuromancer.errors import FileError, MetadataWarning
from neuromancer.volumes import create_sink, open_source
from tests.volumes.factories import numbered

nrrd = pytest.importorskip("nrrd")

VALUES = numbered((5, 6, 7), "int16")
COMMON = {"space directions": np.diag([2.0, 2.5, 3]), "space origin": [10.0, -20, 30]}


def written(path, values=VALUES, **header):
    header = {key.replace("_", " "): value for key, value in header.items()}
    nrrd.write(str(path), values, header)
    return path


@pytest.mark.parametrize(
    ("space", "offset", "direction"),
    [
        ("right-anterior-superior", (30, -20, 10), None),
        ("left-posterior-superior", (30, 20, -10), (1, -1, -1)),
        ("LPS", (30, 20, -10), (1, -1, -1)),
        ("left-anterior-superior", (30, -20, -10), (1, 1, -1)),
    ],
)
def test_spaces(tmp_path, space, offset, direction):
    source = open_source(written(tmp_path / "a.nrrd", space=space, space_units=["mm"] * 3, **COMMON))
    assert source.voxel_size == (3, 2.5, 2) and source.unit == "millimeter"
    assert source.offset == offset and source.direction == direction
    np.testing.assert_array_equal(source[:][0], VALUES.T)


def test_space_and_time(tmp_path):
    header = {"space directions": np.diag([2.0, 2.5, 3, 1]), "space origin": [10.0, -20, 30, 0], "space": "LPST"}
    header |= {"space units": ["mm", "mm", "mm", "s"], "kinds": ["domain", "domain", "domain", "time"]}
    source = open_source(written(tmp_path / "a.nrrd", VALUES[..., None], **header))
    assert source.voxel_size == (3, 2.5, 2) and source.unit == "millimeter"
    assert source.offset == (30, 20, -10) and source.direction == (1, -1, -1)


def test_units_with_a_micro_sign(tmp_path):
    path = written(tmp_path / "a.nrrd", space_dimension=3, space_units=["um"] * 3, **COMMON)
    path.write_bytes(path.read_bytes().replace(b'"um" "um" "um"', '"µm" "µm" "µm"'.encode()))
    assert open_source(path).unit == "micrometer"
    create_sink(tmp_path / "b.nrrd", (1, 4, 5, 6), "float32", voxel_size=(1, 2, 3), unit="µm").close()
    header = nrrd.read_header(str(tmp_path / "b.nrrd"))
    assert header["space units"] == ["um"] * 3


@pytest.mark.parametrize(
    ("shape", "header", "order"),
    [
        ((2, 5, 6, 7), {"kinds": ["vector", "space", "space", "space"]}, "fxyz"),
        ((5, 6, 7, 2), {"kinds": ["domain", "domain", "domain", "list"]}, "xyzf"),
        ((3, 5, 6, 7), {"kinds": ["RGB-color", "space", "space", "space"]}, "fxyz"),
        ((5, 6, 7, 2), {}, "xyzf"),
        ((7, 6, 5), {"labels": ["z", "y", "x"]}, "zyx"),
        ((2, 5, 6, 7), {"space directions": np.vstack([np.full(3, np.nan), np.eye(3)]), "space dimension": 3}, "fxyz"),
        ((1, 5, 6, 7), {"kinds": ["time", "space", "space", "space"]}, "txyz"),
    ],
)
def test_axes(tmp_path, shape, header, order):
    values = numbered(shape)
    nrrd.write(str(tmp_path / "a.nrrd"), values, header)
    found = open_source(tmp_path / "a.nrrd")
    wanted = values.transpose([order.index(a) for a in "ftzyx" if a in order])
    np.testing.assert_array_equal(found[:], wanted.reshape(found.shape))


def test_kinds_that_cannot_be_understood(tmp_path):
    nrrd.write(str(tmp_path / "a.nrrd"), numbered((2, 3, 5, 6)), {"kinds": ["list", "vector", "space", "space"]})
    with pytest.warns(MetadataWarning, match="kinds"):
        open_source(tmp_path / "a.nrrd")


def test_spacings(tmp_path):
    path = written(tmp_path / "a.nrrd", spacings=[2.0, 2.5, np.nan], units=["um", "um", "um"])
    source = open_source(path)
    assert source.voxel_size == (None, 2.5, 2) and source.unit == "micrometer"


def test_directions_that_are_turned(tmp_path):
    turned = np.array([[0.8, 0.6, 0], [-0.6, 0.8, 0], [0, 0, 1]])
    header = {"space": "left-posterior-superior", "space origin": [10.0, -20, 30]}
    nrrd.write(str(tmp_path / "a.nrrd"), VALUES, header | {"space directions": turned * [[2], [2.5], [3]]})
    source = open_source(tmp_path / "a.nrrd")
    assert source.voxel_size == pytest.approx((3, 2.5, 2))
    np.testing.assert_allclose(source.orientation, (turned * [-1, -1, 1])[::-1], atol=1e-9)
    np.testing.assert_allclose(np.array(source.orientation).T @ source.offset, (-10, 20, 30))
    nrrd.write(str(tmp_path / "b.nrrd"), VALUES, header | {"space directions": np.ones((3, 3))})
    with pytest.warns(MetadataWarning, match="space directions"):
        open_source(tmp_path / "b.nrrd")


@pytest.mark.parametrize("name", ["a.nrrd", "a.nhdr"])
@pytest.mark.parametrize("skip", [7, -1])
def test_bytes_before_the_voxels(tmp_path, name, skip):
    nrrd.write(f"{tmp_path}/{name}", VALUES, {"encoding": "raw"})
    head, file = tmp_path / name, tmp_path / ("a.raw" if name == "a.nhdr" else name)
    voxels = VALUES.T.tobytes()
    text = head.read_bytes().removesuffix(voxels).rstrip(b"\n") + f"\nbyte skip: {skip}\n\n".encode()
    head.write_bytes(text)
    with file.open("ab" if file == head else "wb") as opened:
        opened.write(b"preface" + voxels)
    np.testing.assert_array_equal(open_source(head)[:][0], VALUES.T)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ((b"encoding: raw", b"encoding: hex"), "encoding 'hex'"),
        ((b"type: int16", b"type: block"), "type 'block'"),
        ((b"sizes: 5 6 7", b"sizes: 5 6"), "impossible header"),
        ((b"sizes: 5 6 7", b"sizes: 5 0 7"), "impossible header"),
        ((b"endian: little\n", b""), "impossible header"),
        ((b"encoding: raw", b"byte skip: -2\nencoding: raw"), "byte skip -2; expected >= -1"),
        ((b"encoding: raw", b"line skip: -1\nencoding: raw"), "line skip -1; expected >= 0"),
        ((b"encoding: raw", b"data file: LIST\nencoding: raw"), "spread over several files"),
        ((b"encoding: raw", b"data file: a%02d.raw 0 9 1\nencoding: raw"), "spread over several files"),
        ((b"encoding: raw", b"data file: gone.raw\nencoding: raw"), "the file of its voxels is missing"),
    ],
)
def test_headers_that_cannot_be_read(tmp_path, change, says):
    nrrd.write(f"{tmp_path}/a.nrrd", VALUES, {"encoding": "raw"})
    (tmp_path / "a.nrrd").write_bytes((tmp_path / "a.nrrd").read_bytes().replace(*change))
    with pytest.raises(FileError, match=rf"a\.nrrd.*{says}"):
        open_source(tmp_path / "a.nrrd")


@pytest.mark.parametrize("encoding", ["raw", "gzip"])
def test_voxels_that_end_early_are_not_taken_from_elsewhere(tmp_path, encoding):
    nrrd.write(f"{tmp_path}/a.nrrd", VALUES, {"encoding": encoding, "byte skip": -1, "line skip": 0})
    np.testing.assert_array_equal(open_source(tmp_path / "a.nrrd")[:][0], VALUES.T)
    os.truncate(tmp_path / "a.nrrd", (tmp_path / "a.nrrd").stat().st_size - 20)
    with pytest.raises(FileError, match=r"a\.nrrd.*the file ends early"):
        open_source(tmp_path / "a.nrrd")


def test_a_pipe_in_place_of_the_voxels(tmp_path):
    nrrd.write(f"{tmp_path}/a.nhdr", VALUES, {"encoding": "raw"})
    (tmp_path / "a.raw").unlink()
    os.mkfifo(tmp_path / "a.raw")
    with pytest.raises(FileError, match="a named pipe"):
        open_source(tmp_path / "a.nhdr")


@pytest.mark.parametrize("axes", [None, "zyxc", "cxyz"])
@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32", "float64"])
def test_pynrrd_reads_what_is_written(tmp_path, axes, dtype):
    meta = {"voxel_size": (40, 4.5, 5), "unit": "nm", "offset": (80, -9, 2.5), "direction": (1, -1, 1)}
    sink = create_sink(tmp_path / "a.nrrd", (2, 5, 6, 7), dtype, axes=axes, **meta)
    values = numbered(sink.shape, dtype)
    sink[:] = values
    sink.close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found, header = nrrd.read(str(tmp_path / "a.nrrd"))
    order = axes or "xyzc"
    assert found.dtype == dtype and header["labels"] == list(order)
    np.testing.assert_array_equal(found.transpose([order.index(a) for a in "czyx"]), values)
    rows = np.array([header["space directions"][order.index(a)] for a in "zyx"])
    np.testing.assert_array_equal(rows, [[0, 0, 40], [0, -4.5, 0], [5, 0, 0]])
    assert header["space origin"].tolist() == [2.5, -9, 80] and header["space units"] == ["nm"] * 3
    source = open_source(tmp_path / "a.nrrd")
    assert {key: getattr(source, key) for key in meta} == meta | {"unit": "nanometer"}
    np.testing.assert_array_equal(source[:], values)


def test_an_axis_of_unknown_size(tmp_path):
    create_sink(tmp_path / "a.nrrd", (2, 5, 6, 7), "float32", voxel_size=(None, 4.5, 5), unit="nm").close()
    source = open_source(tmp_path / "a.nrrd")
    assert source.voxel_size == (None, 4.5, 5) and source.unit == "nanometer"
    create_sink(tmp_path / "b.nrrd", (2, 5, 6), "float32", spatial="yx").close()
    source = open_source(tmp_path / "b.nrrd", spatial="yx")
    assert source.shape == (2, 5, 6) and source.voxel_size is None
