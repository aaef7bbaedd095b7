"""Resume: only durable tiles count, other runs are told apart, and kills lose no finished tile."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import neuromancer as nm
from neuromancer.dense import Threads
from neuromancer.dense.fingerprint import model_fingerprint
from neuromancer.dense.pipeline import TileReport
from neuromancer.dense.resume import RECORD, Journal
from neuromancer.dense.tileset import TileSet
from neuromancer.errors import ArgumentError, FileError, PredictionError
from tests.dense.nets import image, volume_net
from tests.dense.stores import Recording

ROOT = Path(__file__).parents[2]
PRINTS = {"model": "a", "image": "b"}


# ---- tile sets
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 9))), st.integers(0, 70), st.integers(0, 70))
def test_tile_sets_are_sets(pairs, start, stop):
    tiles = TileSet((a, a + n) for a, n in pairs if n)
    want = {i for a, n in pairs for i in range(a, a + n)}
    assert len(tiles) == len(want)
    assert [i for i in range(80) if i in tiles] == sorted(want)
    some = range(start, stop)
    assert list(tiles.missing(some)) == [i for i in some if i not in want]
    assert tiles.count(some) == len(want & set(some))


# ---- the journal
def test_what_is_committed_is_found_again(tmp_path):
    folder = tmp_path / "j"
    journal = Journal.create(folder, PRINTS, {"tile": [1]}, 10**9)
    journal.commit(TileReport([5, 3, 4, 10**9 - 1]))
    other = Journal.find(folder)
    other.commit(TileReport([7], {9: "no"}))
    found = Journal.find(folder)
    assert list(found.done().missing(range(11))) == [0, 1, 2, 6, 8, 9, 10]
    assert 10**9 - 1 in found.done() and found.failures() == {9: "no"}
    assert sum(p.stat().st_size for p in folder.glob("*.log")) == 3 * RECORD.size  # runs, not tiles
    assert found.header["layout"] == {"tile": [1]}


def test_records_that_were_cut_short_or_damaged_do_not_count(tmp_path):
    journal = Journal.create(tmp_path / "j", PRINTS, {}, 100)
    journal.commit(TileReport([0, 1]))
    journal.commit(TileReport([5]))
    (log,) = (tmp_path / "j").glob("*.log")
    whole = log.read_bytes()
    for n in range(len(whole) + 1):
        log.write_bytes(whole[:n])
        assert len(Journal.find(tmp_path / "j").done()) == (0, 2, 3)[n // RECORD.size]
    for k in range(len(whole)):
        log.write_bytes(whole[:k] + bytes([whole[k] ^ 4]) + whole[k + 1 :])
        assert len(Journal.find(tmp_path / "j").done()) == (1 if k < RECORD.size else 2)
    log.write_bytes(whole[:7])
    Journal.create(tmp_path / "other", PRINTS, {}, 100).commit(TileReport([9]))
    (foreign,) = (tmp_path / "other").glob("*.log")
    (tmp_path / "j" / "copied.log").write_bytes(foreign.read_bytes())
    assert len(Journal.find(tmp_path / "j").done()) == 0  # of another run


def test_a_finished_run_is_small(tmp_path):
    journal = Journal.create(tmp_path / "j", PRINTS, {}, 20)
    for i in range(0, 20, 2):
        journal.commit(TileReport([i + 1, i], {i: "at first"}))
    journal.close()
    assert [p.name for p in (tmp_path / "j").iterdir()] == ["run.json"]
    found = Journal.find(tmp_path / "j")
    assert found.header["complete"] and len(found.done()) == 20 and not found.failures()


def test_a_folder_with_other_files_keeps_them(tmp_path):
    node, raw, folder = volume_net(), image(1, 9, 30, 30), tmp_path / "logs"
    folder.mkdir()
    names = ("train.log", "x.failed", "making-notes.txt", "run-7.log", "a-1-0123abcd.log", ".making.txt.tmp", "model-1")
    for name in names:
        (folder / name).write_text("of somebody else, and longer than a record")
    for options in ({}, {"resume": True}):
        node.predict_dense(raw, out=tmp_path / "a.npy", journal=folder, **options)
        assert sorted(p.name for p in folder.iterdir()) == sorted(("run.json", *names))
    (tmp_path / "empty").mkdir()
    np.save(tmp_path / "c.npy", np.zeros(3))
    with pytest.raises(FileError, match="not overwritten"):
        node.predict_dense(raw, out=tmp_path / "c.npy", journal=tmp_path / "empty", resume=True)
    assert (tmp_path / "empty").is_dir() and not list((tmp_path / "empty").iterdir())
    (folder / "run.json").unlink()
    (folder / "making").write_text("notes on making it")
    with pytest.raises(FileError, match="is not the lock of another process"):
        node.predict_dense(raw, out=tmp_path / "b.npy", journal=folder)
    assert sorted(p.name for p in folder.iterdir()) == sorted(("making", *names))
    assert (folder / "making").read_text() == "notes on making it" and not (tmp_path / "b.npy").exists()


def test_records_may_go_while_they_are_read(tmp_path, monkeypatch):
    """Of two processes that finish at once, one removes the records that the other is reading."""
    first = Journal.create(tmp_path / "j", PRINTS, {}, 4)
    second = Journal.find(tmp_path / "j")
    first.commit(TileReport([0, 1]))
    second.commit(TileReport([2, 3]))
    read = Path.read_bytes

    def late(path):
        monkeypatch.setattr(Path, "read_bytes", read)
        first.close()
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", late)
    second.close()
    assert second.header["complete"] and len(Journal.find(tmp_path / "j").done()) == 4
    third = Journal.create(tmp_path / "k", PRINTS, {}, 4)
    third.commit(TileReport([0]))
    monkeypatch.setattr(Path, "read_bytes", lambda path: (path.unlink(), read(path))[1])
    with pytest.raises(FileError, match="records have been removed"):
        third.done()


NOT_JOURNALS = [b"", b"{", b"[1]", b'{"version": 3}', b'{"version": 1}', b"\0" * 100, b"\xff\xfe", b"[" * 100_000]


@pytest.mark.parametrize("text", NOT_JOURNALS)
def test_damaged_headers(tmp_path, text):
    (tmp_path / "run.json").write_bytes(text)
    with pytest.raises(FileError, match=r"run\.json.*is not a journal of this version.*remove .* to start over"):
        Journal.find(tmp_path)


WRONG = {
    "version": [True, 2.0, "2", None, 1],
    "complete": ["no", "yes", 1, 0, None, True],
    "tiles": [-1, 101, 100.0, "100", True, 1 << 70],
    "salt": [None, 3, "", "other"],
    "fingerprints": [None, [], {}, {"model": 1}, {"model": "a", "image": "c"}],
    "layout": [None, [], {"tile": [2]}],
    "digest": [None, "", "0" * 64, 3],
    "more": [1],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in WRONG.items() for value in values])
def test_a_header_with_one_other_value(tmp_path, key, value):
    Journal.create(tmp_path / "j", PRINTS, {"tile": [1]}, 100).commit(TileReport([0]))
    path = tmp_path / "j" / "run.json"
    header = json.loads(path.read_text())
    path.write_text(json.dumps(header | {key: value}))
    with pytest.raises(FileError, match=r"run\.json.*is not a journal"):
        Journal.find(tmp_path / "j")
    header.pop(key, None)
    path.write_text(json.dumps(header | ({"x": 1} if key == "more" else {})))
    with pytest.raises(FileError, match=r"run\.json.*is not a journal"):
        Journal.find(tmp_path / "j")


def test_a_header_is_what_was_written_whatever_bit_changes(tmp_path):
    journal = Journal.create(tmp_path / "j", PRINTS, {"tile": [1]}, 100)
    path = tmp_path / "j" / "run.json"
    whole = path.read_bytes()
    for k in range(len(whole)):
        path.write_bytes(whole[:k] + bytes([whole[k] ^ 1]) + whole[k + 1 :])
        try:
            found = Journal.find(tmp_path / "j")
        except FileError:
            continue
        assert found.header == journal.header  # whitespace changed to other whitespace


def test_journals_of_the_version_before(tmp_path):
    """They had no digest; they are accepted if all types are right."""
    header = {"version": 1, "fingerprints": PRINTS, "layout": {"tile": [1]}, "tiles": 3, "salt": "s", "complete": False}
    (tmp_path / "run.json").write_text(json.dumps(header))
    journal = Journal.find(tmp_path)
    journal.commit(TileReport([0, 1, 2]))
    journal.close()
    assert json.loads((tmp_path / "run.json").read_text())["version"] == 2
    assert len(Journal.find(tmp_path).done()) == 3
    (tmp_path / "run.json").write_text(json.dumps(header | {"complete": "no"}))
    with pytest.raises(FileError, match="not a journal"):
        Journal.find(tmp_path)


def test_two_journals_are_not_begun_in_one_folder(tmp_path):
    Journal.create(tmp_path / "j", PRINTS, {}, 3)
    with pytest.raises(FileError, match="File exists"):
        Journal.create(tmp_path / "j", PRINTS, {}, 4)
    assert Journal.find(tmp_path / "j").header["tiles"] == 3


def test_headers_that_are_no_files(tmp_path):
    (tmp_path / "run.json").mkdir()
    with pytest.raises(FileError, match=r"cannot be read; got .*(directory|regular)"):
        Journal.find(tmp_path)
    (tmp_path / "run.json").rmdir()
    os.mkfifo(tmp_path / "run.json")
    with pytest.raises(FileError, match="not a regular file"):
        Journal.find(tmp_path)
    (tmp_path / "run.json").unlink()
    (tmp_path / "run.json").symlink_to("nowhere")
    with pytest.raises(FileError, match="a broken link"):
        Journal.find(tmp_path)
    (tmp_path / "run.json").unlink()
    (tmp_path / "run.json").write_bytes(b" " * (2 << 20))
    with pytest.raises(FileError, match="more than"):
        Journal.find(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot be read"):
        Journal.find(tmp_path / "file")


def test_what_else_lies_among_the_records(tmp_path):
    journal = Journal.create(tmp_path / "j", PRINTS, {}, 4)
    journal.commit(TileReport([0], {1: "no"}))
    (tmp_path / "j" / "a.log").mkdir()
    os.mkfifo(tmp_path / "j" / "b.log")
    (tmp_path / "j" / "c.log").symlink_to("nowhere")
    (tmp_path / "j" / "d.log").write_bytes(os.urandom(1000))
    (tmp_path / "j" / "e.failed").mkdir()
    for line in ("[Infinity, 1]", "[true, 1]", "[99, 1]", "[-1, 1]", "[" * 100_000, "[2]", "7", "\0"):
        (tmp_path / "j" / f"{len(line)}{line[1:3].strip()}.failed").write_text(line)
    found = Journal.find(tmp_path / "j")
    assert len(found.done()) == 1 and found.failures() == {1: "no"}
    found.commit(TileReport([1, 2, 3]))
    found.close()
    assert len(Journal.find(tmp_path / "j").done()) == 4


def test_records_that_may_not_be_read(tmp_path, monkeypatch):
    """They may represent weeks of work: raise an error instead of running all tiles again."""
    journal = Journal.create(tmp_path / "j", PRINTS, {}, 4)
    journal.commit(TileReport([0]))

    def refused(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refused)
    with pytest.raises(FileError, match=r"\.log.*cannot be read; got Permission denied; expected a readable file"):
        journal.done()


def test_records_are_on_disk_before_commit_returns(tmp_path, monkeypatch):
    synced = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(str(Path(f"/proc/self/fd/{fd}").readlink())) or fsync(fd))
    journal = Journal.create(tmp_path / "j", PRINTS, {}, 20)
    journal.commit(TileReport([1]))
    assert str(tmp_path / "j") in synced and str(next((tmp_path / "j").glob("*.log"))) in synced


def test_values_are_durable_before_they_are_noted(tmp_path):
    node, events = volume_net(), []

    class Logged(Recording):
        def __setitem__(self, where, values):
            super().__setitem__(where, values)
            events.append("write")

        def flush(self):
            events.append("flush")

    class Noted(Journal):
        def commit(self, report):
            super().commit(report)
            events.append("commit")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("neuromancer.dense.outputs.Journal", Noted)
        patch.setattr("neuromancer.dense.pipeline.COMMIT_TILES", 5)
        options = {"tile": (2, 9, 9), "journal": tmp_path / "j", "threads": Threads(0, 0, 1, 1)}
        node.predict_dense(image(1, 9, 30, 30), out=Logged((2, 6, 25, 25)), **options)
    commits = [k for k, event in enumerate(events) if event == "commit"]
    assert len(commits) == 6  # of 27 tiles
    assert all("flush" in events[a:b] for a, b in zip([0, *commits], commits, strict=False))


# ---- runs
def interrupted(tmp_path, node, raw, **options):
    """Run a prediction that stops after ten tiles."""

    class Ends(Recording):
        def __setitem__(self, where, values):
            if self.count.sum() > 5000:
                raise KeyboardInterrupt
            super().__setitem__(where, values)

    sink = Ends((2, 6, 25, 25))
    with pytest.raises(KeyboardInterrupt):
        node.predict_dense(raw, out=sink, tile=(2, 9, 9), journal=tmp_path / "j", **options)
    return sink


def test_a_restart_does_only_what_is_missing_and_keeps_the_tile(tmp_path):
    node, raw = volume_net(), image(1, 9, 30, 30)
    first = interrupted(tmp_path, node, raw)
    second = Recording(first.shape)
    node.predict_dense(raw, out=second, journal=tmp_path / "j", resume=True, memory="50MB")
    both = first.count + second.count
    assert (both == 1).all() and second.count.any() and first.count.any()
    np.testing.assert_array_equal(first.array + second.array, node.predict_dense(raw, tile=(2, 9, 9)))
    third = Recording(first.shape)
    node.predict_dense(raw, out=third, journal=tmp_path / "j", resume=True)
    assert not third.count.any()


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("model", {"model": True}),
        ("image", {"raw": True}),
        ("options", {"fill": 3}),
        ("options", {"precision": "f32", "mask": np.ones((9, 30, 30))}),
        ("plan", {"tile": (2, 9, 18)}),
        ("plan", {"augment": "flips"}),
    ],
)
def test_another_run_is_refused_with_what_differs(tmp_path, what, change):
    node, raw = volume_net(), image(1, 9, 30, 30)
    sink = interrupted(tmp_path, node, raw)
    before = sink.array.copy()
    options = dict(change)
    if options.pop("model", False):
        node.parent.set_param_values({"b": [0.1, 0.2]})
    if options.pop("raw", False):
        raw = raw.copy()
        raw[0, 0, 0, 0] += 1
    with pytest.raises(FileError, match=f"belongs to a prediction with another {what}; got {what} "):
        node.predict_dense(raw, out=sink, journal=tmp_path / "j", resume=True, **options)
    np.testing.assert_array_equal(sink.array, before)


def test_what_is_there_is_never_overwritten(tmp_path):
    node, raw = volume_net(), image(1, 9, 30, 30)
    out = tmp_path / "a.npy"
    node.predict_dense(raw, out=out)
    before = out.read_bytes()
    with pytest.raises(FileError, match="there is a prediction already; got 1 of 1 tiles done"):
        node.predict_dense(raw, out=out)
    (tmp_path / "a.npy.progress" / "run.json").unlink()
    for resume in (False, True):
        with pytest.raises(FileError, match="exists and is not overwritten"):
            node.predict_dense(raw, out=out, resume=resume)
    assert out.read_bytes() == before
    node.predict_dense(raw, out=tmp_path / "b.npy")
    (tmp_path / "b.npy").unlink()
    with pytest.raises(FileError, match="the journal exists, but not the result"):
        node.predict_dense(raw, out=tmp_path / "b.npy", resume=True)


def test_nothing_to_go_on_with(tmp_path):
    node, raw = volume_net(), image(1, 9, 30, 30)
    with pytest.raises(ArgumentError, match="previous runs are unknown without a path"):
        node.predict_dense(raw, out=np.zeros((2, 6, 25, 25), "float32"), resume=True)
    out = tmp_path / "a.npy"
    assert node.predict_dense(raw, out=out, resume=True) == out  # allowed for a first run, too


def test_a_kill_while_the_result_is_made(tmp_path):
    node, raw = volume_net(), image(1, 9, 30, 30)
    folder = tmp_path / "a.npy.progress"
    folder.mkdir()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (folder / "making").write_text(f"{os.uname().nodename} {gone.pid}")
    node.predict_dense(raw, out=tmp_path / "a.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), node.predict_dense(raw))


LEFT = [
    "",
    "no lock",
    "{",
    "[" * 100_000,
    '{"host": 1}',
    f"{os.uname().nodename} {2**31 - 1}",
    f"{os.uname().nodename} {10**30}",
    f"{os.uname().nodename} -1",
    f"{os.uname().nodename} {os.getpid()}",
    f"{os.uname().nodename} {os.getppid()}",
    json.dumps({"host": os.uname().nodename, "pid": 0, "started": "", "key": "", "traces": ["x", "0" * 32]}),
    json.dumps({"host": os.uname().nodename, "pid": os.getppid(), "started": "1", "key": "", "traces": []}),
    json.dumps({"host": os.uname().nodename, "pid": 0, "started": "", "key": "", "traces": "0" * 32}),
    "elsewhere 1",
]


@pytest.mark.parametrize("name", ["a.npy", "a.h5:probs", "a.tif", "a.zarr"])
def test_what_is_there_stays_whatever_lock_lies_beside_it(tmp_path, monkeypatch, name):
    if name.endswith("zarr"):
        pytest.importorskip("zarr")
    monkeypatch.setattr("neuromancer.dense.creation_lock.WAIT", 0.05)
    node, raw = volume_net(), image(1, 9, 30, 30)
    out = tmp_path / name.partition(":")[0]
    sink = nm.volumes.create_sink(tmp_path / name, (2, 6, 25, 25), "float32")
    sink[:] = np.ones((2, 6, 25, 25), "float32")
    sink.close()
    folder = tmp_path / f"{name.replace(':', '.')}.progress"
    before = [p.read_bytes() for p in sorted({out, *out.rglob("*")}) if p.is_file()]
    for k, left in enumerate(LEFT):
        folder.mkdir(exist_ok=True)
        (folder / "making").write_text(left)
        with pytest.raises(FileError, match=r"exists and is not overwritten|another process"):
            node.predict_dense(raw, out=tmp_path / name, resume=k % 2 == 1)
    assert before == [p.read_bytes() for p in sorted({out, *out.rglob("*")}) if p.is_file()]


@pytest.mark.parametrize("name", ["a.npy", "a.h5:probs", "a.tif", "a.zarr", "a.zarr/inner"])
def test_notes_that_are_forged_remove_nothing(tmp_path, name):
    for module, kind in (("zarr", "zarr"), ("tifffile", "tif")):
        if kind in name:
            pytest.importorskip(module)
    node, raw = volume_net(), image(1, 9, 30, 30)
    file = tmp_path / name.partition(":")[0].partition("/")[0]
    for shape, dtype, value in (
        ((2, 6, 25, 25), "float32", 1),
        ((2, 6, 25, 26), "float32", 0),
        ((2, 6, 25, 25), "f8", 0),
    ):
        traces = []
        output = nm.volumes.output_at(tmp_path / name, shape, dtype)
        output.create(traces.append)
        sink = output.find()
        if value:
            sink[:1] = np.full((1, *shape[1:]), value, dtype)
        sink.close()
        traces += [f"{p.stat().st_ino}:{p.stat().st_mtime_ns}" for p in [file, *file.rglob("*")]]
        before = {p: p.read_bytes() for p in [file, *file.rglob("*")] if p.is_file()}
        folder = tmp_path / (Path(name.replace(":", ".").replace("zarr/", "zarr.")).name + ".progress")
        folder.mkdir(exist_ok=True)
        forged = {"host": os.uname().nodename, "pid": 0, "started": "", "key": "", "traces": traces}
        (folder / "making").write_text(json.dumps(forged))
        with pytest.raises(FileError, match="exists and is not overwritten"):
            node.predict_dense(raw, out=tmp_path / name)
        assert before == {p: p.read_bytes() for p in [file, *file.rglob("*")] if p.is_file()}
        shutil.rmtree(file) if file.is_dir() else file.unlink()


def replaced_by_zeros(path):
    """Replace a file's content by zeros: same name, inode and size."""
    np.save(path, np.zeros_like(np.load(path)))


