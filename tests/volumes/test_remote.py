"""Remote stores: missing libraries are named, failures explained, and credentials never shown or written."""

from __future__ import annotations

import io
import json
import socket
import sys
import traceback
import warnings
from contextlib import ExitStack, redirect_stderr, redirect_stdout

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import FileError, MissingDependencyError, NeuromancerError
from neuromancer.volumes import Locator, create_sink, open_source, write_pyramid
from tests.volumes.factories import zarr

import fsspec  # isort: skip
from fsspec.implementations.memory import MemoryFileSystem  # isort: skip

USER, WORD, TOKEN = "AKIAUSER", "s3cret", "sIgNature"
SIGNED = f"?X-Amz-Signature={TOKEN}&sig={TOKEN}&token={TOKEN}&AWSAccessKeyId={USER}"
RAW = np.random.default_rng(0).integers(0, 256, (9, 12, 11), "uint8")


def clean(text):
    return not any(secret in text for secret in (USER, WORD, TOKEN))


class Failing(MemoryFileSystem):
    """File system that fails on every request with a message that contains the address, as some clients do."""

    protocol = "failing"
    error: type[Exception] = OSError

    def _fail(self, *args, **kwargs):
        try:
            raise ConnectionRefusedError(f"GET https://{USER}:{WORD}@host/a{SIGNED}")
        except ConnectionRefusedError as inner:
            raise self.error(f"no answer from https://{USER}:{WORD}@host/a{SIGNED}") from inner

    cat_file = pipe_file = exists = info = ls = _open = _fail


class ClientError(Exception):
    """Not an OSError, like the errors of HTTP clients."""


@pytest.fixture
def node():
    image = nm.Input((None, 1, 3, 5, 5), "b,f,z,y,x", name="raw", print_repr=False)
    return nm.Conv(image, 1, (2, 3, 3), name="conv", print_repr=False)


@pytest.fixture
def failing():
    fsspec.register_implementation("failing", Failing, clobber=True)
    yield Failing
    Failing.error = OSError
    Failing.clear_instance_cache()


def uses(node, address, folder):
    yield lambda: node.predict_dense(address)
    yield lambda: node.predict_dense(RAW[None], mask=address)
    yield lambda: node.predict_dense(RAW[None], out=address)
    yield lambda: node.predict_dense(RAW[None], out=address, journal=folder / "journal")
    yield lambda: open_source(Locator("zarr", address))
    yield lambda: write_pyramid(address)
    yield lambda: nm.modelload(address)
    yield lambda: nm.model_manager.current.save(address)
    yield lambda: node.plot(f"{address}.html")


@pytest.mark.parametrize("error", [OSError, PermissionError, TimeoutError, ClientError, ValueError, RuntimeError])
@pytest.mark.filterwarnings("ignore")  # from zarr, about synchronous file systems
def test_errors_of_a_server(failing, error, node, tmp_path):
    failing.error = error
    for use in uses(node, f"failing://{USER}:{WORD}@bucket/a.zarr", tmp_path):
        with pytest.raises(NeuromancerError, match=r"failing://\*\*\*@bucket/a\.zarr") as caught:
            use()
        assert clean("".join(traceback.format_exception(caught.value)).replace(__file__, ""))
    assert not list(tmp_path.rglob("*.json"))


