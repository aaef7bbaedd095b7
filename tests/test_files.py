"""Files are replaced atomically, and keep location, mode and links."""

from __future__ import annotations

import os
import stat

import pytest

from neuromancer.errors import FileError
from neuromancer.files import followed, publish, read_small, replacing, write_whole


@pytest.fixture
def umask():
    before = os.umask(0o027)
    yield
    os.umask(before)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_modes(tmp_path, umask):
    path = tmp_path / "a"
    write_whole(path, b"new")
    assert mode(path) == 0o640
    path.chmod(0o604)
    write_whole(path, b"newer")
    assert mode(path) == 0o604 and path.read_bytes() == b"newer"


def test_a_failure_leaves_the_old_file(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as new:
        new.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileError, match=r"nowhere.*cannot be written"):
        write_whole(tmp_path / "nowhere" / "a", b"")


def test_links_are_followed_and_kept(tmp_path):
    (tmp_path / "far").mkdir()
    link = tmp_path / "link"
    link.symlink_to("second")
    (tmp_path / "second").symlink_to("far/a")
    for content in (b"first", b"again"):
        write_whole(link, content)
        assert link.is_symlink() and (tmp_path / "far" / "a").read_bytes() == content
    (tmp_path / "far" / "a").unlink()
    (tmp_path / "far" / "a").symlink_to("../link")
    for path in (link, tmp_path / "second"):
        with pytest.raises(FileError, match="circular symbolic link"):
            write_whole(path, b"")
    with pytest.raises(FileError, match="not a usable path"):
        followed("a\0b")


@pytest.mark.parametrize("links", [True, False])
def test_publish_does_not_overwrite(tmp_path, monkeypatch, links):
    if not links:

        def refused(*args):
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", refused)
    new, target = tmp_path / "new", tmp_path / "target"
    new.write_text("1")
    publish(new, target)
    assert target.read_text() == "1" and not new.exists()
    new.write_text("2")
    with pytest.raises(FileExistsError):
        publish(new, target)
    assert target.read_text() == "1" and new.exists()
    folder = tmp_path / "folder"
    (folder / "x").mkdir(parents=True)
    with pytest.raises(FileExistsError):
        publish(folder, target)
    publish(folder, tmp_path / "other")
    assert (tmp_path / "other" / "x").is_dir()


def test_only_small_regular_files_are_read(tmp_path):
    (tmp_path / "a").write_bytes(b"123")
    assert read_small(tmp_path / "a", 3) == b"123"
    with pytest.raises(OSError, match="more than 2 bytes"):
        read_small(tmp_path / "a", 2)
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(OSError):
            read_small(path, 10)