def removed_and_made(path):
    shape = np.load(path).shape
    path.unlink()
    np.save(path, np.zeros(shape, "float32"))


@pytest.mark.parametrize("replace", [replaced_by_zeros, removed_and_made])
@pytest.mark.parametrize("given", [False, True])
def test_a_file_in_the_place_of_the_result_is_not_the_result(tmp_path, replace, given):
    node, raw, path = volume_net(), image(1, 9, 30, 30), tmp_path / "q.npy"
    if given:
        np.save(path, np.zeros((2, 6, 25, 25), "float32"))

    def predict(**options):
        out = np.load(path, mmap_mode="r+") if given else path
        return node.predict_dense(raw, out=out, journal=tmp_path / "j", **options)

    predict()
    predict(resume=True)
    want = np.load(path)
    np.testing.assert_allclose(want, node.predict_dense(raw), atol=1e-6)
    shutil.copy(path, tmp_path / "copy.npy")
    replace(path)
    with pytest.raises(FileError, match="another output"):
        predict(resume=True)
    assert not np.load(path).any()
    np.testing.assert_array_equal(np.load(tmp_path / "copy.npy"), want)


def test_locks_that_are_no_files(tmp_path):
    node, raw = volume_net(), image(1, 9, 30, 30)
    lock = tmp_path / "a.npy.progress" / "making"
    lock.mkdir(parents=True)
    with pytest.raises(FileError, match=r"making.*cannot be read.*remove it"):
        node.predict_dense(raw, out=tmp_path / "a.npy", resume=True)
    lock.rmdir()
    (tmp_path / "other").write_text("mine")
    lock.symlink_to(tmp_path / "other")
    with pytest.raises(FileError, match=r"making.*cannot be read; got a link"):
        node.predict_dense(raw, out=tmp_path / "a.npy")
    assert (tmp_path / "other").read_text() == "mine" and not (tmp_path / "a.npy").exists()
    lock.unlink()
    lock.parent.rmdir()
    lock.parent.write_text("no folder")
    with pytest.raises(FileError, match=r"cannot be read|cannot be created"):
        node.predict_dense(raw, out=tmp_path / "a.npy")


