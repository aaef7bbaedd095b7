"""External data of an HDF5 dataset must exist: the library would silently read fill value instead."""

from __future__ import annotations

import os

import h5py
import numpy as np
import pytest
from h5py import h5d, h5p, h5s, h5t

from neuromancer.errors import FileError, IncompleteWarning, MissingDependencyError, UnknownNameError
from neuromancer.volumes import open_source
from tests.volumes.factories import dask, numbered

WHOLE = numbered((6, 4, 5), "uint8") + np.uint8(1)


def virtual(folder, fill=9, sources="s{}.h5"):
    layout = h5py.VirtualLayout(WHOLE.shape, "uint8")
    for k, plane in enumerate(WHOLE):
        name = sources.format(k)
        with h5py.File(folder / name, "w") as file:
            file["d"] = plane
        layout[k] = h5py.VirtualSource(name, "d", shape=plane.shape)
    with h5py.File(folder / "all.h5", "w") as file:
        file.create_virtual_dataset("raw", layout, fillvalue=fill)
    return folder / "all.h5"


def numbered_sources(folder, pattern="p-%b.h5", dataset="d"):
    """Create a virtual dataset with numbered sources."""
    for k, plane in enumerate(WHOLE):
        with h5py.File(folder / pattern.replace("%b", str(k)), "a") as file:
            file[dataset.replace("%b", str(k))] = plane[None]
    with h5py.File(folder / "all.h5", "w") as file:
        properties, unlimited = h5p.create(h5p.DATASET_CREATE), h5s.UNLIMITED
        space = h5s.create_simple((0, 4, 5), (unlimited, 4, 5))
        space.select_hyperslab((0, 0, 0), (unlimited, 1, 1), (1, 1, 1), (1, 4, 5))
        source = h5s.create_simple((1, 4, 5))
        source.select_all()
        properties.set_virtual(space, pattern.encode(), dataset.encode(), source)
        whole = h5s.create_simple((0, 4, 5), (unlimited, 4, 5))
        h5d.create(file.id, b"raw", h5t.NATIVE_UINT8, whole, properties)
    return folder / "all.h5"


def without(*planes, fill=0):
    array = WHOLE.copy()
    array[list(planes)] = fill
    return array[None]


def _gone(path):
    path.unlink()


def _no_hdf5(path):
    path.write_bytes(b"no HDF5")


def _truncated(path):
    path.write_bytes(path.read_bytes()[:-100])


def _no_dataset(path):
    with h5py.File(path, "w") as file:
        file["other"] = 1


def _too_small(path):
    with h5py.File(path, "w") as file:
        file["d"] = WHOLE[0, :2]


@pytest.mark.parametrize("harm", [_gone, _no_hdf5, _truncated, _no_dataset, _too_small])
def test_a_source_of_a_virtual_data_set(tmp_path, harm):
    path = virtual(tmp_path)
    np.testing.assert_array_equal(open_source(path)[:], WHOLE[None])
    harm(tmp_path / "s3.h5")
    for given in (path, f"{path}:/raw"):
        with pytest.raises(FileError, match=r"all\.h5.*missing or damaged.*s3\.h5.*on_missing='fill'"):
            open_source(given)
    source = open_source(path, on_missing="fill")
    np.testing.assert_array_equal(source[0:1, 0:3], WHOLE[None, 0:3])  # other sources are not read
    with pytest.warns(IncompleteWarning, match=r"s3\.h5"):
        np.testing.assert_array_equal(source[:], without(3, fill=9))


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_open_data_sets_and_dask_arrays_of_them(tmp_path, mode):
    path = virtual(tmp_path)
    _gone(tmp_path / "s3.h5")
    with h5py.File(path, mode) as file:
        for given in (file["raw"], dask.array.from_array(file["raw"], chunks=3) + 1):
            with pytest.raises(FileError, match=r"s3\.h5: no such file"):
                open_source(given)
        with pytest.warns(IncompleteWarning, match=r"s3\.h5: no such file"):
            assert open_source(file["raw"], on_missing="fill")[0:1, 3:4].max() == 9


def test_sources_in_other_folders(tmp_path, monkeypatch):
    (tmp_path / "sub").mkdir()
    path = virtual(tmp_path, sources="sub/s{}.h5")
    monkeypatch.chdir(tmp_path / "sub")
    np.testing.assert_array_equal(open_source(path)[:], WHOLE[None])
    absolute = tmp_path / "absolute"
    absolute.mkdir()
    path = virtual(absolute, sources=str(tmp_path / "sub/t{}.h5"))
    np.testing.assert_array_equal(open_source(path)[:], WHOLE[None])
    (tmp_path / "sub/t0.h5").rename(absolute / "t0.h5")  # the library also looks beside the file
    np.testing.assert_array_equal(open_source(path)[:], WHOLE[None])
    monkeypatch.setenv("HDF5_VDS_PREFIX", str(tmp_path / "sub"))
    _gone(absolute / "t0.h5")
    with pytest.raises(FileError, match=r"t0\.h5: no such file"):
        open_source(path)


