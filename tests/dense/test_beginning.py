"""Start of a prediction: after a kill or interrupt at any step, a restart works and no other file is damaged."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import sys
import threading

import h5py
import numpy as np
import pytest

import neuromancer as nm
from neuromancer.dense.creation_lock import CreationLock
from neuromancer.errors import ArgumentError, FileError, NeuromancerError
from tests.dense.nets import image, plane_net

CHANGES = {"os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir", "os.truncate", "os.chmod"}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def changes_something(event, args):
    """Whether an audit event is about to change the file system."""
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
            # only the main thread receives an interrupt, all threads a kill
            if left[0] <= 0 and (how is kill or threading.current_thread() is threading.main_thread()):
                left[0] = 1 << 30
                how()

    sys.addaudithook(hook)


def interrupt():
    raise KeyboardInterrupt


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def put_as_a_step(monkeypatch):
    """Count writing to an existing HDF5 file as a step; it causes no audit event of its own."""
    from neuromancer.volumes import hdf5_changes

    put = hdf5_changes._put
    monkeypatch.setattr(hdf5_changes, "_put", lambda *args: (sys.audit("os.truncate", "", 0), put(*args))[1])


def begin_and_die(step, how, call):
    """Return whether a process was killed or interrupted at this step; False if it took fewer steps."""
    pid = os.fork()
    if pid == 0:
        status = 3
        try:
            die_at(step, how)
            call(progress=lambda *counts: os._exit(0))  # the first tile is about to run
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


@pytest.fixture(autouse=True)
def installed(request):
    """Skip cases whose store is an extra that is not installed."""
    values = request.node.callspec.params.values() if hasattr(request.node, "callspec") else ()
    if any("zarr" in str(value) for value in values):
        pytest.importorskip("zarr")


@pytest.fixture
def case(monkeypatch):
    put_as_a_step(monkeypatch)
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # no power failures here
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
    """Folder with other files, which must stay undamaged."""
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
    """Check that the HDF5 file and the zarr store are unchanged."""
    with h5py.File(folder / "old.h5", "r") as file:
        np.testing.assert_array_equal(file["raw"], OTHERS)
        np.testing.assert_array_equal(file["group/labels"], OTHERS + 1)
        file.visit(str)
    chunk = next(p for p in (folder / "old.zarr" / "raw" / "c").rglob("*") if p.is_file())
    assert chunk.read_bytes() == (folder.parent / "others" / chunk.relative_to(folder)).read_bytes()


# Test every n-th step only; all steps for one output of each kind, as the others behave alike.
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
            assert contents(folder) == contents(others)  # nothing is left behind
        call(resume=bool(begun) or step % 2 == 1)
        require_unharmed(folder)
        source = nm.volumes.open_source(f"{folder}/{name}", spatial="yx")
        np.testing.assert_array_equal(source[tuple(slice(0, n) for n in want.shape)], want)
        source.close()
        left = {path for path in contents(folder) if ".tmp" in path or ".undo" in path or "making" in path}
        assert not left and len(list(folder.glob("*.progress/*"))) == 1
    assert step > 20


def test_several_results_are_made_together_or_not_at_all(case, others, tmp_path):
    node, raw, want = case
    nodes, folder = [nm.Softmax(node, print_repr=False), node], others
    outs = [f"{folder}/a.npy", f"{folder}/old.h5:x/probs"]
    before = contents(folder)
    for wrong, says in (("old.h5:raw", "not overwritten"), ("a.npy", "same output"), ("old.zarr/raw/x", "already")):
        with pytest.raises((FileError, ArgumentError), match=says):
            nm.predict_dense(nodes, raw, out=[outs[0], f"{folder}/{wrong}"])
        assert contents(folder) == before
    with pytest.raises(ArgumentError, match="unknown compression"):
        nm.predict_dense(nodes, raw, out=[outs[1], f"{folder}/a.zarr"], store={"compression": "lzf"})
    assert contents(folder) == before
    steps = 0
    while begin_and_die(
        steps := steps + 7, kill, lambda **more: nm.predict_dense(nodes, raw, out=outs, resume=True, **more)
    ):
        pass
    nm.predict_dense(nodes, raw, out=outs, resume=True)
    with h5py.File(folder / "old.h5") as file:
        assert sorted(file) == ["group", "raw", "x"]
        np.testing.assert_array_equal(file["x/probs"], want)
    assert np.allclose(np.load(outs[0]).sum(axis=0), 1)
    assert not [path for path in contents(folder) if "tmp" in path or "making" in path]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes are forks")
@pytest.mark.parametrize("name", ["a.npy", "a.zarr"])
def test_shards_that_begin_at_once_after_a_kill(name, case, tmp_path):
    node, raw, want = case
    options = {"out": tmp_path / name, "tile": (4, 16), "store": {"chunks": (1, 4, 4)} if name == "a.zarr" else {}}
    assert begin_and_die(14, kill, lambda **more: node.predict_dense(raw, shard=(0, 4), **options, **more))
    pids = []
    for i in range(4):
        pids.append(os.fork())
        if pids[-1] == 0:
            status = 1
            try:
                node.predict_dense(raw, shard=(i, 4), **options)
                status = 0
            finally:
                os._exit(status)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * 4
    source = nm.volumes.open_source(tmp_path / name, spatial="yx")
    np.testing.assert_array_equal(source[tuple(slice(0, n) for n in want.shape)], want)
    source.close()
    assert [p.name for p in (tmp_path / f"{name}.progress").iterdir()] == ["run.json"]


def test_a_damaged_image_leaves_nothing(case, tmp_path):
    zarr = pytest.importorskip("zarr")
    node, raw, _ = case
    zarr.create_array(tmp_path / "raw.zarr", data=raw, chunks=(1, 16, 18))
    chunk = tmp_path / "raw.zarr" / "c" / "0" / "0" / "0"
    whole, before = chunk.read_bytes(), contents(tmp_path)
    for name in ("a.zarr", "a.npy", "a.h5", "a.tif"):
        for options in ({}, {"resume": True}, {"shard": (0, 1)}):
            chunk.write_bytes(whole[:10])
            with pytest.raises(FileError, match=r"raw\.zarr"):
                node.predict_dense(tmp_path / "raw.zarr", out=tmp_path / name, **options)
            assert contents(tmp_path) == before
        chunk.write_bytes(whole)
        node.predict_dense(tmp_path / "raw.zarr", out=tmp_path / name)
        before = contents(tmp_path)


def test_two_calls_that_are_no_shards_do_not_join(case, tmp_path, monkeypatch):
    node, raw, _ = case
    lock = CreationLock(tmp_path / "a.npy.progress")
    assert lock.acquire() and not CreationLock(tmp_path / "a.npy.progress").acquire()
    with pytest.raises(FileError, match="another process has begun"):
        node.predict_dense(raw, out=tmp_path / "a.npy")
    assert not (tmp_path / "a.npy").exists()
    lock.release()
    node.predict_dense(raw, out=tmp_path / "a.npy")


@pytest.mark.parametrize("name", ["a.npy", "a.tif", "a.h5:probs", "a.zarr", "a.zarr/probs"])
def test_links_are_followed(name, case, tmp_path):
    node, raw, want = case
    (tmp_path / "far").mkdir()
    link = tmp_path / name.partition(":")[0].partition("/")[0]
    link.symlink_to(tmp_path / "second")
    (tmp_path / "second").symlink_to("far/result" + link.suffix)
    umask = os.umask(0o027)
    try:
        node.predict_dense(raw, out=f"{tmp_path}/{name}/" if "zarr" in name else f"{tmp_path}/{name}")
    finally:
        os.umask(umask)
    assert link.is_symlink() and [p.name for p in (tmp_path / "far").iterdir()] == ["result" + link.suffix]
    source = nm.volumes.open_source(f"{tmp_path}/{name}", spatial="yx")
    np.testing.assert_array_equal(source[tuple(slice(0, n) for n in want.shape)], want)
    source.close()
    node.predict_dense(raw, out=f"{tmp_path}/{name}", resume=True)
    for path in (tmp_path / "far").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o750 if path.is_dir() else 0o640)
    loop = tmp_path / ("loop" + link.suffix)
    loop.symlink_to(loop.name)
    with pytest.raises(FileError, match="circular symbolic link"):
        node.predict_dense(raw, out=loop)


def test_the_image_is_never_the_result(case, tmp_path):
    zarr = pytest.importorskip("zarr")
    node, raw, _ = case
    plain = (raw[0] / 255).astype("float32")
    np.save(tmp_path / "raw.npy", plain)
    os.link(tmp_path / "raw.npy", tmp_path / "hard.npy")
    (tmp_path / "soft.npy").symlink_to("raw.npy")
    zarr.create_array(tmp_path / "raw.zarr", data=plain)
    zarr.create_group(tmp_path / "group.zarr").create_group("a").create_array("raw", data=plain)
    (tmp_path / "link.zarr").symlink_to("raw.zarr")
    with h5py.File(tmp_path / "raw.h5", "w") as file:
        file["a/raw"] = plain
        file["soft"] = h5py.SoftLink("/a/raw")
        file["nowhere"] = h5py.SoftLink("/a/nothing")
        file["far"] = h5py.ExternalLink("other.h5", "x")
    (tmp_path / "folder").symlink_to(".")
    (tmp_path / "a").mkdir()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    outs = ["hard.npy", "soft.npy", "folder/raw.npy", "a/../raw.npy", "raw.zarr", "raw.zarr/x", "raw.zarr/c/0"]
    outs += ["link.zarr", "link.zarr/x", "group.zarr", "group.zarr/a", "group.zarr/a/raw/x", "folder/group.zarr/a/raw"]
    outs += ["raw.h5:a/raw", "raw.h5:a", "raw.h5:a/raw/x", "raw.h5:soft", "raw.h5:nowhere", "raw.h5:far"]
    for out in outs:
        for options in ({}, {"resume": True}):
            with pytest.raises(NeuromancerError):
                node.predict_dense(tmp_path / "raw.npy", out=f"{tmp_path}/{out}", **options)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    node.predict_dense(tmp_path / "raw.npy", out=tmp_path / "group.zarr" / "a" / "probs")
    assert (zarr.open(tmp_path / "group.zarr" / "a" / "raw")[:] == plain).all()


def test_arrays_that_are_image_and_result(tmp_path):
    zarr = pytest.importorskip("zarr")
    inp = nm.Input((None, 1, 6, 6), "b,f,y,x", print_repr=False)
    node = nm.Conv(inp, 1, (3, 3), print_repr=False)
    raw = np.random.default_rng(0).random((1, 20, 20)).astype("float32")
    np.save(tmp_path / "raw.npy", raw)
    mapped = np.load(tmp_path / "raw.npy", mmap_mode="r+")
    stored = zarr.create_array(tmp_path / "raw.zarr", data=raw)
    room = np.zeros((2, 20, 20), "float32")
    with h5py.File(tmp_path / "raw.h5", "w") as file:
        file["raw"] = raw
        pairs = [(raw, raw), (raw, raw[:, ::-1]), (tmp_path / "raw.npy", mapped), (tmp_path / "raw.zarr", stored)]
        for image_, out in [*pairs, (file["raw"], file["raw"])]:
            with pytest.raises(ArgumentError, match="over the image"):
                node.predict_dense(image_, out=out, pad_raw=True)
    node.predict_dense(room[:1], out=room[1:], pad_raw=True)
    assert (np.load(tmp_path / "raw.npy") == raw).all()
