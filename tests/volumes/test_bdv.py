"""Volumes of BigDataViewer, in HDF5 and N5."""

from __future__ import annotations

import json
import os
import shutil

import h5py
import numpy as np
import pytest

from neuromancer.errors import FileError, UnknownNameError
from neuromancer.volumes import open_source
from tests.volumes.factories import numbered

import tensorstore  # isort: skip

WHOLE = numbered((6, 8, 10)) + np.uint16(40_000)
FACTORS = [[1, 1, 1], [2, 2, 1]]
XML = """<?xml version="1.0" encoding="UTF-8"?>
<SpimData version="0.2">
  <BasePath type="relative">.</BasePath>
  <SequenceDescription>
    <ImageLoader format="{form}" version="1.0"><{tag} type="relative">{store}</{tag}></ImageLoader>
    <ViewSetups>
      <ViewSetup><id>0</id><size>10 8 6</size>
        <voxelSize><unit>µm</unit><size>0.2 0.25 1.0</size></voxelSize></ViewSetup>{more}
    </ViewSetups>
    <Timepoints type="{times}">{points}</Timepoints>
    <MissingViews><MissingView timepoint="2" setup="0"/></MissingViews>
  </SequenceDescription>
  <ViewRegistrations>
    <ViewRegistration timepoint="0" setup="0">
      <ViewTransform type="affine"><affine>1 0 0 3 0 1 0 -2 0 0 1 5</affine></ViewTransform>
      <ViewTransform type="affine"><affine>0.2 0 0 0 0 0.25 0 0 0 0 1.0 0</affine></ViewTransform>
    </ViewRegistration>
  </ViewRegistrations>
</SpimData>"""


def described(folder, form, **changes):
    text = {"form": f"bdv.{form}", "tag": form, "store": "a.h5" if form == "hdf5" else "a.n5", "more": ""}
    text |= {"times": "range", "points": "<first>0</first><last>0</last>"} | changes
    (folder / "a.xml").write_text(XML.format(**text), encoding="utf-8")
    return folder / "a.xml"


def hdf5(folder, times=(0,), setups=(0,)):
    with h5py.File(folder / "a.h5", "w") as file:
        for setup in setups:
            file[f"s{setup:02d}/resolutions"] = np.array(FACTORS, float)
            file[f"s{setup:02d}/subdivisions"] = np.full((2, 3), 4)
            for time in times:
                for k, (x, y, z) in enumerate(FACTORS):
                    values = (WHOLE + time + 10 * setup)[::z, ::y, ::x].view("int16")
                    file.create_dataset(f"t{time:05d}/s{setup:02d}/{k}/cells", data=values, chunks=(4, 4, 4))


def n5(folder, listed=False):
    for k, (x, y, z) in enumerate(FACTORS):
        values = WHOLE[::z, ::y, ::x].T
        spec = {
            "driver": "n5",
            "kvstore": {"driver": "file", "path": f"{folder}/a.n5/setup0/timepoint0/s{k}"},
            "metadata": {
                "dimensions": values.shape,
                "blockSize": [4, 4, 4],
                "dataType": "uint16",
                **({} if listed else {"downsamplingFactors": [x, y, z]}),
            },
        }
        tensorstore.open(spec, create=True).result()[...] = values
    if listed:
        (folder / "a.n5/setup0/attributes.json").write_text(json.dumps({"downsamplingFactors": FACTORS}))


MAKERS = {"hdf5": hdf5, "n5": n5}


def test_factors_may_be_listed_by_the_setup(tmp_path):
    n5(tmp_path, listed=True)
    path = described(tmp_path, "n5")
    coarse = open_source(f"{path}:setup0/timepoint0/s1")
    assert coarse.voxel_size == (1, 0.5, 0.4) and coarse.offset == pytest.approx((5, -1.875, 3.1))
    assert open_source(path).voxel_size == (1, 0.25, 0.2)


