"""Packages of bioimage.io: what is imported, and what is refused."""

from __future__ import annotations

import io
import os
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import neuromancer as nm
from neuromancer.errors import (
    ArgumentError,
    FileError,
    InputTypeError,
    MetadataWarning,
    NeuromancerError,
    TranslationError,
)

pytest.importorskip("bioimageio.spec")
pytest.importorskip("onnx")

from tests.interop.bioimageio_packages import digest, dump, entry, load, package, zipped
from tests.interop.onnx_factories import model as onnx_model
from tests.interop.onnx_factories import node, weights

BROAD = Path(os.environ.get("NEUROMANCER_BROAD_DATA", Path(__file__).parents[3] / "shared" / "data" / "nuclei_broad"))
W = weights(2, 1, 3, 3)
X = (np.random.default_rng(0).random((1, 1, 24, 32)) * 200).astype("float32")


def conv(image: np.ndarray, w: np.ndarray = W) -> np.ndarray:
    """Convolution with zero padding, by torch."""
    functions = {4: nn.functional.conv2d, 5: nn.functional.conv3d}
    return functions[image.ndim](torch.from_numpy(image), torch.from_numpy(w), padding=1).numpy()


def network(shape: Any = ("b", 1, "h", "w"), **more: Any) -> Any:
    """An ONNX model of one convolution."""
    return onnx_model([node("Conv", "x w", "y", pads=[1] * (2 * (len(shape) - 2)))], shape, w=more.get("w", W))


def imported(path: Path, **options: Any) -> nm.Model:
    """Import without a report on the screen; no warning is expected."""
    return nm.from_bioimageio(path, print_report=False, **options)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return package(tmp_path_factory.mktemp("zoo") / "plain", network(), X, conv(X))


# ---- where packages are
@pytest.mark.parametrize("version", ["0.4.10", "0.4.3", "0.5.0", "0.5.4"])
def test_folder_description_and_archive(version, tmp_path):
    folder = package(tmp_path / "p", network(), X, conv(X), version=version)
    description = next(folder.glob("*.yaml"))
    for place in (
        folder,
        description,
        zipped(folder, tmp_path / "a.zip"),
        zipped(folder, tmp_path / "b.zip", "inner/"),
    ):
        model = imported(place)
        np.testing.assert_allclose(model.predict_dense(X[0]), conv(X)[0], rtol=1e-4, atol=1e-2)
        report = model.import_report
        assert report.verified and "test tensors" in report.reference and report.largest_difference < 1e-4


def test_name_of_the_model(plain):
    assert imported(plain, name="mine").name == "mine"
    assert imported(plain).name.startswith("a small model".replace(" ", "")[:1])


# ---- axes
def test_three_axes_of_space(tmp_path):
    w = weights(1, 2, 3, 3, 3)
    x = np.random.default_rng(0).random((1, 2, 9, 10, 12)).astype("float32")
    found = imported(package(tmp_path, network(("b", 2, "d", "h", "w"), w=w), x, conv(x, w), "bczyx"))
    np.testing.assert_allclose(found.predict_dense(x[0], tile=(5, 5, 6)), conv(x, w)[0], atol=1e-5)


