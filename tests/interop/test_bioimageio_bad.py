"""Packages of bioimage.io that are damaged, hostile or incomplete."""

from __future__ import annotations

import io
import os
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import (
    ArgumentError,
    FileError,
    InputTypeError,
    NeuromancerError,
    TranslationError,
)

pytest.importorskip("bioimageio.spec")
pytest.importorskip("onnx")

from tests.interop.bioimageio_packages import X, change, conv, dump, imported, load, network, package, zipped


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return package(tmp_path_factory.mktemp("zoo") / "plain", network(), X, conv(X))


class Evil:
    """Would run code if a pickle were trusted."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("ran",)


BAD: dict[str, tuple[dict[str, Any], type[NeuromancerError], str]] = {
    "wrong sum of weights": ({"weights__onnx__sha256": "0" * 64}, FileError, "checksum is wrong"),
    "wrong sum of a test": ({"inputs__0__test_tensor__sha256": "0" * 64}, FileError, "checksum is wrong"),
    "no sum": ({"weights__onnx__sha256": "abc"}, FileError, "not one of SHA-256"),
    "remote": ({"weights__onnx__source": "https://example.com/net.onnx"}, TranslationError, "example.com/net.onnx"),
    "missing weights": ({"weights__onnx__source": "gone.onnx"}, TranslationError, "missing in the package"),
    "absolute": ({"weights__onnx__source": "/etc/passwd"}, FileError, "leads outside"),
    "upwards": ({"weights__onnx__source": "../net.onnx"}, FileError, "leads outside"),
    "backslashes": ({"weights__onnx__source": "..\\net.onnx"}, FileError, "leads outside"),
    "drive": ({"weights__onnx__source": "C:\\net.onnx"}, FileError, "leads outside"),
    "test upwards": ({"inputs__0__test_tensor__source": "../x.npy"}, FileError, "leads outside"),
    "source is a list": ({"weights__onnx__source": [1]}, FileError, "names no file"),
    "TorchScript only": ({"weights": {"torchscript": {"source": "a.pt"}}}, TranslationError, "TorchScript is code"),
    "no weights": ({"weights": {}}, TranslationError, "no weights"),
    "weights are text": ({"weights": "net.onnx"}, FileError, "names no weights"),
    "unknown kind": ({"weights": {"jax": {"source": "a"}}}, TranslationError, "jax"),
    "unknown operation": ({"inputs__0__preprocessing": [{"id": "equalise"}]}, TranslationError, "equalise"),
    "operation with code": (
        {"outputs__0__postprocessing": [{"id": "custom", "source": "a.py", "callable": "f"}]},
        TranslationError, "custom",
    ),
    "operation is a number": ({"inputs__0__preprocessing": [3]}, TranslationError, "3"),
    "wrong argument": (
        {"inputs__0__preprocessing": [{"id": "clip", "kwargs": {"min": "a"}}]}, FileError, "not valid.*clip",
    ),
    "unknown reference": (
        {"inputs__0__preprocessing": [{"id": "scale_range", "kwargs": {"reference_tensor": "other"}}]},
        TranslationError, "reference 'other'",
    ),
    "list along space": (
        {"inputs__0__preprocessing": [{"id": "scale_linear", "kwargs": {"gain": [1.0, 2.0], "axis": "x"}}]},
        TranslationError, "axis 'x'",
    ),
    "list of another length": (
        {"inputs__0__preprocessing": [{"id": "scale_linear", "kwargs": {"gain": [1.0, 2.0], "axis": "channel"}}]},
        TranslationError, "one per channel",
    ),
    "older format": ({"format_version": "0.3.2"}, FileError, "known format"),
    "newer format": ({"format_version": "0.6.0"}, FileError, "known format"),
    "format is a number": ({"format_version": 0.5}, FileError, "known format"),
    "not a model": ({"type": "dataset"}, FileError, "known format"),
    "huge number": (
        {"inputs__0__preprocessing": [{"id": "clip", "kwargs": {"min": 10**400}}]},
        (FileError, TranslationError), "clip",
    ),
    "no inputs": ({"inputs": []}, FileError, "names no inputs"),
    "no outputs": ({"outputs": ...}, FileError, "names no outputs"),
    "inputs are text": ({"inputs": "raw"}, FileError, "names no inputs"),
    "axis without a type": ({"inputs__0__axes": [{"id": "x"}]}, FileError, "not valid"),
    "other axes": ({"inputs__0__axes__2": {"type": "space", "id": "q", "size": 3}}, None, ""),
}  # fmt: skip
del BAD["other axes"]


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("archive", [False, True])
def test_bad_packages(case, archive, tmp_path):
    fields, kind, words = BAD[case]
    folder = package(tmp_path / "p", network(), X, conv(X))
    change(folder, **fields)
    models = set(nm.model_manager.models)
    with pytest.raises(kind, match=words):
        imported(zipped(folder, tmp_path / "p.zip") if archive else folder)
    assert set(nm.model_manager.models) == models


TEXTS = {
    "tags of Python": (b"!!python/object/apply:os.mkdir [ran]", "not valid YAML"),
    "other tags": (b"a: !mine 3", "not valid YAML"),
    "no mapping": (b"- a\n- b", "a mapping"),
    "empty": (b"", "a mapping"),
    "damaged": (b"a: [1, 2", "not valid YAML"),
    "not text": (b"\xff\xfe\x00", "not valid YAML"),
    "bomb": (b"a: &a [" + b"0," * 20 + b"]\n" + b"".join(
        b"%c: &%c [%s]\n" % (98 + k, 98 + k, b",".join([b"*%c" % (97 + k)] * 20)) for k in range(8)), "too large"),
    "deep": (b"a: " + b"[" * 3000 + b"]" * 3000, "nested too deeply|not valid YAML"),
    "contains itself": (b"a: &a [*a]", "too large|too deeply"),
    "long": (b"a: " + b"x" * (1 << 19), "too long"),
    "keys of other types": (b"1: 2", "a mapping"),
}  # fmt: skip


@pytest.mark.parametrize("case", TEXTS)
def test_bad_descriptions(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text, words = TEXTS[case]
    (tmp_path / "rdf.yaml").write_bytes(text)
    with pytest.raises(FileError, match=words):
        imported(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_places_without_a_package(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "empty").mkdir()
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    for place, words in (
        ("gone", "no such file"), ("a.txt", "not a package"), ("empty", "no description"),
        ("empty.zip", "no description"),
    ):  # fmt: skip
        with pytest.raises(FileError, match=words):
            imported(tmp_path / place)
    with pytest.raises(FileError, match="local"):
        nm.from_bioimageio("https://bioimage.io/model.zip")
    with pytest.raises(InputTypeError):
        nm.from_bioimageio(3)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="nearest valid: onnx"):
        imported(tmp_path, weights="onx")


def test_bad_archives(plain, tmp_path):
    good = zipped(plain, tmp_path / "good.zip")

    def changed(name: str, more: dict[str, bytes], bomb: bool = False) -> Path:
        target = tmp_path / name
        target.write_bytes(good.read_bytes())
        with warnings.catch_warnings(), zipfile.ZipFile(target, "a", zipfile.ZIP_DEFLATED) as archive:
            warnings.simplefilter("ignore")
            for member, data in more.items():
                archive.writestr(member, data)
        return target

    for place, words in (
        (changed("up.zip", {"../evil.txt": b"a"}), "leads outside"),
        (changed("root.zip", {"/etc/evil": b"a"}), "leads outside"),
        (changed("twice.zip", {"net.onnx": b"other"}), "several such files"),
    ):
        with pytest.raises(FileError, match=words):
            imported(place)
    added = {"__MACOSX/._net.rdf.yaml": b"\0\1", "._a.bioimageio.yaml": b"\0\1"}
    imported(changed("of macOS.zip", added))
    data = bytearray(good.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 200] = bytes(200)
    (tmp_path / "damaged.zip").write_bytes(data)
    with pytest.raises(NeuromancerError):
        imported(tmp_path / "damaged.zip")


def test_zip_bombs_are_refused(tmp_path):
    folder = package(tmp_path / "p", network(), X, conv(X))
    (folder / "net.onnx").write_bytes(bytes(1 << 27))
    change(folder, weights__onnx__sha256=...)
    with pytest.raises(FileError, match="more than it can hold"):
        imported(zipped(folder, tmp_path / "p.zip"))


@pytest.mark.skipif(os.name != "posix", reason="links")
def test_links_that_lead_outside(tmp_path):
    folder = package(tmp_path / "p", network(), X, conv(X))
    (folder / "net.onnx").rename(tmp_path / "net.onnx")
    (folder / "net.onnx").symlink_to(tmp_path / "net.onnx")
    with pytest.raises(FileError, match="a link leads outside"):
        imported(folder)


def test_bad_test_tensors(tmp_path):
    folder = package(tmp_path, network(), X, conv(X))
    change(folder, inputs__0__test_tensor={"source": "x.npy"}, outputs__0__test_tensor={"source": "y.npy"})
    pickled = io.BytesIO()
    np.save(pickled, np.array([Evil()], object), allow_pickle=True)
    header = b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 999999, 999999), }"
    for data in (b"text", pickled.getvalue(), header.ljust(128)):
        (folder / "x.npy").write_bytes(data)
        with pytest.raises(FileError, match="not a NumPy array"):
            imported(folder)
    for array, words in (
        (X[0], "other axes"),
        (X.astype("complex64"), "not a test tensor"),
        (X[:, :, :0], "other axes"),
    ):
        np.save(folder / "x.npy", array)
        with pytest.raises(FileError, match=words):
            imported(folder)


def test_missing_test_tensors_do_not_hinder(tmp_path):
    for change_to in ({"inputs__0__test_tensor": ...}, {"outputs__0__test_tensor__source": "gone.npy"},
                      {"inputs__0__test_tensor__source": "https://example.com/x.npy"}):  # fmt: skip
        folder = package(tmp_path, network(), X, conv(X))
        change(folder, **change_to)
        report = imported(folder).import_report
        assert any("not compared with test tensors" in note for note in report.notes)


def test_wrong_results_are_refused(tmp_path):
    models = set(nm.model_manager.models)
    with pytest.raises(TranslationError, match="differs from the test tensors"):
        imported(package(tmp_path, network(), X, conv(X) * 1.01))
    with pytest.raises(TranslationError, match="another shape than the test tensor"):
        imported(package(tmp_path, network(), X, conv(X)[:, :, 1:-1]))
    assert set(nm.model_manager.models) == models


def test_several_inputs_are_refused(tmp_path):
    folder = package(tmp_path, network(), X, conv(X))
    document = load(folder / "bioimageio.yaml")
    document["inputs"].append({**document["inputs"][0], "id": "second"})
    dump(document, folder / "bioimageio.yaml")
    with pytest.raises(TranslationError, match=r"several input tensors.*raw, second"):
        imported(folder)


OLDER: dict[str, dict[str, Any]] = {
    "shape too short": {"inputs__0__shape": [1, 1]},
    "step is missing": {"inputs__0__shape": {"min": [1, 1, 8, 8]}},
    "halo too long": {"outputs__0__halo": [0] * 9},
    "scale is text": {"outputs__0__shape": {"reference_tensor": "raw", "scale": ["a"] * 4, "offset": [0] * 4}},
    "scale is zero": {"outputs__0__shape": {"reference_tensor": "raw", "scale": [0.0] * 4, "offset": [0] * 4}},
    "axes are unknown": {"inputs__0__axes": "bqyx"},
    "axes twice": {"inputs__0__axes": "bcyy"},
    "no mean": {"inputs__0__preprocessing": [{"name": "zero_mean_unit_variance", "kwargs": {"axes": "yx"}}]},
}


@pytest.mark.parametrize("case", OLDER)
def test_bad_packages_of_the_older_format(case, tmp_path):
    folder = package(tmp_path, network(), X, conv(X), version="0.4.10")
    (folder / "rdf.yaml").rename(folder / "bioimageio.yaml")
    change(folder, **OLDER[case])
    with pytest.raises((FileError, TranslationError)):
        imported(folder)


def test_sizes_may_be_absurd(tmp_path):
    """They are not needed."""
    folder = package(tmp_path, network(), X, conv(X))
    change(folder, inputs__0__axes__2__size={"min": 10**40, "step": 10**30})
    imported(folder)
