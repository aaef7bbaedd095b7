"""Paths: invalid ones, those that are not files, and those that are never replaced."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

import neuromancer as nm
from neuromancer.errors import FileError, InputTypeError, NeuromancerError
from neuromancer.places import absolute, content_at, is_address, kind_at, local_file, local_target, path_text
from neuromancer.volumes import create_sink, open_source

posix = pytest.mark.skipif(os.name != "posix", reason="named pipes and sockets are files here")


def test_paths(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert path_text("~/raw.npy", "raw") == f"{tmp_path}/raw.npy"
    assert path_text(Path("raw.npy"), "raw") == "raw.npy"
    for path in ("", "a\0b"):
        with pytest.raises(FileError, match=r"'raw': .* path"):
            path_text(path, "raw")
    for path in (None, 3, ["a"]):
        with pytest.raises(InputTypeError, match="'raw': is not a path"):
            path_text(path, "raw")
    with pytest.raises(FileError, match=r"not in the local file system; got s3://\*\*\*@bucket/model.h5"):
        local_file("s3://user:password@bucket/model.h5", "model")


@pytest.fixture
def special(tmp_path, monkeypatch):
    """Function that creates a pipe, socket, folder or circular link of a given name in a temporary folder."""
    monkeypatch.chdir(tmp_path)  # the length of socket paths is limited
    listening = socket.socket(socket.AF_UNIX)

    def make(kind, name):
        if kind == "pipe":
            os.mkfifo(name)
        elif kind == "socket":
            listening.bind(name)
        elif kind == "folder":
            Path(name).mkdir()
        elif kind == "circle":
            Path(name).symlink_to(name)
        return name

    yield make
    listening.close()


@posix
@pytest.mark.parametrize("kind", ["pipe", "socket", "folder"])
@pytest.mark.parametrize("name", ["a.npy", "a.h5", "a.tif"])
def test_special_files_are_neither_read_nor_replaced(special, kind, name):
    path = special(kind, name)
    before = stat.S_IFMT(Path(path).lstat().st_mode)
    assert kind_at(path) == {"pipe": "a named pipe"}.get(kind, f"a {kind}")
    model = nm.model_manager.current
    node = nm.Input((1, 2), "b,f", print_repr=False)
    for use in (
        lambda: open_source(path),
        lambda: nm.modelload(path),
        lambda: local_target(path, "out"),
        lambda: model.save(path),
        lambda: node.plot(path, "html"),
        lambda: create_sink(path, (1, 3, 4, 5), "uint8"),
        lambda: create_sink(path, (1, 3, 4, 5), "uint8", existing="open"),
    ):
        with pytest.raises(NeuromancerError):
            use()
    assert stat.S_IFMT(Path(path).lstat().st_mode) == before


@posix
def test_devices_are_refused(tmp_path):
    # Nothing is written here: a bug would delete the device if the tests are run as root.
    path = tmp_path / "null.npy"
    path.symlink_to(os.devnull)
    for use in (open_source, nm.modelload, lambda p: local_target(p, "out")):
        with pytest.raises(FileError, match=r"a device|regular"):
            use(path)


@pytest.mark.parametrize("name", ["a" * 300 + ".npy", "a" * 5000 + ".zarr", "a\0.h5", "", "loop.npy", "\udcff.npy"])
def test_invalid_names(special, name):
    if name == "loop.npy":
        special("circle", name)
    for use in (open_source, nm.modelload, nm.params_from_model_file):
        with pytest.raises(FileError):
            use(name)
    if name != "\udcff.npy":
        with pytest.raises(FileError):
            create_sink(name, (1, 3, 4, 5), "uint8")


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (b"", "0 bytes"),
        (b"PK\x03\x04", "zip"),
        (b"\x1f\x8b", "gzip"),
        (b"\n<!DOCTYPE html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1", "git-lfs"),
        (b"\x89PNG\r\n", "PNG"),
    ],
)
@pytest.mark.parametrize("ending", [".npy", ".h5", ".tif"])
def test_errors_name_the_content_of_misnamed_files(tmp_path, head, says, ending):
    path = tmp_path / f"raw{ending}"
    path.write_bytes(head)
    assert says in content_at(str(path))
    with pytest.raises(FileError, match=f"raw{ending}.*does not hold what its name says; got .*{says}"):
        open_source(path)
    with pytest.raises(
        FileError, match=f"raw{ending}.*" + ("" if says == "gzip" else f"not a model file; got .*{says}")
    ):
        nm.modelload(path)


def test_a_file_instead_of_a_folder(tmp_path):
    for name in ("a.zarr", "a.n5"):
        (tmp_path / name).write_bytes(b"PK\x03\x04")
        with pytest.raises(FileError, match="is not a folder, as its name says; got a zip archive"):
            open_source(tmp_path / name)


def test_addresses_are_no_local_files(tmp_path):
    for address in ("s3://bucket/a.h5", "https://host/a.h5", "zip::s3://bucket/a.zip", "simplecache::gs://b/a"):
        assert is_address(address)
        for check in (local_file, local_target):
            with pytest.raises(FileError, match="'model'"):
                check(address, "model")
    for path in ("a.h5", "C:/a.h5", "/a:b", "a//b", "://x", "1s3://b"):
        assert not is_address(path)
    assert local_target(tmp_path / "a.h5", "model") == tmp_path / "a.h5"


def test_objects_that_are_no_paths(tmp_path):
    class Broken:
        def __fspath__(self):
            raise ZeroDivisionError

    for bad in (Broken(), 5, None, b"a.h5", ["a.h5"]):
        with pytest.raises(InputTypeError, match="'model'"):
            local_file(bad, "model")


def test_the_current_folder_may_be_gone(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(FileError, match="'raw'"):
        absolute("a.npy", "raw")
    assert absolute(str(tmp_path), "raw") == str(tmp_path)
