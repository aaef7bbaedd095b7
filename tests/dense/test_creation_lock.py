"""The lock for creating a result: one holder at a time, traces that survive it, files that are not locks."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from neuromancer.dense.creation_lock import CreationLock
from neuromancer.errors import FileError

HOST = socket.gethostname()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "a.npy.progress"


def foreign(pid, host=HOST, started="", key="k", traces=(), **more):
    """Content of the lock file of another process."""
    fields = dict(host=host, pid=pid, started=started, key=key, traces=list(traces)) | more
    return json.dumps(fields).encode()


def ended():
    """ID of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    return process.pid


def test_one_holds_it_until_it_is_released_and_nothing_is_left(folder):
    first, second = CreationLock(folder), CreationLock(folder)
    assert first.acquire() and not second.acquire()
    first.release()
    assert not folder.exists()
    assert second.acquire()
    second.release()
    assert not folder.exists()


def test_the_release_of_another_changes_nothing(folder):
    first, second = CreationLock(folder), CreationLock(folder)
    assert first.acquire()
    second.release()
    assert not CreationLock(folder).acquire() and (folder / "making").exists()


def test_traces_of_a_lock_that_was_given_up_come_to_the_next_holder(folder):
    first, second = CreationLock(folder), CreationLock(folder)
    assert first.acquire()
    first.note("a.npy 1")
    first.note("b.npy 2")
    first.abandon()
    assert second.acquire() and second.traces == ["a.npy 1", "b.npy 2"]
    second.release()
    third = CreationLock(folder)
    assert third.acquire() and third.traces == []


def test_a_trace_is_in_the_file_when_it_has_been_noted(folder):
    lock = CreationLock(folder)
    lock.acquire()
    lock.note("a.npy 1")
    assert json.loads((folder / "making").read_bytes())["traces"] == ["a.npy 1"]


@pytest.mark.parametrize(
    "content",
    [
        lambda: foreign(ended(), traces=["left"]),
        lambda: foreign(0, traces=["left"]),
        lambda: foreign(0, host="elsewhere", traces=["left"]),  # given up
        lambda: foreign(os.getpid(), traces=["left"]),  # an earlier process with the ID of this one
        lambda: foreign(-3, traces=["left"]),
        lambda: foreign(1 << 40, traces=["left"]),
        lambda: f"{HOST} {ended()}".encode(),  # the format of earlier versions
        lambda: b"",  # cut short by a power failure
        lambda: b"\0" * 50,
        lambda: foreign(5)[:20],
    ],
)
def test_a_lock_whose_holder_is_gone_is_taken_over(folder, content):
    folder.mkdir()
    content = content()
    (folder / "making").write_bytes(content)
    lock = CreationLock(folder)
    assert lock.acquire() and lock.traces == (["left"] if b"left" in content else [])
    assert not CreationLock(folder).acquire()
    lock.release()
    assert not folder.exists()


@pytest.mark.parametrize(
    "content",
    [lambda: foreign(os.getppid()), lambda: foreign(5, host="elsewhere"), lambda: b"elsewhere 5"],
)
def test_a_lock_whose_holder_may_live_is_left_alone(folder, content):
    folder.mkdir()
    content = content()
    (folder / "making").write_bytes(content)
    lock = CreationLock(folder)
    assert not lock.acquire()
    lock.release()
    lock.abandon()
    assert (folder / "making").read_bytes() == content
    assert str(folder / "making") in str(lock.refuse())


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="start times of processes are read from /proc")
def test_a_process_that_was_started_at_another_time_is_another_one(folder):
    folder.mkdir()
    (folder / "making").write_bytes(foreign(os.getppid(), started="1"))
    assert CreationLock(folder).acquire()


@pytest.mark.parametrize("content", [b"my notes on making it", b"[1, 2]", b"elsewhere five"])
def test_what_is_no_lock_is_refused_and_kept(folder, content):
    folder.mkdir()
    (folder / "making").write_bytes(content)
    with pytest.raises(FileError, match="making"):
        CreationLock(folder).acquire()
    CreationLock(folder).forget()
    assert (folder / "making").read_bytes() == content


def test_a_link_or_folder_is_no_lock(folder, tmp_path):
    folder.mkdir()
    target = tmp_path / "notes"
    target.write_bytes(foreign(0))
    (folder / "making").symlink_to(target)
    with pytest.raises(FileError, match="making"):
        CreationLock(folder).acquire()
    assert target.read_bytes() == foreign(0)
    (folder / "making").unlink()
    (folder / "making").mkdir()
    with pytest.raises(FileError, match="making"):
        CreationLock(folder).acquire()


def test_forgetting_removes_what_a_killed_process_left_and_nothing_else(folder):
    folder.mkdir()
    left = [f"making-{'0' * 16}", f".making.{'a' * 32}.tmp", f".making-run.json.{'b' * 32}.tmp"]
    kept = ["run.json", "making-of.txt", ".making.tmp", f"making-{'0' * 15}"]
    for name in (*left, *kept):
        (folder / name).write_bytes(b"x")
    (folder / "making").write_bytes(foreign(ended()))
    CreationLock(folder).forget()
    assert sorted(p.name for p in folder.iterdir()) == sorted(kept)


@pytest.mark.parametrize(("name", "stays"), [("a.npy.progress", False), ("mine", True)])
def test_a_folder_of_the_user_stays_and_that_of_a_journal_goes(tmp_path, name, stays):
    folder = tmp_path / name
    folder.mkdir()
    lock = CreationLock(folder)
    assert lock.acquire()
    lock.release()
    assert folder.exists() is stays


def test_a_journal_beside_the_lock_stays(folder):
    lock = CreationLock(folder)
    assert lock.acquire()
    (folder / "run.json").write_text("{}")
    lock.release()
    assert [p.name for p in folder.iterdir()] == ["run.json"]


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="permissions do not bind this user")
def test_a_folder_that_cannot_be_written(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(FileError):
            CreationLock(tmp_path / "a.progress").acquire()
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("content", [None, b"", foreign(0, traces=["left"])])
def test_of_many_that_try_at_once_one_wins(folder, content):
    if content is not None:
        folder.mkdir()
        (folder / "making").write_bytes(content)
    locks, start, won = [CreationLock(folder) for _ in range(8)], threading.Barrier(8), []

    def compete(lock):
        start.wait()
        if lock.acquire():
            won.append(lock)

    threads = [threading.Thread(target=compete, args=(lock,)) for lock in locks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # While one takes over the lock of another, it may seem to be held, so that nobody wins at first.
    assert len(won) <= 1
    if not won:
        assert locks[0].acquire()
        won.append(locks[0])
    assert not CreationLock(folder).acquire()
    won[0].release()
    assert not folder.exists()