def test_a_virtual_data_set_of_a_virtual_one(tmp_path):
    virtual(tmp_path)
    layout = h5py.VirtualLayout(WHOLE.shape, "uint8")
    layout[:] = h5py.VirtualSource("all.h5", "raw", shape=WHOLE.shape)
    with h5py.File(tmp_path / "outer.h5", "w") as file:
        file.create_virtual_dataset("raw", layout)
    np.testing.assert_array_equal(open_source(tmp_path / "outer.h5")[:], WHOLE[None])
    _gone(tmp_path / "s2.h5")
    with pytest.raises(FileError, match=r"s2\.h5 \(of source all\.h5:raw\): no such file"):
        open_source(tmp_path / "outer.h5")


def test_a_source_that_goes_while_others_are_read(tmp_path):
    source = open_source(virtual(tmp_path))
    assert source[0:1, 0:2].any()
    _gone(tmp_path / "s4.h5")
    np.testing.assert_array_equal(source[0:1, 0:4], WHOLE[None, 0:4])
    with pytest.raises(FileError, match=r"s4\.h5 has gone"):
        source[0:1, 3:6]


def test_the_fingerprint_follows_the_sources(tmp_path):
    path = virtual(tmp_path)
    first = open_source(path).fingerprint()
    with h5py.File(tmp_path / "s1.h5", "a") as file:
        file["more"] = np.arange(9)
    assert open_source(path).fingerprint() != first


def test_regions_that_no_source_maps_are_fill_value(tmp_path):
    virtual(tmp_path)
    layout = h5py.VirtualLayout((8, 4, 5), "uint8")
    layout[1:7:2, :, 1:3] = h5py.VirtualSource("all.h5", "raw", shape=WHOLE.shape)[:3, :, :2]
    with h5py.File(tmp_path / "part.h5", "w") as file:
        file.create_virtual_dataset("raw", layout, fillvalue=7)
    expected = np.full((8, 4, 5), 7)
    expected[1:7:2, :, 1:3] = WHOLE[:3, :, :2]
    np.testing.assert_array_equal(open_source(tmp_path / "part.h5")[:], expected[None])


@pytest.mark.parametrize(("pattern", "dataset"), [("p-%b.h5", "d"), ("p.h5", "d%b"), ("p.h5", "in/d-%b")])
@pytest.mark.parametrize("lost", [[2], [0], [0, 3]])
def test_numbered_sources(tmp_path, pattern, dataset, lost):
    path = numbered_sources(tmp_path, pattern, dataset)
    np.testing.assert_array_equal(open_source(path)[:], WHOLE[None])
    for k in lost:
        if "%b" in pattern:
            _gone(tmp_path / pattern.replace("%b", str(k)))
        else:
            with h5py.File(tmp_path / pattern, "a") as file:
                del file[dataset.replace("%b", str(k))]
    with pytest.raises(FileError, match="no such file or dataset"):
        open_source(path)
    source = open_source(path, on_missing="fill")
    with pytest.warns(IncompleteWarning, match="no such file or dataset"):
        np.testing.assert_array_equal(source[:], without(*lost))


def test_numbered_sources_end_where_they_end(tmp_path):
    path = numbered_sources(tmp_path)
    _gone(tmp_path / "p-5.h5")
    np.testing.assert_array_equal(open_source(path)[:], WHOLE[None, :5])
    for k in range(5):
        _gone(tmp_path / f"p-{k}.h5")
    with pytest.raises(FileError, match="there is none"):
        open_source(path)


def test_a_source_without_limit(tmp_path):
    with h5py.File(tmp_path / "u.h5", "w") as file:
        source = h5py.VirtualSource(file.create_dataset("d", data=WHOLE, maxshape=(None, 4, 5)))
    layout = h5py.VirtualLayout(WHOLE.shape, "uint8", maxshape=(None, 4, 5))
    layout[: h5s.UNLIMITED] = source[: h5s.UNLIMITED]
    with h5py.File(tmp_path / "all.h5", "w") as file:
        file.create_virtual_dataset("raw", layout)
    np.testing.assert_array_equal(open_source(tmp_path / "all.h5")[:], WHOLE[None])
    _gone(tmp_path / "u.h5")
    with pytest.raises(FileError, match=r"u\.h5: no such file"):
        open_source(tmp_path / "all.h5")


