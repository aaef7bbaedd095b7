"""Imaris files."""

from __future__ import annotations

import os

import h5py
import numpy as np
import pytest

from neuromancer.errors import FileError, MetadataWarning, UnknownNameError
from neuromancer.volumes import open_source
from tests.volumes.factories import numbered

WHOLE = numbered((2, 5, 6, 7), "uint8")


def characters(text):
    return np.frombuffer(text.encode(), "S1")


def written(path, times=1, levels=2, unit="um"):
    """Write a file as Imaris does: texts as arrays of characters, data padded to chunks."""
    with h5py.File(path, "w") as file:
        info = file.create_group("DataSetInfo/Image")
        for k, (low, high) in enumerate(((1, 8), (-3, 0), (0, 10))):
            info.attrs[f"ExtMin{k}"], info.attrs[f"ExtMax{k}"] = characters(str(low)), characters(str(high))
        info.attrs["Unit"] = characters(unit)
        for level in range(levels):
            values = WHOLE[:, :, :: 2**level, :: 2**level]
            for time in range(times):
                for c, channel in enumerate(values):
                    group = file.create_group(f"DataSet/ResolutionLevel {level}/TimePoint {time}/Channel {c}")
                    for a, n in zip("ZYX", channel.shape, strict=True):
                        group.attrs[f"ImageSize{a}"] = characters(str(n))
                    padded = np.pad(channel + time, [(0, -n % 4) for n in channel.shape])
                    group.create_dataset("Data", data=padded, chunks=(4, 4, 4), compression="gzip")
    return path


def test_the_finest_level_without_padding(tmp_path):
    source = open_source(written(tmp_path / "a.ims"))
    assert source.shape == WHOLE.shape and source.chunks == (1, 4, 4, 4)
    assert source.voxel_size == (2, 0.5, 1) and source.unit == "micrometer" and source.offset == (1, -2.75, 1.5)
    np.testing.assert_array_equal(source[:], WHOLE)
    np.testing.assert_array_equal(source[1:2, 1:3, 2:5, 3:7], WHOLE[1:2, 1:3, 2:5, 3:7])
    np.testing.assert_array_equal(open_source(source.locator)[0:1], WHOLE[:1])


def test_levels_and_times(tmp_path):
    path = written(tmp_path / "a.ims", times=2)
    coarse = open_source(f"{path}:ResolutionLevel 1/TimePoint 1")
    np.testing.assert_array_equal(coarse[:], WHOLE[:, :, ::2, ::2] + 1)
    assert coarse.voxel_size == (2, 1, 1.75)
    for name, says in (("", "TimePoint 0.*TimePoint 1"), (":ResolutionLevel 7", "nearest valid: ResolutionLevel 1")):
        with pytest.raises(UnknownNameError, match=says):
            open_source(f"{path}{name}")


def test_borders_that_are_no_numbers(tmp_path):
    path = written(tmp_path / "a.ims")
    with h5py.File(path, "r+") as file:
        file["DataSetInfo/Image"].attrs["ExtMax0"] = characters("wide")
    with pytest.warns(MetadataWarning, match="wide"):
        assert open_source(path).voxel_size is None
    with h5py.File(path, "r+") as file:
        del file["DataSetInfo"]
    assert open_source(path).voxel_size is None


def test_what_is_no_imaris_file(tmp_path):
    with h5py.File(tmp_path / "a.ims", "w") as file:
        file["raw"] = WHOLE
    with pytest.raises(FileError, match=r"a\.ims.*no Imaris file"):
        open_source(tmp_path / "a.ims")
    path = written(tmp_path / "b.ims")
    with h5py.File(path, "r+") as file:
        del file["DataSet/ResolutionLevel 0/TimePoint 0/Channel 1/Data"]
    with pytest.raises(FileError, match=r"b\.ims.*without data"):
        open_source(path)
    os.truncate(path, 3000)
    with pytest.raises(FileError, match=r"b\.ims"):
        open_source(path)
    path.write_text("no file of this kind")
    with pytest.raises(FileError, match=r"b\.ims"):
        open_source(path)


def test_damaged_chunks(tmp_path):
    path = written(tmp_path / "a.ims")
    with h5py.File(path) as file:
        place = file["DataSet/ResolutionLevel 0/TimePoint 0/Channel 1/Data"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[place.byte_offset : place.byte_offset + place.size] = b"x" * place.size
    path.write_bytes(content)
    source = open_source(path)
    np.testing.assert_array_equal(source[0:1], WHOLE[:1])
    with pytest.raises(FileError, match=r"a\.ims.*a block cannot be read; got chunk \[1:2, 0:4, 0:4, 0:4\]"):
        source[1:2, 0:4, 0:4, 0:4]