@pytest.mark.parametrize("form", MAKERS)
def test_the_finest_level_and_others(tmp_path, form):
    MAKERS[form](tmp_path)
    path = described(tmp_path, form)
    source = open_source(path)
    assert source.shape == (1, *WHOLE.shape) and source.dtype == "uint16" and source.chunks == (1, 4, 4, 4)
    assert source.voxel_size == (1, 0.25, 0.2) and source.unit == "micrometer" and source.offset == (5, -2, 3)
    np.testing.assert_array_equal(source[:][0], WHOLE)
    assert open_source(source.locator).fingerprint() == source.fingerprint()
    coarse = open_source(f"{path}:setup0/timepoint0/s1")
    assert coarse.voxel_size == (1, 0.5, 0.4) and coarse.offset == pytest.approx((5, -1.875, 3.1))
    np.testing.assert_array_equal(coarse[:][0], WHOLE[:, ::2, ::2])


def test_views_are_named(tmp_path):
    hdf5(tmp_path, (0, 1), (0, 1))
    setup = "<ViewSetup><id>1</id><voxelSize><unit>um</unit><size>1 1 1</size></voxelSize></ViewSetup>"
    path = described(tmp_path, "hdf5", more=setup, times="pattern", points="<integerpattern>0-2</integerpattern>")
    np.testing.assert_array_equal(open_source(f"{path}:setup1/timepoint1")[:][0], WHOLE + 11)
    with pytest.raises(UnknownNameError, match=r"say which.*setup0/timepoint0.*setup0/timepoint1.*setup1/timepoint0"):
        open_source(path)
    with pytest.raises(UnknownNameError, match="no such array"):  # listed as missing
        open_source(f"{path}:setup0/timepoint2")
    with pytest.raises((FileError, UnknownNameError), match=r"t00002|cells"):  # listed, but not there
        open_source(f"{path}:setup1/timepoint2")


def test_turned_images_have_no_position(tmp_path):
    hdf5(tmp_path)
    path = described(tmp_path, "hdf5")
    path.write_text(path.read_text().replace("1 0 0 3 0 1 0 -2", "0 1 0 3 1 0 0 -2"))
    source = open_source(path)
    assert source.offset == (0, 0, 0) and source.voxel_size == (1, 0.25, 0.2)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("<SpimData", '<!DOCTYPE a [<!ENTITY b "c">]><SpimData'), "declares entities"),
        (("</SpimData>", ""), "no valid XML"),
        (("bdv.hdf5", "spimreconstruction.filelist"), "the format of its voxels"),
        (("a.h5", "gone.h5"), "gone.h5 is missing"),
        (("<id>0</id>", "<id>first</id>"), "its views cannot be understood"),
        (('"range"', '"list"'), "its views cannot be understood"),
        (("1 0 0 3 0", "1 0 0 3"), "its views cannot be understood"),
    ],
)
def test_descriptions_that_cannot_be_read(tmp_path, change, says):
    hdf5(tmp_path)
    path = described(tmp_path, "hdf5")
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(FileError, match=rf"a\.xml.*{says}"):
        open_source(path)


def test_other_xml_and_parts_that_are_gone(tmp_path):
    (tmp_path / "b.xml").write_text("<html></html>")
    with pytest.raises(FileError, match=r"b\.xml.*describes no volume"):
        open_source(tmp_path / "b.xml")
    hdf5(tmp_path)
    path = described(tmp_path, "hdf5")
    os.truncate(tmp_path / "a.h5", 3000)
    with pytest.raises(FileError, match=r"a\.xml"):
        open_source(path)
    (tmp_path / "a.h5").unlink()
    os.mkfifo(tmp_path / "a.h5")
    with pytest.raises(FileError, match="a named pipe"):
        open_source(path)
    n5(tmp_path)
    path = described(tmp_path, "n5")
    shutil.rmtree(tmp_path / "a.n5/setup0/timepoint0/s0")
    with pytest.raises((FileError, UnknownNameError), match="s0"):
        open_source(path)
