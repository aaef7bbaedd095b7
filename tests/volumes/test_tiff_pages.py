"""Everything that a TIFF file declares must exist; tifffile reads only what it finds."""

from __future__ import annotations

import importlib
import json
import os

import numpy as np
import pytest

from neuromancer.errors import FileError, IncompleteWarning, MissingDependencyError
from neuromancer.volumes import open_sink, open_source
from tests.volumes.factories import numbered, tifffile, zarr

WHOLE = numbered((7, 19, 13), "uint8") | np.uint8(1)
OME = (
    '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
    '<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="13" SizeY="19" SizeZ="{z}" SizeC="1" SizeT="1">'
    '<Channel ID="Channel:0:0"/>{data}</Pixels></Image></OME>'
)


def pages(path, description=None, **options):
    """Write single pages, with a custom description in the first."""
    with tifffile.TiffWriter(path) as file:
        for k, page in enumerate(WHOLE):
            text = description if k == 0 else None
            file.write(page, contiguous=False, metadata=None, description=text, **options)
    return path


def cut(path, n):
    path.write_bytes(path.read_bytes()[:n])
    return path


def offsets(path):
    with tifffile.TiffFile(path) as file:
        return [page.offset for page in file.pages]


def refused(path, says, axes="zyx"):
    with pytest.raises(FileError, match=rf"(?s){path.name}.*{says}"):
        open_source(path, axes=axes)


def filled(path, says, axes="zyx"):
    with pytest.warns(IncompleteWarning, match=says):
        return open_source(path, axes=axes, on_missing="fill")[:][0]