def test_nan_stops_and_a_repaired_image_is_another_image(tmp_path):
    node, raw = volume_net(), image(1, 9, 30, 30).astype("float32")
    bad = raw.copy()
    bad[0, -2:, -4:, -4:] = np.nan
    with pytest.raises(PredictionError, match=r"tile 26 \(4:6, 18:25, 18:25\)"):
        node.predict_dense(bad, out=tmp_path / "a.npy", tile=(2, 9, 9))
    assert len(Journal.find(tmp_path / "a.npy.progress").done()) == 26
    with pytest.raises(FileError, match="another image"):
        node.predict_dense(raw, out=tmp_path / "a.npy", tile=(2, 9, 9), resume=True)


# ---- fingerprints
def test_fingerprints_of_models(tmp_path):
    node = volume_net()
    first = model_fingerprint([node])
    assert model_fingerprint([node]) == first
    model = nm.model_manager.current
    model.designate_nodes("input", prediction_node=node.name)
    model.save(tmp_path / "m.nm")
    loaded = nm.modelload(tmp_path / "m.nm", imposed_patch_size=(9, 12, 12))
    assert model_fingerprint([loaded["probs"]]) == first
    assert model_fingerprint([node.parent]) != first
    node.parent.set_param_values({"b": [0.0, 1e-6]})
    assert model_fingerprint([node]) != first