def test_external_raw_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    half = WHOLE.nbytes // 2
    for name, part in (("a.raw", WHOLE[:3]), ("b.raw", WHOLE[3:])):
        part.tofile(name)
    with h5py.File("e.h5", "w") as file:
        file.create_dataset("raw", WHOLE.shape, "uint8", external=[("a.raw", 0, half), ("b.raw", 0, half)])
    np.testing.assert_array_equal(open_source("e.h5")[:], WHOLE[None])
    with (tmp_path / "b.raw").open("r+b") as file:
        file.truncate(25)
    with pytest.raises(FileError, match=r"raw file b\.raw: ends 35 bytes too early"):
        open_source("e.h5")
    with pytest.warns(IncompleteWarning, match=r"b\.raw"):
        filled = open_source("e.h5", on_missing="fill")[:]
    np.testing.assert_array_equal(filled.ravel()[: half + 25], WHOLE.ravel()[: half + 25])
    assert not filled.ravel()[half + 25 :].any()
    _gone(tmp_path / "a.raw")
    with pytest.raises(FileError, match=r"raw file a\.raw: no such file"):
        open_source("e.h5")


def test_a_raw_file_that_is_cut_after_opening(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with h5py.File("e.h5", "w") as file:
        made = file.create_dataset("raw", WHOLE.shape, "uint8", external=[("a.raw", 0, 60), ("b.raw", 0, 60)])
        made[:] = WHOLE
    with h5py.File("v.h5", "w") as file:
        layout = h5py.VirtualLayout(WHOLE.shape, "uint8")
        layout[:] = h5py.VirtualSource("e.h5", "raw", shape=WHOLE.shape)
        file.create_virtual_dataset("raw", layout)
    for name in ("e.h5", "v.h5"):
        source = open_source(name)
        np.testing.assert_array_equal(source[:], WHOLE[None])
        whole = (tmp_path / "b.raw").read_bytes()
        (tmp_path / "b.raw").write_bytes(whole[:40])
        with pytest.raises(FileError, match=r"raw file .*b\.raw has become shorter"):
            source[:]
        (tmp_path / "b.raw").write_bytes(whole)
        np.testing.assert_array_equal(source[:], WHOLE[None])


INTERLEAVED = {"regular": ([0, 2, 4], [1, 3, 5]), "irregular": ([0, 2, 3], [1, 4, 5]), "whole": ([0, 1, 2], [3, 4, 5])}
SMALLER = {
    "planes": lambda planes: planes[:4],
    "columns": lambda planes: planes[:, :, :4],
    "axes": lambda planes: planes[0],
    "more axes": lambda planes: planes[..., None],
}


@pytest.mark.parametrize("harm", SMALLER)
@pytest.mark.parametrize("kind", INTERLEAVED)
def test_a_source_that_was_replaced_by_a_smaller_one(tmp_path, kind, harm):
    """The library would read other voxels or crash: these are not read, while other sources are."""
    layout = h5py.VirtualLayout(WHOLE.shape, "uint8")
    for name, planes in zip("ab", INTERLEAVED[kind], strict=True):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["d"] = WHOLE
        layout[planes] = h5py.VirtualSource(f"{name}.h5", "d", shape=WHOLE.shape)[planes]
    with h5py.File(tmp_path / "all.h5", "w") as file:
        file.create_virtual_dataset("raw", layout, fillvalue=9)
    np.testing.assert_array_equal(open_source(tmp_path / "all.h5")[:], WHOLE[None])
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["d"] = SMALLER[harm](WHOLE)
    with pytest.raises(FileError, match=r"source b\.h5:d: has shape .* where \(6, 4, 5\) is needed"):
        open_source(tmp_path / "all.h5")
    with pytest.warns(IncompleteWarning, match=r"b\.h5"):
        filled = open_source(tmp_path / "all.h5", on_missing="fill")[:]
    np.testing.assert_array_equal(filled, without(*INTERLEAVED[kind][1], fill=9))


def _virtual_source(folder):
    return virtual(folder), folder / "s3.h5"


def _numbered_source(folder):
    return numbered_sources(folder), folder / "p-3.h5"


def _raw_file(folder):
    with h5py.File(folder / "e.h5", "w") as file:
        file.create_dataset("raw", WHOLE.shape, "uint8", external=[(str(folder / "e.raw"), 0, WHOLE.nbytes)])[:] = WHOLE
    return folder / "e.h5", folder / "e.raw"


def _link(folder):
    with h5py.File(folder / "there.h5", "w") as file:
        file["raw"] = WHOLE
    with h5py.File(folder / "link.h5", "w") as file:
        file["em"] = h5py.ExternalLink("there.h5", "/raw")
    return folder / "link.h5", folder / "there.h5"


@pytest.mark.parametrize("make", [_virtual_source, _numbered_source, _raw_file, _link])
def test_pipes_are_not_waited_for(tmp_path, make):
    path, other = make(tmp_path)
    source = open_source(path)
    other.unlink()
    os.mkfifo(other)
    for on_missing in ("error", "fill"):
        with pytest.raises(FileError, match=rf"{other.name} is a named pipe"):
            open_source(path, on_missing=on_missing)
    if make is not _link:
        source.close()
        with pytest.raises(FileError, match=rf"{other.name} is a named pipe"):
            source[:]


def test_links_that_lead_nowhere(tmp_path):
    path = tmp_path / "links.h5"
    with h5py.File(path, "w") as file:
        file["soft"], file["loop"] = h5py.SoftLink("/nowhere"), h5py.SoftLink("/loop")
        file["in/file"] = h5py.ExternalLink("gone.h5", "/raw")
        file["group"] = h5py.ExternalLink("gone.h5", "/")
    for name, target in (
        ("soft", "/nowhere"),
        ("loop", "/loop"),
        ("in/file", "gone.h5:/raw"),
        ("group/raw", "gone.h5:/"),
    ):
        for on_missing in ("error", "fill"):
            with pytest.raises(FileError, match=f"a link leads nowhere.*-> {target}"):
                open_source(f"{path}:{name}", on_missing=on_missing)
    with pytest.raises(UnknownNameError, match="no such array"):
        open_source(f"{path}:none")


def test_the_only_data_set_may_be_a_link(tmp_path):
    with h5py.File(tmp_path / "there.h5", "w") as file:
        file["raw"] = WHOLE
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["em"] = h5py.ExternalLink("there.h5", "/raw")
    np.testing.assert_array_equal(open_source(tmp_path / "link.h5")[:], WHOLE[None])
    _gone(tmp_path / "there.h5")
    with pytest.raises(FileError, match=r"a link leads nowhere.*there\.h5:/raw"):
        open_source(tmp_path / "link.h5")


def test_damaged_chunks(tmp_path):
    for options in ({"fletcher32": True}, {"compression": "gzip"}):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            made = file.create_dataset("raw", data=WHOLE, chunks=(2, 4, 5), fillvalue=3, **options)
            file.flush()
            place = made.id.get_chunk_info(1)
        content = bytearray((tmp_path / "a.h5").read_bytes())
        content[place.byte_offset : place.byte_offset + 8] = b"12345678"
        (tmp_path / "a.h5").write_bytes(content)
        with pytest.raises(FileError, match=r"a\.h5.*chunk \[2:4, 0:4, 0:5\]"):
            open_source(tmp_path / "a.h5")[:]
        with pytest.warns(IncompleteWarning, match=r"chunk \[2:4, 0:4, 0:5\]"):
            filled = open_source(tmp_path / "a.h5", on_missing="fill")[:]
        np.testing.assert_array_equal(filled, without(2, 3, fill=3))


def test_chunks_that_were_never_written_are_fill_value(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        made = file.create_dataset("raw", WHOLE.shape, "uint8", chunks=(2, 4, 5), fillvalue=3)
        made[:2] = WHOLE[:2]
        file.create_dataset("empty", WHOLE.shape, "uint8", chunks=(2, 4, 5))
    source = open_source(f"{tmp_path}/a.h5:raw")
    np.testing.assert_array_equal(source[:], without(2, 3, 4, 5, fill=3))
    assert not source.blank and open_source(f"{tmp_path}/a.h5:empty").blank


def test_filters_that_are_not_installed(tmp_path, monkeypatch):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("raw", data=WHOLE, chunks=(2, 4, 5), compression="lzf")
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda code: False)
    with pytest.raises(MissingDependencyError, match=r"a\.h5.*'lzf'.*hdf5plugin"):
        open_source(tmp_path / "a.h5")


def test_truncated_files(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["raw"] = WHOLE
    _truncated(tmp_path / "a.h5")
    for on_missing in ("error", "fill"):
        with pytest.raises(FileError, match=r"a\.h5.*truncated file"):
            open_source(tmp_path / "a.h5", on_missing=on_missing)
