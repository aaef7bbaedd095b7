"""The container: files are written atomically, and anything but an intact file is refused."""

from __future__ import annotations

import gc
import io
import json
import os
import shutil
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import FileError
from neuromancer.io import container
from neuromancer.io.container import BLOCK, DOCUMENT, read_file, write_file, write_sealed
from tests.io.graphs import layers


@pytest.fixture
def saved(fresh_model, tmp_path):
    layers()
    path = tmp_path / "model.h5"
    fresh_model.save(path)
    return path


def refused(path, match=None, limit=5.0):
    """Check that loading raises FileError quickly, with little memory, and leaves no model behind."""
    before = nm.model_manager.current, set(nm.model_manager.models)
    gc.freeze()  # what other tests left in the process is not searched for garbage meanwhile
    start = time.thread_time()
    try:
        with pytest.raises(FileError, match=match):
            nm.modelload(path)
        assert time.thread_time() - start < limit
        tracemalloc.start()  # which takes several times as long
        with pytest.raises(FileError, match=match):
            nm.modelload(path)
        size = path.stat().st_size if path.is_file() else 0
        assert tracemalloc.get_traced_memory()[1] < 4 * size + (8 << 20)
    finally:
        tracemalloc.stop()
        gc.unfreeze()
    assert (nm.model_manager.current, set(nm.model_manager.models)) == before