WRITERS = {
    "plain": lambda p: pages(p),
    "packed": lambda p: pages(p, compression="zlib", rowsperstrip=8),
    "in one piece": lambda p: tifffile.imwrite(p, WHOLE, photometric="minisblack"),
    "packed, with shape": lambda p: tifffile.imwrite(p, WHOLE, photometric="minisblack", compression="zlib"),
    "BigTIFF": lambda p: tifffile.imwrite(p, WHOLE, photometric="minisblack", bigtiff=True, byteorder=">"),
    "BigTIFF, packed": lambda p: tifffile.imwrite(p, WHOLE, photometric="minisblack", bigtiff=True, compression="zlib"),
    "ImageJ": lambda p: tifffile.imwrite(p, WHOLE, imagej=True, metadata={"axes": "ZYX"}),
    "ImageJ, packed": lambda p: tifffile.imwrite(p, WHOLE, imagej=True, metadata={"axes": "ZYX"}, compression="zlib"),
    "OME": lambda p: tifffile.imwrite(p, WHOLE, ome=True, metadata={"axes": "ZYX"}),
    "OME, packed": lambda p: tifffile.imwrite(p, WHOLE, ome=True, metadata={"axes": "ZYX"}, compression="zlib"),
    "solid tiles": lambda p: tifffile.imwrite(p, WHOLE, tile=(16, 16, 16), volumetric=True, compression="zlib"),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_files_cut_off_anywhere(tmp_path, writer):
    """A truncated copy is complete or an error; with fill, every existing plane is read."""
    path = tmp_path / ("a.ome.tif" if "OME" in writer else "a.tif")
    WRITERS[writer](path)
    np.testing.assert_array_equal(open_source(path, axes="zyx")[:], WHOLE[None])
    whole = path.read_bytes()
    for n in range(0, len(whole) - 1, len(whole) // 23):
        path.write_bytes(whole[:n])
        try:
            found = open_source(path, axes="zyx")[:]
        except FileError as error:
            assert path.name in str(error)
        else:  # cut off after the last voxel
            np.testing.assert_array_equal(found, WHOLE[None])
            assert n > 0.95 * len(whole)


def test_a_chain_of_pages_that_breaks_off(tmp_path):
    path = pages(tmp_path / "a.tif")
    places = offsets(path)
    refused(cut(path, places[5]), "the chain of pages breaks off after 5")
    np.testing.assert_array_equal(filled(path, "breaks off after 5"), WHOLE[:5])


def test_a_chain_of_pages_that_runs_in_a_circle(tmp_path):
    path = pages(tmp_path / "a.tif")
    places, content = offsets(path), bytearray(path.read_bytes())
    at = content.index(places[4].to_bytes(4, "little"))  # offset of page 4 in page 3
    content[at : at + 4] = places[1].to_bytes(4, "little")
    path.write_bytes(content)
    refused(path, "the chain of pages breaks off after 4")


@pytest.mark.parametrize("writer", ["in one piece", "packed, with shape", "BigTIFF", "ImageJ", "ImageJ, packed"])
def test_planes_that_are_lost_have_their_place(tmp_path, writer):
    path = tmp_path / "a.tif"
    WRITERS[writer](path)
    with tifffile.TiffFile(path) as file:
        first, fifth = (file.pages[k].dataoffsets[0] for k in (0, 5))
    cut(path, fifth + 20 if "packed" in writer else first + 5 * WHOLE[0].size - 40)
    found = filled(path, "voxels|image|page")
    assert found.shape == WHOLE.shape
    there = [k for k in range(7) if (found[k] == WHOLE[k]).all()]
    assert there == ([0, 1, 2, 3, 4] if "packed" in writer else [0, 1, 2, 3])
    assert not found[5:].any()


def test_strips_beyond_the_end(tmp_path):
    path = pages(tmp_path / "a.tif", compression="zlib", rowsperstrip=8)
    refused(cut(path, path.stat().st_size - 5), "page 6: 1 of its 3 strips or tiles lie beyond the end")
    expected = WHOLE.copy()
    expected[6, 16:] = 0
    np.testing.assert_array_equal(filled(path, "page 6"), expected)


def test_voxels_that_cannot_be_unpacked(tmp_path):
    path = pages(tmp_path / "a.tif", compression="zlib", rowsperstrip=8)
    with tifffile.TiffFile(path) as file:
        place, n = file.pages[5].dataoffsets[1], file.pages[5].databytecounts[1]
    content = bytearray(path.read_bytes())
    content[place + 3 : place + n] = b"x" * (n - 3)
    path.write_bytes(content)
    with pytest.raises(FileError, match=r"a\.tif.*cannot be read.*page 5, \[5:6, 8:16, 0:13\]"):
        open_source(path)[:]
    expected = WHOLE.copy()
    expected[5, 8:16] = 0
    np.testing.assert_array_equal(filled(path, r"page 5, \[5:6, 8:16"), expected)


@pytest.mark.parametrize("packed", [{}, {"compression": "zlib"}])
@pytest.mark.parametrize("images", [9, 5])
@pytest.mark.parametrize("kind", ["ImageJ", "shape", "OME"])
def test_metadata_of_another_number_of_pages(tmp_path, packed, images, kind):
    path = tmp_path / ("a.ome.tif" if kind == "OME" else "a.tif")
    text = {
        "ImageJ": f"ImageJ=1.54f\nimages={images}\nslices={images}\n",
        "shape": json.dumps({"shape": [images, 19, 13]}),
        "OME": OME.format(z=images, data="<TiffData/>"),
    }[kind]
    refused(pages(path, text, **packed), "image 7: in the metadata" if images > 7 else "5 images.*holds 7")
    found = filled(path, "image 7" if images > 7 else "holds 7")
    np.testing.assert_array_equal(found[: min(images, 7)], WHOLE[: min(images, 7)])
    assert not found[7:].any()
    right = {"ImageJ": text.replace(str(images), "7"), "shape": text.replace(str(images), "7", 1)}
    pages(path, right.get(kind, OME.format(z=7, data="<TiffData/>")), **packed)
    np.testing.assert_array_equal(open_source(path, axes="zyx")[:], WHOLE[None])


def test_an_ome_image_in_several_files(tmp_path):
    name = '<TiffData FirstZ="{k}" IFD="0"><UUID FileName="{k}.ome.tif">urn:uuid:{k}</UUID></TiffData>'
    text = OME.format(z=7, data="".join(name.format(k=k) for k in range(7)))
    for k, page in enumerate(WHOLE):
        tifffile.imwrite(tmp_path / f"{k}.ome.tif", page, metadata=None, description=text)
    path = tmp_path / "0.ome.tif"
    np.testing.assert_array_equal(open_source(path, axes="zyx")[:], WHOLE[None])
    other = tmp_path / "5.ome.tif"
    whole = other.read_bytes()
    cut(other, len(whole) - 40)
    refused(path, "page 0 of 5.ome.tif: 1 of its 1 strips")
    other.unlink()
    refused(path, "file 5.ome.tif: no such file; image 5: in a file that is missing")
    expected = WHOLE.copy()
    expected[5] = 0
    np.testing.assert_array_equal(filled(path, "image 5"), expected)


def test_an_ome_image_without_one_of_its_planes(tmp_path):
    data = "".join(f'<TiffData IFD="{k}" FirstZ="{k}" PlaneCount="1"/>' for k in range(7) if k != 4)
    path = pages(tmp_path / "a.ome.tif", OME.format(z=7, data=data))
    refused(path, "image 4: in the metadata, not in the file")
    assert not filled(path, "image 4")[4].any()


def test_a_page_of_another_shape(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for k, page in enumerate(WHOLE):
            file.write(page[: 10 if k == 4 else None], contiguous=False, metadata=None)
    refused(tmp_path / "a.tif", r"page 4 of \(10, 13\), others of \(19, 13\)")
    # a series chosen by the user is not questioned
    np.testing.assert_array_equal(open_source(f"{tmp_path}/a.tif:0")[:], WHOLE[None, [0, 1, 2, 3, 5, 6]])


ZLIB = {"compression": "zlib"}
ODD = {
    "uint16": (lambda page: page.astype("uint16"), {}, {}, "bits 16, others 8"),
    "int8": (lambda page: page.view("int8"), {}, {}, "sample format 2, others 1"),
    "RGB": (lambda page: np.stack([page] * 3, -1), {"photometric": "rgb"}, {}, "photometric 2|3\\)"),
    "packed": (lambda page: page, ZLIB, {}, "compression 8, others 1"),
    "packed uint16": (lambda page: page.astype("uint16"), ZLIB, ZLIB, "bits 16, others 8"),
    "differences": (lambda page: page, ZLIB | {"predictor": True}, ZLIB, "predictor 2, others 1"),
}


@pytest.mark.parametrize("odd", [1, 4, 5])
@pytest.mark.parametrize("kind", ODD)
def test_a_page_that_is_stored_in_another_way(tmp_path, kind, odd):
    change, its, others, says = ODD[kind]
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for k, page in enumerate(WHOLE):
            options = its if k == odd else others
            file.write(change(page) if k == odd else page, contiguous=False, metadata=None, **options)
    for on_missing in ("error", "fill"):
        with pytest.raises(FileError, match=rf"a\.tif.*page {odd}.*({says})"):
            open_source(tmp_path / "a.tif", on_missing=on_missing)


@pytest.mark.parametrize("writer", ["packed", "ImageJ, packed", "OME, packed", "BigTIFF, packed"])
def test_zeros_in_the_place_of_the_end(tmp_path, writer):
    """As left by an interrupted copy into preallocated space."""
    path = tmp_path / ("a.ome.tif" if "OME" in writer else "a.tif")
    WRITERS[writer](path)
    whole = path.read_bytes()
    with tifffile.TiffFile(path) as file:
        pages = [file.pages[k].offset for k in (1, 5)]
    for n in (*pages, *(page + 2 for page in pages), *range(pages[1] - 50, len(whole) - 1, len(whole) // 29)):
        path.write_bytes(whole[:n] + bytes(len(whole) - n))
        try:
            found = open_source(path, axes="zyx")[:]
        except FileError as error:
            assert path.name in str(error)
        else:  # only what some programs append after the voxels
            np.testing.assert_array_equal(found, WHOLE[None])


@pytest.mark.parametrize(
    "text",
    [
        OME.format(z=10**9, data="<TiffData/>"),
        OME.format(z=7, data='<TiffData IFD="0" PlaneCount="1000000000"/>'),
        f"ImageJ=1.54f\nimages={10**9}\nslices={10**9}\n",
        json.dumps({"shape": [10**9, 19, 13]}),
    ],
)
def test_more_images_than_there_can_be(tmp_path, text):
    for on_missing in ("error", "fill"):
        with pytest.raises(FileError, match=r"describes more images than possible; got 1000000000 images.*holds 7"):
            open_source(pages(tmp_path / "a.tif", text), on_missing=on_missing)


def test_a_file_of_an_ome_image_that_is_another_one(tmp_path):
    name = '<TiffData FirstZ="{k}" IFD="0"><UUID FileName="{k}.ome.tif">urn:uuid:{k}</UUID></TiffData>'
    text = OME.format(z=7, data="".join(name.format(k=k) for k in range(7)))
    for k, page in enumerate(WHOLE):
        own = text.replace("<OME ", f'<OME UUID="urn:uuid:{k}" ')
        tifffile.imwrite(tmp_path / f"{k}.ome.tif", page, metadata=None, description=own)
    path, other = tmp_path / "0.ome.tif", tmp_path / "5.ome.tif"
    np.testing.assert_array_equal(open_source(path, axes="zyx")[:], WHOLE[None])
    tifffile.imwrite(other, WHOLE[0], ome=True)
    refused(path, r"5\.ome\.tif of urn:uuid:.*expected urn:uuid:5")
    other.unlink()
    os.mkfifo(other)
    refused(path, r"5\.ome\.tif is a named pipe")


def test_tiles_that_were_left_out_are_fill_value(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, WHOLE[0], tile=(16, 16), metadata=None, compression="zlib", extratags=[(42113, 2, 2, "9", True)]
    )
    with tifffile.TiffFile(path) as file:
        places = [file.pages[0].tags[code].valueoffset for code in (324, 325)]
        sizes = [{3: 2, 4: 4}[int(file.pages[0].tags[code].dtype)] for code in (324, 325)]
    content = bytearray(path.read_bytes())
    for place, n in zip(places, sizes, strict=True):
        content[place : place + n] = bytes(n)
    path.write_bytes(content)
    found = open_source(path, axes="yx", spatial="yx")[:][0]
    assert (found[:16] == 9).all() and (found[16:] == WHOLE[0, 16:]).all()


def test_codecs_that_are_not_installed(tmp_path, monkeypatch):
    # Without imagecodecs, tifffile has a few codecs of its own; it remembers those that were used before.
    monkeypatch.setattr(tifffile.tifffile, "imagecodecs", importlib.import_module("tifffile._imagecodecs"))
    monkeypatch.setattr(tifffile.TIFF.DECOMPRESSORS, "_codecs", {})
    path = pages(tmp_path / "a.tif", compression="zlib")
    with tifffile.TiffFile(path) as file:
        places = [page.tags[259].valueoffset for page in file.pages]
    content = bytearray(path.read_bytes())
    for place in places:
        content[place : place + 2] = (34933).to_bytes(2, "little")  # PNG
    path.write_bytes(content)
    with pytest.raises(MissingDependencyError, match=r"a\.tif.*imagecodecs"):
        open_source(path)


def test_open_files_and_series_of_tifffile(tmp_path):
    path = pages(tmp_path / "a.tif", compression="zlib")
    with tifffile.TiffFile(path) as file:
        view = zarr.open_array(file.series[0].aszarr(), mode="r")
        for given in (file, file.series[0], view):
            np.testing.assert_array_equal(open_source(given, axes="zyx")[:], WHOLE[None])
    cut(path, path.stat().st_size - 5)
    with tifffile.TiffFile(path) as file:
        view = zarr.open_array(file.series[0].aszarr(), mode="r")
        for given in (file, file.series[0], view):
            with pytest.raises(FileError, match="page 6: 1 of its 1 strips"):
                open_source(given, axes="zyx")


def test_nothing_is_written_into_a_damaged_file(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, WHOLE, photometric="minisblack", ome=True, metadata={"axes": "ZYX"})
    locator = open_source(path).locator
    cut(path, path.stat().st_size - 20)
    with pytest.raises(FileError, match=r"a\.tif.*missing or damaged"):
        open_sink(locator)
