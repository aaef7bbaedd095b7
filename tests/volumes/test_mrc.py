"""MRC files: ångströms, origin, order of axes and modes as mrcfile has them."""

from __future__ import annotations

import io

import numpy as np
import pytest

from neuromancer.errors import FileError, InputTypeError, MetadataWarning
from neuromancer.volumes import create_sink, open_source
from tests.volumes.factories import numbered

mrcfile = pytest.importorskip("mrcfile")

VALUES = numbered((5, 6, 7), "int16")


def written(path, values=VALUES, voxel_size=(5, 4.5, 40), **fields):
    with mrcfile.new(path, values) as file:
        if values.ndim == 3:
            file.set_volume()
        if voxel_size is not None:
            file.voxel_size = voxel_size
        for key, value in fields.items():
            setattr(file.header, key, value)
    return path


def test_sizes_and_origin_are_in_angstroms(tmp_path):
    with mrcfile.mmap(written(tmp_path / "a.mrc"), "r+") as file:
        file.header.origin = (10, -20, 30.5)
    source = open_source(tmp_path / "a.mrc")
    assert source.voxel_size == (40, 4.5, 5) and source.unit == "angstrom" and source.offset == (30.5, -20, 10)
    np.testing.assert_array_equal(source[0:1, 1:4, 2:3][0], VALUES[1:4, 2:3])


def test_starts_count_without_an_origin(tmp_path):
    source = open_source(written(tmp_path / "a.map", nxstart=2, nystart=-4, nzstart=1))
    assert source.offset == (40, -18, 10)


def test_a_header_without_a_cell_says_nothing(tmp_path):
    source = open_source(written(tmp_path / "a.rec", voxel_size=None))
    assert source.voxel_size is None and source.offset == (0, 0, 0)


@pytest.mark.parametrize(
    ("order", "axes"), [((1, 2, 3), "zyx"), ((3, 2, 1), "xyz"), ((2, 3, 1), "xzy"), ((0, 0, 0), "zyx")]
)
def test_the_order_of_axes(tmp_path, order, axes):
    fields = dict(zip(("mapc", "mapr", "maps"), order, strict=True))
    source = open_source(written(tmp_path / "a.mrc", voxel_size=None, **fields))
    np.testing.assert_array_equal(source[:][0], VALUES.transpose([axes.index(a) for a in "zyx"]))


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("dtype", ["int8", "int16", "uint16", "float16", "float32"])
def test_modes_and_byte_orders(tmp_path, dtype, order):
    values = (VALUES % 100).astype(np.dtype(dtype).newbyteorder(order))
    source = open_source(written(tmp_path / "a.mrc", values))
    assert source.dtype == values.dtype
    block = source[:]
    assert block.dtype == dtype
    np.testing.assert_array_equal(block[0], values)


def test_extended_headers_and_stacks(tmp_path):
    with mrcfile.new(tmp_path / "a.mrc", VALUES) as file:
        file.set_extended_header(np.frombuffer(b"x" * 480, "V1"))
    np.testing.assert_array_equal(open_source(tmp_path / "a.mrc")[:][0], VALUES)
    stack = numbered((2, 5, 6, 7), "float32")
    np.testing.assert_array_equal(open_source(written(tmp_path / "b.mrc", stack))[:], stack)
    image = numbered((6, 7), "float32")
    np.testing.assert_array_equal(open_source(written(tmp_path / "c.mrc", image), spatial="yx")[:][0], image)


def test_an_impossible_order_of_axes_is_doubted(tmp_path):
    with pytest.warns(MetadataWarning, match=r"order of axes \[1, 1, 2\]"):
        source = open_source(written(tmp_path / "a.mrc", mapc=1, mapr=1, maps=2))
    np.testing.assert_array_equal(source[:][0], VALUES)


def test_complex_values_and_unknown_modes(tmp_path):
    with pytest.raises(InputTypeError, match="no numeric dtype"):
        open_source(written(tmp_path / "a.mrc", VALUES.astype("complex64")))
    with pytest.raises(FileError, match="got mode 101; expected one of"):
        open_source(written(tmp_path / "b.mrc", mode=101))


@pytest.mark.parametrize("fields", [{"nx": 0}, {"nz": -5}, {"ispg": 401, "mz": 0}, {"nsymbt": -1000}])
def test_impossible_headers(tmp_path, fields):
    with pytest.raises(FileError, match="has an impossible header"):
        open_source(written(tmp_path / "a.mrc", **fields))


@pytest.mark.parametrize("channels", [1, 2])
def test_mrcfile_reads_what_is_written(tmp_path, channels):
    meta = {"voxel_size": (40, 4.5, 5), "unit": "nm", "offset": (80, -9, 2.5)}
    sink = create_sink(tmp_path / "a.mrc", (channels, 5, 6, 7), "float32", **meta)
    values = numbered(sink.shape, "float32")
    sink[:] = values
    sink.close()
    assert mrcfile.validate(tmp_path / "a.mrc", print_file=io.StringIO())
    with mrcfile.mmap(tmp_path / "a.mrc") as file:
        np.testing.assert_array_equal(np.reshape(file.data, values.shape), values)
        assert file.voxel_size.tolist() == (50, 45, 400) and file.header.origin.tolist() == (25, -90, 800)
        assert file.is_volume_stack() if channels > 1 else file.is_volume()


def test_without_a_unit_there_is_no_cell(tmp_path):
    create_sink(tmp_path / "a.mrc", (1, 5, 6, 7), "float32", voxel_size=(3, 2, 1)).close()
    assert open_source(tmp_path / "a.mrc").voxel_size is None
    meta = {"voxel_size": (None, 2, 1), "unit": "nm", "direction": (1, -1, 1)}
    create_sink(tmp_path / "b.mrc", (1, 5, 6, 7), "float32", **meta).close()
    source = open_source(tmp_path / "b.mrc")
    assert source.voxel_size == (None, 20, 10) and source.direction == (1, -1, 1)


def test_images_of_two_axes(tmp_path):
    for channels in (1, 3):
        sink = create_sink(tmp_path / f"{channels}.mrc", (channels, 5, 6), "float32", spatial="yx")
        sink[:] = numbered(sink.shape, "float32")
        sink.close()
        found = open_source(tmp_path / f"{channels}.mrc", spatial="yx")[:]
        np.testing.assert_array_equal(found.reshape(sink.shape), numbered(sink.shape, "float32"))