# ---- damage
def test_every_flipped_bit_is_noticed(saved):
    whole = saved.read_bytes()
    copy = saved.with_name("copy.h5")
    for at in [*range(0, BLOCK, 7), *range(BLOCK, len(whole), max(1, len(whole) // 300))]:
        changed = bytearray(whole)
        changed[at] ^= 1 << (at % 8)
        copy.write_bytes(changed)
        with pytest.raises(FileError):
            nm.modelload(copy)


def test_every_truncation_is_noticed(saved):
    whole = saved.read_bytes()
    copy = saved.with_name("copy.h5")
    for length in [*range(0, BLOCK + 1, 64), *range(BLOCK, len(whole), len(whole) // 40)]:
        copy.write_bytes(whole[:length])
        with pytest.raises(FileError):
            nm.modelload(copy)
    copy.write_bytes(whole + b"\0")
    refused(copy, "larger than it should be")


def test_other_files_are_told_apart(saved, tmp_path):
    other = tmp_path / "other"
    for content in (b"", b"\0" * 5000, b"no model at all", b"\x89HDF\r\n\x1a\n" + b"\0" * 600, b"neuromancer model\n"):
        other.write_bytes(content)
        refused(other, "not a model file|header cannot be read|damaged")
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file["data"] = np.zeros(3)
    refused(tmp_path / "plain.h5", "not a model file")
    refused(tmp_path, "not a regular file")
    refused(tmp_path / "absent.h5", "cannot be read")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        refused(tmp_path / "pipe", "not a regular file")


@pytest.mark.parametrize(("version", "match"), [(2, "version 2.*newer"), (0, "version 0"), (999999, "another version")])
def test_other_versions_are_named(saved, version, match):
    whole = saved.read_bytes()
    head = whole[:BLOCK].rstrip(b"\0").replace(b"version 1\n", f"version {version}\n".encode())
    saved.write_bytes(head.ljust(BLOCK, b"\0") + whole[BLOCK:])
    refused(saved, match)


# ---- malicious HDF5 with a correct checksum
def forge(path, change):
    """Change the HDF5 part of a file, and update the header."""
    with h5py.File(path, "r+") as file:
        change(file)
    image = io.BytesIO(path.read_bytes())
    path.unlink()
    write_sealed(path, image)


WEIGHT = "parameters/conv/w"


def replace(make):
    def change(file):
        shape, dtype = file[WEIGHT].shape, file[WEIGHT].dtype
        del file[WEIGHT]
        make(file, shape, dtype)

    return change


def external_storage(file, shape, dtype):
    file.create_dataset(WEIGHT, shape, dtype, external=[("/etc/hostname", 0, 1000)])


def virtual(file, shape, dtype):
    layout = h5py.VirtualLayout(shape, dtype)
    layout[...] = h5py.VirtualSource("/other.h5", "data", shape)
    file.create_virtual_dataset(WEIGHT, layout)


def external_link(file, shape, dtype):
    file[WEIGHT] = h5py.ExternalLink("/other.h5", "/data")


def soft_link(file, shape, dtype):
    file[WEIGHT] = h5py.SoftLink("/parameters/dense/w")


def compressed(file, shape, dtype):
    file.create_dataset(WEIGHT, data=np.zeros(shape, dtype), compression="gzip")


def unallocated(file, shape, dtype):
    file.create_dataset(WEIGHT, (1 << 40,), dtype)


def objects(file, shape, dtype):
    file.create_dataset(WEIGHT, data=np.array(["a", "b"], dtype=object), dtype=h5py.string_dtype())


def records(file, shape, dtype):
    file.create_dataset(WEIGHT, data=np.zeros(shape, [("a", "f4")]))


def group(file, shape, dtype):
    file.create_group(WEIGHT)


def nothing(file, shape, dtype):
    pass


def other_values(file, shape, dtype):
    file.create_dataset(WEIGHT, data=np.ones(shape, dtype))


@pytest.mark.parametrize(
    "make",
    [external_storage, virtual, external_link, soft_link, compressed, unallocated, objects, records, group, nothing,
     other_values],
    ids=lambda f: f.__name__,
)  # fmt: skip
def test_only_plain_arrays_are_read(saved, make):
    forge(saved, replace(make))
    refused(saved, r"link|plainly|not an array|checksum")


def test_a_giant_document_is_not_read(saved):
    def change(file):
        del file[DOCUMENT]
        file.create_dataset(DOCUMENT, (1 << 40,), "uint8")

    forge(saved, change)
    refused(saved, "plainly")


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"null", b"{}", b'{"arrays": 3}', b"[" * 200_000, b"\xff\xfe", b'{"arrays": {"": {}}}',
     b'{"arrays": {"document": {"dtype": "object", "shape": [], "sha256": ""}}}', b"1" * 10_000],
)  # fmt: skip
def test_damaged_documents(saved, text):
    def change(file):
        del file[DOCUMENT]
        file.create_dataset(DOCUMENT, data=np.frombuffer(text, dtype="uint8"))

    forge(saved, change)
    refused(saved)


# ---- arrays
def test_types_and_shapes_of_arrays(tmp_path):
    arrays = {
        "a/bool": np.array([True, False]),
        "a/big": np.arange(3, dtype=">i4"),
        "a/number": np.array(2.5),
        "empty": np.zeros((0, 3), "float32"),
        "half": np.ones((2, 2), "float16"),
        "t": np.arange(6.0).reshape(2, 3).T,
    }
    write_file(tmp_path / "x", {"any": [1, None, "text"]}, arrays)
    document, back = read_file(tmp_path / "x")
    assert document == {"any": [1, None, "text"]}
    for key, array in arrays.items():
        assert np.array_equal(back[key], array) and back[key].shape == array.shape
        assert back[key].dtype == array.dtype.newbyteorder("=")


def test_h5py_reads_the_file_too(saved, fresh_model):
    with h5py.File(saved) as file:
        assert np.array_equal(file[WEIGHT][...], fresh_model["conv"].w.get_value())
        assert json.loads(file[DOCUMENT][...].tobytes())["nodes"][0]["name"] == "raw"


# ---- writing
def test_an_error_while_writing_leaves_the_old_file(saved, fresh_model, monkeypatch):
    old = saved.read_bytes()
    for place, function in ((container, "write_sealed"), (container, "body_digest"), (h5py.Group, "create_dataset")):
        with monkeypatch.context() as patch:

            def fail(*args, **kwargs):
                raise OSError(28, "No space left on device")

            patch.setattr(place, function, fail)
            with pytest.raises(FileError, match="No space left"):
                fresh_model.save(saved)
        assert saved.read_bytes() == old
        assert list(saved.parent.iterdir()) == [saved]
    with pytest.raises(FileError, match="cannot be written"):
        fresh_model.save(saved.parent / "absent" / "model.h5")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs limits of file sizes")
@pytest.mark.parametrize("limit", [0, 100, BLOCK, 5000])
def test_a_full_disk_leaves_the_old_file(saved, limit):
    root = Path(nm.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(saved), str(limit)], cwd=root, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert list(saved.parent.iterdir()) == [saved]
    nm.modelload(saved)


FULL = """
import resource, signal, sys, warnings
import numpy
from neuromancer.errors import FileError
from neuromancer.io import container
warnings.simplefilter("error")  # after the imports, as those of Theano warn
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    container.write_file(sys.argv[1], {}, {f"a/{i}": numpy.zeros(1000) for i in range(30)})
except FileError as error:
    sys.exit(0 if "File too large" in str(error) else 1)
sys.exit(2)
"""

CRASHES = """
import os, pathlib, signal, sys
import h5py, numpy
from neuromancer.io import container
old = pathlib.Path(sys.argv[1]).read_bytes()
for place, name in ((h5py.File, "close"), (os, "fsync"), (pathlib.Path, "replace")):
    pid = os.fork()
    if not pid:
        setattr(place, name, lambda *args, **kwargs: os.kill(os.getpid(), signal.SIGKILL))
        container.write_file(sys.argv[1], {}, {"a": numpy.zeros(1000)})
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL, name
    assert pathlib.Path(sys.argv[1]).read_bytes() == old, name
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that can be forked")
def test_a_crash_while_saving_leaves_the_old_file(saved):
    root = Path(nm.__file__).parents[1]
    subprocess.run([sys.executable, "-c", CRASHES, str(saved)], check=True, cwd=root)
    nm.modelload(saved)


def test_a_link_is_written_through(saved, fresh_model, tmp_path):
    link = tmp_path / "link.h5"
    link.symlink_to(saved)
    shutil.copy(saved, tmp_path / "before.h5")
    fresh_model["conv"].b.set_value(0 * fresh_model["conv"].b.get_value() + 7)
    fresh_model.save(link)
    assert link.is_symlink()
    assert (nm.modelload(saved)["conv"].b.get_value() == 7).all()


def test_mode_and_links_of_what_is_replaced_stay(tmp_path):
    path, link = tmp_path / "model.h5", tmp_path / "link.h5"
    link.symlink_to(path.name)
    umask = os.umask(0o027)
    try:
        write_file(link, {"a": 1}, {})
    finally:
        os.umask(umask)
    assert link.is_symlink() and path.stat().st_mode & 0o777 == 0o640
    path.chmod(0o604)
    write_file(link, {"a": 2}, {})
    assert link.is_symlink() and path.stat().st_mode & 0o777 == 0o604 and read_file(path)[0] == {"a": 2}
    path.unlink()
    path.symlink_to(link.name)
    with pytest.raises(FileError, match="circular symbolic link"):
        write_file(link, {"a": 3}, {})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link.h5", "model.h5"]
