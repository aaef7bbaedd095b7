"""The beginning of a prediction: killed or interrupted at every step, a restart works and nothing else is harmed."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading

import h5py
import numpy as np
import pytest

import neuromancer as nm
from neuromancer.dense.run import Run
from tests.dense.nets import image, plane_net

CHANGES = {"os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir", "os.truncate", "os.chmod"}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def changes_something(event, args):
    """Whether what the interpreter is about to do changes the file system."""
    if event == "open":
        path, mode, flags = args
        return (any(c in "wxa+" for c in mode) if mode else bool(flags & WRITES)) and "/dev/" not in str(path)
    return event in CHANGES


def die_at(step, how):
    """Kill or interrupt this process before its n-th change of the file system."""
    left = [step]

    def hook(event, args):
        if changes_something(event, args):
            left[0] -= 1
            # an interrupt comes to the main thread, and a kill to all of them
            if left[0] <= 0 and (how is kill or threading.current_thread() is threading.main_thread()):
                left[0] = 1 << 30
                how()

    sys.addaudithook(hook)


def interrupt():
    raise KeyboardInterrupt


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def put_as_a_step(monkeypatch):
    """Writing into an HDF5 file that holds something is a step, too, of which the interpreter does not tell."""
    from neuromancer.volumes import hdf5_changes

    put = hdf5_changes._put
    monkeypatch.setattr(hdf5_changes, "_put", lambda *args: (sys.audit("os.truncate", "", 0), put(*args))[1])


def begin_and_die(step, how, call):
    """Whether a process that began was killed or interrupted at this step; else it had no such step."""
    pid = os.fork()
    if pid == 0:
        status = 3
        try:
            Run._carry_out = lambda *args: os._exit(0)
            die_at(step, how)
            call()
        except KeyboardInterrupt:
            status = 1
        finally:
            os._exit(status)
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        return True
    assert os.WEXITSTATUS(status) in (0, 1)
    return os.WEXITSTATUS(status) == 1


def contents(folder):
    """Names of all files below a folder."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@pytest.fixture
def case(monkeypatch):
    put_as_a_step(monkeypatch)
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # no power is cut here
    node, raw = plane_net(), image(1, 16, 18)
    return node, raw, node.predict_dense(raw)


OTHERS = np.arange(3000.0)
PLACES = {
    "npy": ("a.npy", {}),
    "tif": ("a.tif", {}),
    "hdf5": ("a.h5:probs", {}),
    "hdf5 beside others": ("old.h5:new/probs", {}),
    "zarr": ("a.zarr", {"chunks": (1, 8, 8)}),
    "zarr in a group": ("old.zarr/new/probs", {"chunks": (1, 8, 8)}),
    "ome": ("a.zarr", {"chunks": (1, 8, 8), "multiscale": True}),
    "ome in a group": ("old.zarr/group", {"chunks": (1, 8, 8), "multiscale": True}),
}


@pytest.fixture
def others(tmp_path):
    """A folder of what else may lie there, and how to see that it is unharmed."""
    zarr = pytest.importorskip("zarr")
    (tmp_path / "others").mkdir()
    with h5py.File(tmp_path / "others" / "old.h5", "w") as file:
        file["raw"] = OTHERS
        file["group/labels"] = OTHERS + 1
    group = zarr.create_group(tmp_path / "others" / "old.zarr")
    group.create_array("raw", data=OTHERS)
    group.create_group("group")
    return tmp_path / "others"


def require_unharmed(folder):
    """The HDF5 file and the zarr store hold what they held."""
    with h5py.File(folder / "old.h5", "r") as file:
        np.testing.assert_array_equal(file["raw"], OTHERS)
        np.testing.assert_array_equal(file["group/labels"], OTHERS + 1)
        file.visit(str)
    chunk = next(p for p in (folder / "old.zarr" / "raw" / "c").rglob("*") if p.is_file())
    assert chunk.read_bytes() == (folder.parent / "others" / chunk.relative_to(folder)).read_bytes()


# Of every n-th step: every one for one place of each kind, which are all alike in the others.
KILLS = {"npy": 1, "tif": 4, "hdf5": 1, "hdf5 beside others": 1, "zarr": 3, "zarr in a group": 1, "ome": 3}
KILLS["ome in a group"] = 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes are forks")
@pytest.mark.parametrize("how", [kill, interrupt])
@pytest.mark.parametrize("place", PLACES)
def test_an_end_at_every_step(place, how, case, others, tmp_path):
    node, raw, want = case
    name, store = PLACES[place]
    died, step, stride = True, 0, KILLS[place] if how is kill else 5
    while died:
        step += stride
        folder = tmp_path / str(step)
        shutil.copytree(others, folder)

        def call(folder=folder, **options):
            return node.predict_dense(raw, out=f"{folder}/{name}", store=store, tile=(16, 16), **options)

        died = begin_and_die(step, how, call)
        require_unharmed(folder)
        begun = list(folder.glob("*.progress/run.json"))
        if died and how is interrupt and not begun:
            assert contents(folder) == contents(others)  # nothing is left
        call(resume=bool(begun) or step % 2 == 1)
        require_unharmed(folder)
        source = nm.volumes.open_source(f"{folder}/{name}", spatial="yx")
        np.testing.assert_array_equal(source[tuple(slice(0, n) for n in want.shape)], want)
        source.close()
        left = {path for path in contents(folder) if ".tmp" in path or ".undo" in path or "making" in path}
        assert not left and len(list(folder.glob("*.progress/*"))) == 1
    assert step > 20