def test_channels_last(tmp_path):
    steps = [
        node("Transpose", "x", "t", perm=[0, 3, 1, 2]),
        node("Conv", "t w", "c", pads=[1, 1, 1, 1]),
        node("Transpose", "c", "y", perm=[0, 2, 3, 1]),
    ]
    x, y = (np.moveaxis(a, 1, -1).copy() for a in (X, conv(X)))
    found = imported(package(tmp_path, onnx_model(steps, ("b", "h", "w", 1), w=W), x, y, "byxc"))
    np.testing.assert_allclose(found.predict_dense(X[0]), conv(X)[0], rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize("version", ["0.4.10", "0.5.4"])
def test_no_axis_of_channels(version, opset, tmp_path):
    w = weights(1, 1, 3, 3)
    if opset < 13:
        steps = [node("Unsqueeze", "x", "u", axes=[1]), node("Conv", "u w", "c", pads=[1] * 4)]
        steps.append(node("Squeeze", "c", "y", axes=[1]))
        net = onnx_model(steps, ("b", "h", "w"), opset, w=w)
    else:
        steps = [node("Unsqueeze", "x a", "u"), node("Conv", "u w", "c", pads=[1] * 4), node("Squeeze", "c a", "y")]
        net = onnx_model(steps, ("b", "h", "w"), opset, w=w, a=[1])
    found = imported(package(tmp_path, net, X[:, 0], conv(X, w)[:, 0], "byx", version=version))
    np.testing.assert_allclose(found.predict_dense(X[0]), conv(X, w)[0], rtol=1e-4, atol=1e-2)


def test_x_before_y(tmp_path):
    found = imported(package(tmp_path, network(), X, conv(X), "bcxy"))
    assert [found.input_node.shape.tags[k] for k in found.input_node.shape.spatial_axes] == ["x", "y"]
    np.testing.assert_allclose(found.predict_dense(X[0]), conv(X)[0], rtol=1e-4, atol=1e-2)


def test_sizes_of_every_kind_are_read(plain, tmp_path):
    document = load(plain / "bioimageio.yaml")
    y, x = document["inputs"][0]["axes"][2:]
    y["size"], x["size"] = {"min": 8, "step": 8}, {"tensor_id": "raw", "axis_id": "y", "offset": 8}
    folder = package(tmp_path, network(), X, conv(X))
    dump({**document}, folder / "bioimageio.yaml")
    notes = " ".join(imported(folder).import_report.notes)
    assert "y: 8 + n * 8, x: raw.y +8" in notes


def test_axes_without_a_counterpart(plain, tmp_path):
    document = load(package(tmp_path, network(), X, conv(X)) / "bioimageio.yaml")
    document["inputs"][0]["axes"][2] = {"type": "time", "size": 24}
    dump(document, tmp_path / "bioimageio.yaml")
    with pytest.raises(TranslationError, match=r"axes have no counterpart.*time"):
        imported(tmp_path)


# ---- weights
def test_keras(tmp_path):
    keras = pytest.importorskip("tests.interop.keras_models").keras

    image = keras.Input((None, None, 1))
    net = keras.Model(image, keras.layers.Conv2D(2, 3, padding="same", activation="relu")(image))
    x = np.moveaxis(X, 1, -1).copy() / 200
    y = np.asarray(net.predict(x, verbose=0))
    for kind, name, more in (
        ("keras_hdf5", "net.h5", {"tensorflow_version": "2.15"}),
        ("keras_v3", "net.keras", {"keras_version": "3.5", "backend": ["torch", "2.6"]}),
    ):
        folder = tmp_path / kind
        folder.mkdir()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            net.save(folder / name)
        package(folder, None, x, y, "byxc", weights={kind: {**entry(folder / name), **more}})
        for place in (folder, zipped(folder, tmp_path / f"{kind}.zip")):
            found = imported(place)
            np.testing.assert_allclose(found.predict_dense(X[0] / 200), np.moveaxis(y, -1, 1)[0], atol=1e-5)
            assert kind in found.import_report.source


class Net(nn.Module):
    """A module as a package would have it, with an argument."""

    def __init__(self, features: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, features, 3, padding=1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    torch.save({"conv.weight": torch.from_numpy(W)}, tmp_path / "net.pt")
    architecture = {"source": "net.py", "callable": "Net", "kwargs": {"features": 2}}
    kinds = {"pytorch_state_dict": {**entry(tmp_path / "net.pt"), "architecture": architecture}}
    return package(tmp_path, None, X, conv(X), weights=kinds)


@pytest.mark.parametrize("module", [Net, Net(2), lambda: Net(2)], ids=["class", "module", "function"])
def test_state_of_a_module(state, module):
    before = module.conv.weight.clone() if isinstance(module, nn.Module) else None
    found = imported(state, module=module)
    np.testing.assert_allclose(found.predict_dense(X[0]), conv(X)[0], rtol=1e-4, atol=1e-2)
    assert before is None or torch.equal(before, module.conv.weight)


def test_state_needs_a_module(state, tmp_path):
    with pytest.raises(TranslationError, match="module="):
        imported(state)
    with pytest.raises(ArgumentError, match="code of a package is never run"):
        imported(state, weights="pytorch_state_dict")
    for module, kind, words in (
        (3, InputTypeError, "not a module"),
        (lambda: 3, InputTypeError, "returns no module"),
        (lambda: 1 / 0, InputTypeError, "cannot be made"),
        (Net(3), TranslationError, "do not belong"),
        (lambda: nn.Conv2d(1, 2, 3), TranslationError, "do not belong"),
    ):
        with pytest.raises(kind, match=words):
            imported(state, module=module)


class Evil:
    """Would run code if a pickle were trusted."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("ran",)


def test_state_with_code_is_refused(state, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"conv.weight": Evil()}, state / "net.pt")
    document = load(state / "bioimageio.yaml")
    document["weights"]["pytorch_state_dict"]["sha256"] = digest(state / "net.pt")
    dump(document, state / "bioimageio.yaml")
    with pytest.raises(FileError, match="not a state_dict of tensors"):
        imported(state, module=Net)
    assert not (tmp_path / "ran").exists()


def test_the_first_usable_weights(plain, tmp_path):
    document = load(plain / "bioimageio.yaml")
    folder = package(tmp_path, network(), X, conv(X))
    document["weights"]["torchscript"] = {"source": "net.pt", "pytorch_version": "2.5"}
    document["weights"]["keras_hdf5"] = {"source": "https://example.com/net.h5"}
    dump(document, folder / "bioimageio.yaml")
    assert "onnx" in imported(folder).import_report.source
    with pytest.raises(FileError, match=r"nothing is fetched.*example\.com/net\.h5"):
        imported(folder, weights="keras_hdf5")
    with pytest.raises(ArgumentError, match="cannot be imported"):
        imported(folder, weights="torchscript")
    with pytest.raises(ArgumentError, match="no such weights"):
        imported(folder, weights="keras_v3")
    with pytest.raises(ArgumentError, match="belongs to weights"):
        imported(folder, weights="onnx", module=Net)


# ---- processing
def run_core(folder: Path, image: np.ndarray) -> np.ndarray:
    """Prediction of bioimageio.core."""
    pytest.importorskip("bioimageio.core")
    pytest.importorskip("onnxruntime")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from bioimageio.core import Tensor, create_prediction_pipeline, load_model_description
        from bioimageio.core.digest_spec import create_sample_for_model

        description = load_model_description(folder / "bioimageio.yaml", perform_io_checks=False)
        sample = create_sample_for_model(
            description, inputs={"raw": Tensor.from_numpy(image, dims=["batch", "channel", "y", "x"])}
        )
        with create_prediction_pipeline(description, weight_format="onnx") as pipeline:
            result = pipeline.predict_sample_without_blocking(sample)
    return np.asarray(result.members["out"].data)


OPERATIONS = {
    "pre": [
        ("binarize", {"threshold": 100.0}),
        ("clip", {"min": 20.0, "max": 150.0}),
        ("clip", {"min_percentile": 5.0, "max_percentile": 90.0, "axes": ["y", "x"]}),
        ("fixed_zero_mean_unit_variance", {"mean": 100.0, "std": 40.0}),
        ("fixed_zero_mean_unit_variance", {"mean": [100.0], "std": [40.0], "axis": "channel"}),
        ("scale_linear", {"gain": 0.01, "offset": -1.0}),
        ("scale_linear", {"gain": [0.01], "offset": [-1.0], "axis": "channel"}),
        ("sigmoid", None),
        ("scale_range", {"min_percentile": 2.0, "max_percentile": 99.8, "axes": ["y", "x"]}),
        ("scale_range", {"axes": ["batch", "channel", "y", "x"]}),
        ("scale_range", {"axes": ["x"], "eps": 1e-6}),
        ("zero_mean_unit_variance", None),
        ("zero_mean_unit_variance", {"axes": ["channel", "y", "x"]}),
        ("zero_mean_unit_variance", {"axes": ["y"]}),
    ],
    "post": [
        ("binarize", {"threshold": 1.0}),
        ("clip", {"min": 0.0, "max": 1.0}),
        ("scale_linear", {"gain": 0.5}),
        ("scale_linear", {"gain": [0.5, 2.0], "offset": [0.0, 1.0], "axis": "channel"}),
        ("sigmoid", None),
        ("softmax", {"axis": "channel"}),
        ("scale_range", {"reference_tensor": "raw", "axes": ["channel", "y", "x"]}),
    ],
}
CASES = [(kind, k) for kind, several in OPERATIONS.items() for k in range(len(several))]


@pytest.mark.parametrize(("kind", "k"), CASES, ids=[f"{kind}-{OPERATIONS[kind][k][0]}-{k}" for kind, k in CASES])
def test_operations_give_what_bioimageio_core_gives(kind, k, tmp_path):
    name, arguments = OPERATIONS[kind][k]
    step = (name, arguments)
    first = step if kind == "pre" else ("scale_linear", {"gain": 0.01, "offset": -1.0})
    before = [first, ("ensure_dtype", {"dtype": "float32"})]
    folder = package(tmp_path, network(), X, conv(X), pre=before, post=[step] if kind == "post" else [])
    wanted = run_core(folder, X).astype("float32")
    np.save(folder / "y.npy", wanted)
    document = load(folder / "bioimageio.yaml")
    document["outputs"][0]["test_tensor"] = entry(folder / "y.npy")
    dump(document, folder / "bioimageio.yaml")
    found = imported(folder)
    scale = float(np.abs(wanted).max())
    for tile in (None, (10, 13)):
        result = found.predict_dense(X[0], tile=tile).astype("float64")
        if name == "binarize" and kind == "post":
            assert (result != wanted[0]).mean() < 1e-3
        else:
            np.testing.assert_allclose(result, wanted[0], atol=2e-5 * scale)


OLD = [
    ("zero_mean_unit_variance", {"mode": "per_sample", "axes": "yx"}, (X - X.mean()) / (X.std() + 1e-6)),
    ("zero_mean_unit_variance", {"mode": "per_dataset", "axes": "cyx"}, (X - X.mean()) / (X.std() + 1e-6)),
    ("zero_mean_unit_variance", {"mode": "fixed", "axes": "yx", "mean": [90.0], "std": [50.0]}, (X - 90) / 50),
    ("zero_mean_unit_variance", {"axes": "cyx", "mean": 90.0, "std": 50.0}, (X - 90) / 50),
    ("scale_range", {"mode": "per_sample", "axes": "yx"}, (X - X.min()) / (np.ptp(X) + 1e-6)),
    ("scale_linear", {"axes": "yx", "gain": [0.5], "offset": 1.0}, X * 0.5 + 1),
    ("scale_linear", {"gain": 0.5}, X * 0.5),
    ("clip", {"min": 10.0, "max": 90.0}, np.clip(X, 10, 90)),
    ("binarize", {"threshold": 90.0}, X > 90),
    ("sigmoid", None, 1 / (1 + np.exp(-X))),
]


@pytest.mark.parametrize("case", range(len(OLD)))
def test_operations_of_the_older_format(case, tmp_path):
    name, arguments, image = OLD[case]
    wanted = conv(image.astype("float32"))
    found = imported(package(tmp_path, network(), X, wanted, version="0.4.10", pre=[(name, arguments)]))
    np.testing.assert_allclose(found.predict_dense(X[0], tile=(9, 11)), wanted[0], atol=1e-4 * np.abs(wanted).max())


def test_older_postprocessing_that_matches_the_image(tmp_path):
    y = conv(X)
    mean, std = (f(y) for f in (np.mean, np.std))
    wanted = (y - mean) / (std + 1e-6) * (X.std() + 1e-6) + X.mean()
    post = [("scale_mean_variance", {"mode": "per_sample", "reference_tensor": "raw", "axes": "cyx"})]
    found = imported(package(tmp_path, network(), X, wanted.astype("float32"), version="0.4.10", post=post))
    np.testing.assert_allclose(found.predict_dense(X[0]), wanted[0], rtol=1e-4, atol=1e-2)


Y = conv(X).astype("float64")
MEANS = Y.mean((2, 3), keepdims=True)
WHOLE = [
    (
        "zero_mean_unit_variance",
        {"axes": ["y", "x"]},
        (Y - Y.mean((2, 3), keepdims=True)) / Y.std((2, 3), keepdims=True),
    ),
    ("scale_range", {"max_percentile": 99.0}, (Y - Y.min()) / (np.percentile(Y, 99) - Y.min())),
    ("clip", {"min_percentile": 5.0, "max_percentile": 95.0}, np.clip(Y, *np.percentile(Y, [5, 95]))),
    ("scale_mean_variance", {"reference_tensor": "raw"}, (Y - Y.mean()) / Y.std() * X.std() + X.mean()),
]


@pytest.mark.parametrize("case", range(len(WHOLE)))
def test_postprocessing_with_statistics_of_the_result(case, tmp_path):
    """Which the reference implementation cannot do."""
    name, arguments, wanted = WHOLE[case]
    found = imported(package(tmp_path, network(), X, wanted.astype("float32"), post=[(name, arguments)]))
    np.testing.assert_allclose(found.predict_dense(X[0], tile=(9, 11)), wanted[0], atol=1e-4 * np.abs(wanted).max())


def test_integer_images_without_processing_are_not_scaled(tmp_path):
    x = X.astype("uint8")
    found = imported(package(tmp_path, network(), x, conv(x.astype("float32"))))
    np.testing.assert_allclose(found.predict_dense(x[0]), conv(x.astype("float32"))[0], rtol=1e-4, atol=1e-2)


def test_masks_may_differ_where_values_lie_at_the_threshold(tmp_path):
    y = conv(X)
    threshold = float(np.median(y))
    found = imported(package(tmp_path, network(), X, y > threshold, post=[("binarize", {"threshold": threshold})]))
    assert found.predict_dense(X[0]).dtype == bool
    with pytest.raises(TranslationError, match="of the voxels differ"):
        imported(package(tmp_path / "b", network(), X, y < threshold, post=[("binarize", {"threshold": threshold})]))


# ---- bad packages
def change(folder: Path, **fields: Any) -> None:
    """Change fields of the description, at a path such as weights__onnx__source."""
    document = load(folder / "bioimageio.yaml")
    for path, value in fields.items():
        *inner, last = path.split("__")
        place: Any = document
        for key in inner:
            place = place[int(key)] if key.isdigit() else place[key]
        if value is ...:
            del place[last]
        else:
            place[last] = value
    dump(document, folder / "bioimageio.yaml")


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


def test_several_outputs(tmp_path):
    steps = [node("Conv", "x w", "y", pads=[1] * 4), node("Relu", "y", "z")]
    net = onnx_model(steps, ("b", 1, "h", "w"), outputs="y z", w=W)
    folder = package(tmp_path, net, X, conv(X), post=[("scale_linear", {"gain": 0.5, "offset": 1.0})])
    wanted = (conv(X) * 0.5 + 1).astype("float32")
    document = load(folder / "bioimageio.yaml")
    np.save(folder / "y.npy", wanted)
    np.save(folder / "z.npy", 1 / (1 + np.exp(-np.maximum(conv(X), 0))))
    first = document["outputs"][0]
    first["test_tensor"] = entry(folder / "y.npy")
    second = {**first, "id": "second", "test_tensor": entry(folder / "z.npy"), "postprocessing": [{"id": "sigmoid"}]}
    document["outputs"] = [first, second]
    dump(document, folder / "bioimageio.yaml")
    found = imported(folder)
    assert len(found.prediction_ext) == 2 and len({c.output for c in found.import_report.checks}) == 2
    assert any("'second' is not applied" in note for note in found.import_report.notes)
    np.testing.assert_allclose(found.predict_dense(X[0]), wanted[0], rtol=1e-4, atol=1e-2)
    document["outputs"] = [first]
    dump(document, folder / "bioimageio.yaml")
    with pytest.raises(TranslationError, match="another number of outputs"):
        imported(folder)


def test_a_classifier_has_no_dense_prediction(tmp_path):
    steps = [node("Conv", "x w", "h"), node("GlobalAveragePool", "h", "p"), node("Flatten", "p", "y", axis=1)]
    net = onnx_model(steps, ("b", 1, "h", "w"), w=W)
    y = nn.functional.conv2d(torch.from_numpy(X), torch.from_numpy(W)).mean((2, 3)).numpy()
    found = imported(package(tmp_path, net, X, y, out_axes="bc"))
    np.testing.assert_allclose(found.predict(X).reshape(y.shape), y, rtol=1e-4)
    with pytest.raises(NeuromancerError):
        found.predict_dense(X[0])


def test_several_inputs_are_refused(tmp_path):
    folder = package(tmp_path, network(), X, conv(X))
    document = load(folder / "bioimageio.yaml")
    document["inputs"].append({**document["inputs"][0], "id": "second"})
    dump(document, folder / "bioimageio.yaml")
    with pytest.raises(TranslationError, match=r"several input tensors.*raw, second"):
        imported(folder)


# ---- halo
def deep(layers: int) -> tuple[Any, np.ndarray]:
    """Several convolutions, and the result for X."""
    kernels = {f"w{k}": weights(1, 1, 3, 3) / 3 for k in range(layers)}
    steps = [
        node("Conv", f"{'x' if k == 0 else f'h{k - 1}'} w{k}", "y" if k == layers - 1 else f"h{k}", pads=[1] * 4)
        for k in range(layers)
    ]
    y = X
    for w in kernels.values():
        y = conv(y, w)
    return onnx_model(steps, ("b", 1, "h", "w"), **kernels), y


@pytest.mark.parametrize("version", ["0.4.10", "0.5.4"])
def test_halo_too_small(version, tmp_path):
    net, y = deep(4)
    with pytest.warns(MetadataWarning, match="too small"):
        found = imported(package(tmp_path, net, X, y, halo=2, version=version))
    (note,) = [n for n in found.import_report.notes if "halo" in n]
    assert "y 2, x 2" in note and "needs y 4, x 4" in note and "differ from the whole image by up to" in note
    error = float(note.split("by up to ")[1].split()[0].rstrip(","))
    assert 1e-3 < error / np.abs(y).max() < 1
    np.testing.assert_allclose(found.predict_dense(X[0], tile=(6, 6)), y[0], atol=1e-4 * np.abs(y).max())


@pytest.mark.parametrize("halo", [4, 6])
def test_halo_large_enough(halo, tmp_path):
    net, y = deep(4)
    report = imported(package(tmp_path, net, X, y, halo=halo)).import_report
    assert any(f"declared halo y {halo}, x {halo}; the network needs y 4, x 4" in note for note in report.notes)


def test_no_halo_is_declared(tmp_path):
    net, y = deep(2)
    assert "no halo is declared; tiles need y 2, x 2" in imported(package(tmp_path, net, X, y)).import_report.notes


def test_no_halo_is_enough(tmp_path):
    steps = [node("Conv", "x w", "h", pads=[1] * 4), node("InstanceNormalization", "h s b", "y")]
    net = onnx_model(steps, ("b", 1, "h", "w"), w=W, s=[1.0, 1.0], b=[0.0, 0.0])
    y = conv(X)
    y = (y - y.mean((2, 3), keepdims=True)) / np.sqrt(y.var((2, 3), keepdims=True) + 1e-5)
    with pytest.warns(MetadataWarning, match="no halo is enough"):
        found = imported(package(tmp_path, net, X, y, halo=4))
    assert any("no halo is enough" in note for note in found.import_report.notes)


# ---- a published network
@pytest.mark.slow
def test_published_network():
    if not BROAD.is_dir():
        pytest.skip(f"{BROAD} is missing")
    x, wanted = (np.load(BROAD / f"test_{kind}.npy") for kind in ("input", "output"))
    with pytest.warns(MetadataWarning, match=r"halo \(y 32, x 32\) is too small: the network needs y 64, x 64"):
        found = imported(BROAD)
    assert found.import_report.largest_difference < 1e-5
    for tile in (None, (128, 128)):
        assert np.abs(found.predict_dense(x[0], tile=tile) - wanted[0]).max() < 1e-5
    (note,) = [n for n in found.import_report.notes if "halo" in n]
    assert 5e-4 < float(note.split("after")[0].split()[-1]) < 5e-3


def test_the_command_imports_packages(plain, tmp_path, capsys):
    from neuromancer.commands import volumes as cli

    for source in (plain, plain / "bioimageio.yaml", zipped(plain, tmp_path / "p.zip")):
        target = tmp_path / f"{source.name}.h5"
        assert cli.main(["import", str(source), str(target)]) == cli.DONE
        assert nm.modelload(target).preprocessing == [("ensure_dtype", {"dtype": "float32"})]
    assert "bioimage.io package" in capsys.readouterr().out
    assert cli.main(["import", str(plain), str(tmp_path / "b.h5"), "--tags", "yx"]) == cli.FAILED
