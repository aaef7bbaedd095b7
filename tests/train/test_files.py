"""Files of a training run: safe names, preserved modes, atomic writes."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from neuromancer import errors
from neuromancer.train import Trainer
from neuromancer.train.files import write_arrays, write_whole
from neuromancer.utils import safe_file_name
from tests.train.nets import Squares, line, points
from tests.train.nets import classifier as pixels

NAMES = [
    "ä层",
    "run/1",
    "../out",
    "m" * 300,
    "😀" * 90,
    "sp ace",
    "a.b",
    "nul\0",
    "",
    "..",
    ".",
    "a\nb",
    "\ud800",
    "a*[?]",
]
ROOT = Path(__file__).parents[2]


def test_all_names_are_safe_and_stay_apart(tmp_path):
    names = [*NAMES, "run_1", "run\\1", "m" * 301, "nul_"]
    files = [safe_file_name(name) for name in names]
    assert len(set(files)) == len(files)
    for file in files:
        path = tmp_path / f"{file}-1000000.h5"
        path.write_bytes(b"")
        assert path.resolve().parent == tmp_path.resolve()


@pytest.mark.parametrize("name", ["../out", "😀" * 90, "nul\0"])
def test_a_training_of_any_name_stays_in_its_folder(name, tmp_path):
    folder = tmp_path / "in"
    result = Trainer(line(), points(), n_steps=2, folder=folder, name=name, plots=False).run()
    assert all(path.resolve().parent == folder.resolve() for path in result.files.values())
    again = Trainer.resume(folder, points(), n_steps=3, plots=False)
    assert again.name == name and again.run().files["last"] == result.files["last"]
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


THEIRS = ["history.csv", "history.h5", "history.png", "begun-best.h5", "begun-final.h5", "begun-3.h5", "eye-2.h5"]


@pytest.mark.parametrize("name", THEIRS)
def test_foreign_files_are_not_replaced(name, tmp_path):
    options = {"n_steps": 2, "name": "begun", "folder": tmp_path, "plots": name.endswith("png")}
    if name.startswith("eye"):
        options |= {"preview": {"eye": np.zeros((1, 20, 20), "float32")}}
    model, data = (pixels(), Squares()) if name.startswith("eye") else (line(), points())
    (tmp_path / name).write_bytes(b"theirs")
    with pytest.raises(errors.ArgumentError, match=rf"files that the training would replace.*{name}.*overwrite=True"):
        Trainer(model, data, **options).run()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == b"theirs"
    if not name.startswith("eye"):
        Trainer(line(), data, overwrite=True, **options).run()


def test_unrelated_files_and_those_of_an_aborted_start_do_not_matter(tmp_path):
    options = {"n_steps": 2, "name": "begun", "folder": tmp_path, "plots": False}
    others = ["begun.h5", "begun-last.txt", "begun-x.h5", "history.txt", "history.png", "preview-x.h5", "other-1.h5"]
    for other in others:
        (tmp_path / other).write_bytes(b"theirs")
    Trainer(line(), points(), **options).open_folder()  # ended before its first row
    assert Trainer(line(), points(), **options).run().steps == 2
    assert all((tmp_path / other).read_bytes() == b"theirs" for other in others)
    # A run resumed under another name takes over its history, but does not replace checkpoints of others.
    again = {**options, "n_steps": 3, "name": "longer"}
    (tmp_path / "longer-best.h5").write_bytes(b"theirs")
    with pytest.raises(errors.ArgumentError, match="longer-best"):
        Trainer.resume(data=points(), **again).run()
    (tmp_path / "longer-best.h5").unlink()
    assert Trainer.resume(data=points(), **again).run().steps == 3


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.skipif(os.name != "posix", reason="modes are those of POSIX")
def test_a_new_file_has_the_umask_and_a_replaced_one_keeps_its_mode(tmp_path):
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "new", b"1")
        (tmp_path / "old").write_bytes(b"")
        (tmp_path / "old").chmod(0o604)
        write_arrays(tmp_path / "old", {"a": np.zeros(3)})
    finally:
        os.umask(before)
    assert (mode(tmp_path / "new"), mode(tmp_path / "old")) == (0o640, 0o604)


def test_a_link_is_followed(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "there" / "file")
    write_whole(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there" / "file").read_bytes() == b"new"


def test_a_file_that_lies_in_the_way_is_not_followed(tmp_path):
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / f".file.{os.getpid()}.tmp").symlink_to(tmp_path / "precious")
    write_whole(tmp_path / "file", b"new")
    assert (tmp_path / "precious").read_bytes() == b"precious"


def test_on_a_full_disk_the_old_file_stays(tmp_path, monkeypatch):
    path = tmp_path / "a.h5"
    write_arrays(path, {"a": np.zeros(3)})
    before = path.read_bytes()

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(errors.FileError, match="No space left"):
        write_arrays(path, {"a": np.ones(3)})
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["a.h5"]


FULL = """
import resource, sys
from pathlib import Path
import numpy as np
from neuromancer.errors import FileError
from neuromancer.train.files import write_arrays, write_whole

resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
for write in (lambda path: write_arrays(path, {"a": np.ones(10_000)}), lambda path: write_whole(path, bytes(20_000))):
    try:
        write(Path(sys.argv[1]))
    except FileError as error:
        assert "too large" in str(error), error
    else:
        raise SystemExit("no error")
"""


def test_a_full_disk_in_development_mode_leaves_no_buffer_open(tmp_path):
    pytest.importorskip("resource")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    # Imported libraries may issue deprecation warnings.
    quiet = ["-W", "error::ResourceWarning", "-W", "ignore::DeprecationWarning"]
    command = [sys.executable, "-X", "dev", *quiet, "-c", FULL, str(tmp_path / "a.h5")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "Error" not in done.stderr and "Warning" not in done.stderr, done.stderr


def test_two_trainings_in_one_folder_exclude_each_other(tmp_path):
    options = {"n_steps": 3, "plots": False, "folder": tmp_path}
    first = Trainer(line("first"), points(), **options)
    first.run()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with first._files.claimed():
        for other in (
            Trainer.resume(tmp_path, points(), n_steps=5),
            Trainer(line("it"), points(), overwrite=True, **options),
        ):
            with pytest.raises(errors.ArgumentError, match="another training is running in the folder"):
                other.run()
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert Trainer.resume(tmp_path, points(), n_steps=5).run().steps == 5