def test_a_refused_connection_and_an_unknown_name(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(FileError, match=r"ftp://\*\*\*@127\.0\.0\.1:\d+/a\.zarr.*refused") as caught:
        open_source(f"ftp://{USER}:{WORD}@127.0.0.1:{port}/a.zarr")
    assert clean("".join(traceback.format_exception(caught.value)))
    with pytest.raises(FileError, match=r"neverheard://\*\*\*@bucket/a.zarr.*neverheard"):
        open_source(f"neverheard://{USER}@bucket/a.zarr")


@pytest.mark.parametrize(
    ("protocol", "package"), [("s3", "s3fs"), ("gs", "gcsfs"), ("http", "aiohttp"), ("abfs", "adlfs")]
)
def test_a_missing_library_is_named(monkeypatch, protocol, package):
    for name in [n for n in sys.modules if n.startswith((f"fsspec.implementations.{protocol}", package))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, protocol, raising=False)
    with pytest.raises(MissingDependencyError, match=f"needs the package {package}.*pip install {package}") as caught:
        open_source(f"{protocol}://{USER}:{WORD}@bucket/a.zarr")
    assert clean("".join(traceback.format_exception(caught.value)))


def test_without_fsspec_or_zarr(monkeypatch):
    for package, extra in (("fsspec", "remote"), ("zarr", "zarr")):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            with pytest.raises(MissingDependencyError, match=f"extra '{extra}'"):
                open_source(f"s3://{USER}:{WORD}@bucket/a.zarr")


@pytest.mark.parametrize("path", [f"/a.zarr{SIGNED}", f"/a.zarr/0{SIGNED}", "/a.zarr#token=" + TOKEN])
def test_signatures_are_of_files_not_of_folders(path, node, tmp_path):
    for use in uses(node, f"https://host{path}", tmp_path):
        with pytest.raises((FileError, MissingDependencyError)) as caught:
            use()
        assert clean("".join(traceback.format_exception(caught.value)))


@pytest.mark.parametrize("path", ["a.h5:/raw", "a.tif", "a.npy", "a.n5/raw", "a"])
def test_only_zarr_has_addresses(path):
    with pytest.raises(FileError, match=r"https://\*\*\*@host/a"):
        open_source(f"https://{USER}:{WORD}@host/{path}")


def test_a_prediction_with_credentials_leaves_none(node, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = f"memory://{USER}:{WORD}@bucket"
    made = zarr.create_array(f"{store}/raw.zarr", shape=RAW.shape, dtype="uint8", overwrite=True)
    made[:] = RAW
    shown = io.StringIO()
    with ExitStack() as stack:
        stack.enter_context(redirect_stderr(shown))
        stack.enter_context(redirect_stdout(shown))
        caught_warnings = stack.enter_context(warnings.catch_warnings(record=True))
        warnings.simplefilter("always")
        source = open_source(f"{store}/raw.zarr")
        out = f"{store}/out.zarr"
        options = {"multiscale": True, "voxel_size": (4, 2, 2), "unit": "nm"}
        node.predict_dense(f"{store}/raw.zarr", out=out, journal="journal", progress=True, store=options)
        node.predict_dense(f"{store}/raw.zarr", out="local.zarr", mask=f"{store}/raw.zarr")
        write_pyramid(out, levels=1)
        sink = create_sink(f"{store}/more.zarr", (1, 3, 4, 5), "uint8")
        for thing in (source, source.array, source.locator, sink, sink.locator, sink.label, node.plan_dense(out)):
            shown.write(f"{thing} {thing!r}\n")
        for options in ({}, {"journal": "other"}, {"journal": "journal"}):
            with pytest.raises(NeuromancerError) as caught:
                node.predict_dense(f"{store}/raw.zarr", out=out, **options)
            shown.write(f"{caught.value!s} {caught.value!r}\n")
    text = shown.getvalue() + "".join(str(warning.message) for warning in caught_warnings)
    assert "memory://***@bucket/raw.zarr" in text and clean(text)
    np.testing.assert_array_equal(zarr.open(f"{out}/0")[:], zarr.open("local.zarr")[:])
    group = zarr.open_group(out)
    assert clean(f"{dict(group.attrs)} {dict(group['0'].attrs)}")
    files = [p for p in tmp_path.rglob("*")]
    assert len(files) > 4 and all(clean(str(p)) for p in files)
    assert all(clean(p.read_bytes().decode("latin-1")) for p in files if p.is_file())


def test_another_password_is_the_same_place():
    first, second = (f"memory://{USER}:{word}@bucket/same.zarr" for word in (WORD, "other"))
    for address in (first, second):
        zarr.create_array(address, shape=(3, 4, 5), dtype="uint8", overwrite=True)
    first, second = open_source(first), open_source(second)
    assert first.fingerprint() == second.fingerprint() and first.locator != second.locator


def test_descriptions_of_tensorstore(monkeypatch):
    pytest.importorskip("tensorstore")
    from neuromancer.volumes import tensorstores

    monkeypatch.setattr(tensorstores, "PATIENCE", 0.2)
    server = {"driver": "http", "base_url": f"http://{USER}:{WORD}@127.0.0.1:9", "path": "a"}
    spec = json.dumps({"driver": "zarr", "kvstore": server})
    with pytest.raises(FileError) as caught:
        open_source(Locator("tensorstore", spec))
    assert clean("".join(traceback.format_exception(caught.value)))
    with pytest.raises(FileError):
        open_source(Locator("tensorstore", "{no JSON"))
