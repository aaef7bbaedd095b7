"""Packages of bioimage.io: places, axes, kinds of weights."""

from __future__ import annotations

import os
import warnings
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
    NeuromancerError,
    TranslationError,
)

pytest.importorskip("bioimageio.spec")
pytest.importorskip("onnx")

from tests.interop.bioimageio_packages import W, X, conv, digest, dump, entry, imported, load, network, package, zipped
from tests.interop.onnx_factories import model as onnx_model
from tests.interop.onnx_factories import node, weights


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
    assert imported(plain, name="nuclei of mine").name == "nuclei of mine"
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


# ---- outputs
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


# ---- the command
def test_the_command_imports_packages(plain, tmp_path, capsys):
    from neuromancer.commands import volumes as cli

    for source in (plain, plain / "bioimageio.yaml", zipped(plain, tmp_path / "p.zip")):
        target = tmp_path / f"{source.name}.h5"
        assert cli.main(["import", str(source), str(target)]) == cli.DONE
        assert nm.modelload(target).preprocessing == [("ensure_dtype", {"dtype": "float32"})]
    assert "bioimage.io package" in capsys.readouterr().out
    assert cli.main(["import", str(plain), str(tmp_path / "b.h5"), "--tags", "yx"]) == cli.FAILED
