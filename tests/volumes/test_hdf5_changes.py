"""Changes of existing HDF5 files: complete, or undone byte for byte."""

from __future__ import annotations

import os
import subprocess
import sys

import h5py
import numpy as np
import pytest

from neuromancer.errors import FileError
from neuromancer.volumes import create_sink, hdf5_changes
from neuromancer.volumes.hdf5_changes import change, roll_back

TOKEN = "0" * 32


@pytest.fixture(params=["earliest", "latest", "user block"])
def path(request, tmp_path):
    options = {"userblock_size": 8192} if request.param == "user block" else {"libver": request.param}
    with h5py.File(tmp_path / "a.h5", "w", **options) as file:
        for k in range(50):
            file[f"group/{k}"] = np.arange(100) + k
    return tmp_path / "a.h5"


def add(file, size=2000):
    """Add a dataset, with values beyond the end of the file, and an attribute of a group."""
    file["new/probs"] = np.ones(size)
    file["group/0"].attrs["seen"] = "x" * 500


def interrupted(*args):
    raise KeyboardInterrupt


def test_a_change_is_there_when_it_ends_well(path):
    change(path, TOKEN, add)
    with h5py.File(path) as file:
        assert file["new/probs"][:].all() and file["group/49"][0] == 49 and len(file["group/0"].attrs["seen"]) == 500
    assert [p.name for p in path.parent.iterdir()] == ["a.h5"]


def test_whatever_write_it_ends_with_it_can_be_undone(path, monkeypatch):
    before, write, left = path.read_bytes(), os.pwrite, []

    def fails(*args):
        left[0] -= 1
        if left[0] == 0:
            raise OSError(28, "No space left on device")
        return write(*args)

    monkeypatch.setattr(os, "pwrite", fails)
    step, done = 0, False
    while not done:
        step += 1
        left[:] = [step]
        try:
            change(path, TOKEN, add)
            done = True
        except OSError:
            assert path.read_bytes() == before and [p.name for p in path.parent.iterdir()] == ["a.h5"]
    assert step > 5


def test_what_fails_in_the_library_changes_nothing(path):
    before = path.read_bytes()

    def fails(file):
        add(file)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        change(path, TOKEN, fails)
    with pytest.raises(ValueError):
        change(path, TOKEN, lambda file: file.create_dataset("group", data=3))
    assert path.read_bytes() == before and [p.name for p in path.parent.iterdir()] == ["a.h5"]


def test_what_somebody_else_has_changed_is_not_undone(path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(hdf5_changes, "roll_back", lambda *args: None)
        patch.setattr(os, "ftruncate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            change(path, TOKEN, add)
    with h5py.File(path, "r+") as file:
        file["theirs"] = np.arange(1000)
    with pytest.raises(FileError, match=r"has been changed since.*or remove .*undo"):
        roll_back(path, TOKEN)
    with h5py.File(path) as file:
        assert file["theirs"][-1] == 999
    for text in (b"", b"\xff", b"[]", b'{"size": 1, "pages": 3}', b"[" * 100_000):
        (path.parent / f".{TOKEN}.undo").write_bytes(text)
        with pytest.raises(FileError, match="is not a valid undo file"):
            roll_back(path, TOKEN)


def test_files_that_are_open(path):
    """For a file open in this process, the library itself makes the change: only it knows its unwritten data."""
    first = create_sink(f"{path}:first", (1, 4, 5), "float32", spatial="yx")
    second = create_sink(f"{path}:second", (1, 4, 5), "float32", spatial="yx")
    first[:] = np.ones((1, 4, 5), "float32")
    second[:] = np.ones((1, 4, 5), "float32")
    first.close()
    second.close()
    with h5py.File(path) as file:
        assert file["first"][:].all() and file["second"][:].all() and len(file["group"]) == 50
    code = f"import h5py; file = h5py.File({str(path)!r}); print(1, flush=True); input()"
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    other.stdout.readline()
    with pytest.raises(OSError, match="open in another process"):
        change(path, TOKEN, add)
    other.communicate(b"\n")