def test_fingerprints_tell_functions_apart():
    inp = nm.Input((1, 1, 8, 8), "b,f,y,x", print_repr=False)
    prints = {model_fingerprint([nm.ApplyFunc(inp, f)]) for f in (lambda x: x + 1, lambda x: x * 2)}
    assert len(prints) == 2


# ---- kills
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the killed processes are forks")
@pytest.mark.parametrize(("store", "kills"), [("HDF5", 14), ("zarr", 12), ("npy", 8)])
def test_kills_at_random_moments_and_inside_writes(store, kills):
    """For a longer test see benchmarks/soak.py; results are in docs/reliability.md."""
    pytest.importorskip("zarr")
    found = subprocess.run(
        [sys.executable, "benchmarks/soak.py", "--kills", str(kills), "--stores", store],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    row = [cell.strip() for cell in found.stdout.splitlines()[-1].split("|")[1:-1]]
    assert row[0] == store and int(row[1]) >= kills and int(row[2]) >= 1 and row[3] == "0"


def test_of_a_journal_without_a_digest_only_the_records_count(tmp_path):
    node, raw, out = volume_net(), image(1, 9, 30, 30), tmp_path / "a.npy"
    node.predict_dense(raw, out=out)
    want, path = np.load(out), tmp_path / "a.npy.progress" / "run.json"
    np.lib.format.open_memmap(out, "r+")[:] = 0
    header = {key: value for key, value in json.loads(path.read_text()).items() if key != "digest"}
    path.write_text(json.dumps(header | {"version": 1}))
    assert not len(Journal.find(path.parent).done())
    node.predict_dense(raw, out=out, resume=True)
    np.testing.assert_array_equal(np.load(out), want)
    assert Journal.find(path.parent).header["complete"] is True


def test_a_run_goes_on_by_whatever_path_its_result_is_named(tmp_path):
    node, raw = volume_net(), image(1, 9, 30, 30)
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    node.predict_dense(raw, out=tmp_path / "link" / "a.npy", shard=(0, 2), tile=(2, 8, 8))
    node.predict_dense(raw, out=tmp_path / "real" / ".." / "real" / "a.npy", resume=True, tile=(2, 8, 8))
    np.testing.assert_array_equal(np.load(tmp_path / "real" / "a.npy"), node.predict_dense(raw, tile=(2, 8, 8)))
