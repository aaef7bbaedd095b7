"""Contiguous files: every order and version of .npy, truncated files, identity, and writes of any length."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neuromancer.errors import ArgumentError, FileError, IncompleteWarning
from neuromancer.volumes import create_sink, open_source
from neuromancer.volumes.flat import (
    CutOff,
    MappedSink,
    file_of,
    mapping_of,
    read_mapped,
    require_mapped,
    stamp,
    token_of,
)

VALUES = np.arange(1, 5 * 6 * 7 + 1, dtype="uint16").reshape(5, 6, 7)
ORDERS = {"C": VALUES, "Fortran": np.asfortranarray(VALUES), "big-endian": VALUES.astype(">u2")}


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("order", ORDERS)
def test_every_order_and_version_is_read(tmp_path, order, version):
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array(file, ORDERS[order], version)
    source = open_source(tmp_path / "a.npy")
    np.testing.assert_array_equal(source[0:1, 1:3, 2:6, 0:7], VALUES[None, 1:3, 2:6])
    assert source.dtype == source[:].dtype == ORDERS[order].dtype


@pytest.mark.parametrize("order", ORDERS)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_planes_beyond_the_end_are_missing(order, tmp_path_factory, data):
    path = tmp_path_factory.mktemp("cut") / "a.npy"
    np.save(path, ORDERS[order])
    lost = data.draw(st.integers(1, VALUES.nbytes))
    os.truncate(path, path.stat().st_size - lost)
    with pytest.raises(FileError, match=r"a\.npy"):
        open_source(path)
    expected = (VALUES.T if order == "Fortran" else VALUES).copy()
    expected[(VALUES.nbytes - lost) // expected[0].nbytes :] = 0
    expected = expected.T if order == "Fortran" else expected
    with pytest.warns(IncompleteWarning):
        source = open_source(path, on_missing="fill")
        np.testing.assert_array_equal(source[:][0], expected)
        np.testing.assert_array_equal(source[0:1, 1:4, 2:3, 3:7][0], expected[1:4, 2:3, 3:7])


def test_files_that_hold_no_volume(tmp_path):
    np.save(tmp_path / "objects.npy", np.array([[{}, None]]), allow_pickle=True)
    np.save(tmp_path / "extra.npy", VALUES)
    with (tmp_path / "extra.npy").open("ab") as file:
        file.write(b"123")
    (tmp_path / "text.npy").write_text("text")
    np.save(tmp_path / "empty.npy", VALUES[:0])
    for name in ("objects", "extra", "text", "empty"):
        with pytest.raises((FileError, ValueError), match=name):
            open_source(tmp_path / f"{name}.npy", spatial="zyx" if name != "objects" else "yx")
    with pytest.raises(ArgumentError, match="raw"):
        open_source(f"{tmp_path}/extra.npy:raw")


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 4), st.data())
def test_a_truncated_array_is_padded_in_both_orders(whole, data):
    there, turned = VALUES[:whole], data.draw(st.booleans())
    padded = np.concatenate([there, np.zeros_like(VALUES[whole:])])
    array, padded = CutOff(there, VALUES.shape), padded.T if turned else padded
    array = array.transpose() if turned else array
    key = tuple(slice(a := data.draw(st.integers(0, n)), data.draw(st.integers(a, n))) for n in padded.shape)
    np.testing.assert_array_equal(array[key], padded[key])
    assert array.shape == padded.shape and array.ndim == 3 and array.dtype == "uint16"
    assert array.transpose().transpose().shape == array.shape
    with pytest.raises(TypeError):
        array[0]


@pytest.mark.parametrize("most", [1, 3, 10**6])
@pytest.mark.parametrize("axes", ["czyx", "xyzc", "zcyx"])
def test_short_writes_of_the_system_are_continued(tmp_path, monkeypatch, most, axes):
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda handle, data, at: write(handle, data[:most], at))
    sink = create_sink(tmp_path / "a.npy", (2, 3, 4, 5), "float32", axes=axes)
    expected = np.zeros((2, 3, 4, 5), "float32")
    for where in (np.s_[0:2, 1:3, 0:4, 0:5], np.s_[1:2, 0:1, 2:4, 1:2], np.s_[0:1, 0:3, 0:4, 4:5]):
        values = np.arange(expected[where].size, dtype="float32").reshape(expected[where].shape)
        sink[where] = expected[where] = values
    sink.close()
    stored = np.load(tmp_path / "a.npy")
    np.testing.assert_array_equal(stored.transpose([axes.index(a) for a in "czyx"]), expected)


def test_a_closed_sink_is_not_written_to(tmp_path):
    sink = create_sink(tmp_path / "a.npy", (1, 2, 3), "uint8", spatial="yx")
    sink.close()
    sink.close()
    with pytest.raises(FileError, match=r"a\.npy"):
        sink[:] = np.ones((1, 2, 3), "uint8")
    with pytest.raises(FileError, match=r"a\.npy"):
        sink.flush()
    assert not np.load(tmp_path / "a.npy").any()


def test_a_file_of_another_program_gets_a_token_and_stays_what_it_is(tmp_path):
    path, other = tmp_path / "a.npy", tmp_path / "b.npy"
    for name in (path, other):
        np.save(name, VALUES)
        assert token_of(name) == ""
        stamp(name)
        assert len(token_of(name)) == 32
        np.testing.assert_array_equal(np.load(name), VALUES)
    assert token_of(path) != token_of(other)
    create_sink(tmp_path / "own.npy", (1, 5, 6), "uint8", spatial="yx").close()
    assert len(token_of(tmp_path / "own.npy")) == 32
    for content in (b"text", b"", b"\x93NUMPY\x01", b"\x93NUMPY\x02" + b" " * 200):
        path.write_bytes(content)
        stamp(path)
        assert token_of(path) == "" and path.read_bytes() == content


def test_a_mapped_output_is_identified_once_it_is_claimed(tmp_path):
    np.save(tmp_path / "a.npy", VALUES)
    array = np.load(tmp_path / "a.npy", mmap_mode="r+")
    sink = create_sink(array[1:], (1, 4, 6, 7), "uint16")
    assert isinstance(sink, MappedSink) and sink.file == tmp_path / "a.npy"
    before = sink.fingerprint()
    sink.claim()
    assert sink.fingerprint() != before and token_of(sink.file) in sink.identity
    claimed = sink.fingerprint()
    sink.claim()
    assert sink.fingerprint() == claimed == create_sink(array[1:], (1, 4, 6, 7), "uint16").fingerprint()
    sink[:] = np.zeros((1, 4, 6, 7), "uint16")
    sink.flush()
    expected = VALUES.copy()
    expected[1:] = 0
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), expected)


def test_mapped_arrays_are_recognised_through_views(tmp_path):
    np.save(tmp_path / "a.npy", VALUES)
    array = np.load(tmp_path / "a.npy", mmap_mode="r")
    for view in (array, array[1:, ::2], array.T, np.asarray(array), array.view("int16")[2:]):
        assert file_of(view) == tmp_path / "a.npy" and require_mapped(view)
        assert mapping_of(view)[1] <= mapping_of(view)[0].size()
    for other in (VALUES, np.array(array), array + 1, [1], None):
        assert file_of(other) is None and not require_mapped(other)
    block = read_mapped(array, np.s_[1:2])
    assert type(block) is np.ndarray and file_of(block) is None and block.flags.writeable
    os.truncate(tmp_path / "a.npy", 200)
    for view in (array, array[:1]):
        with pytest.raises(OSError, match="200"):
            read_mapped(view, np.s_[:])
