"""The halo that packages of bioimage.io declare, and that which they need; a published network."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from neuromancer.errors import MetadataWarning

pytest.importorskip("bioimageio.spec")
pytest.importorskip("onnx")

import onnx

from tests.interop.bioimageio_packages import W, X, conv, dump, imported, load, package, run_core
from tests.interop.onnx_factories import model as onnx_model
from tests.interop.onnx_factories import node, weights

BROAD = Path(os.environ.get("NEUROMANCER_BROAD_DATA", Path(__file__).parents[3] / "shared" / "data" / "nuclei_broad"))


def net_weights(net: Any, name: str) -> np.ndarray:
    """Values of an initialiser."""
    return next(onnx.numpy_helper.to_array(t).copy() for t in net.graph.initializer if t.name == name)


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
    (note,) = [n for n in imported(package(tmp_path, net, X, y)).import_report.notes if "halo" in n]
    assert note.startswith("no halo is declared; tiles need y 2, x 2; tiles without one differ")


def test_no_halo_is_enough(tmp_path):
    steps = [node("Conv", "x w", "h", pads=[1] * 4), node("InstanceNormalization", "h s b", "y")]
    net = onnx_model(steps, ("b", 1, "h", "w"), w=W, s=[1.0, 1.0], b=[0.0, 0.0])
    y = conv(X)
    y = (y - y.mean((2, 3), keepdims=True)) / np.sqrt(y.var((2, 3), keepdims=True) + 1e-5)
    with pytest.warns(MetadataWarning, match="no halo is enough"):
        found = imported(package(tmp_path, net, X, y, halo=4))
    assert any("no halo is enough" in note for note in found.import_report.notes)


@pytest.mark.parametrize("strides", [(1, 1), (2, 2)])
def test_networks_without_padding_need_no_halo(strides, tmp_path):
    net = onnx_model([node("Conv", "x w", "y", strides=strides)], ("b", 1, "h", "w"), w=W)
    x = X[:, :, :23, :31].copy()
    y = nn.functional.conv2d(torch.from_numpy(x), torch.from_numpy(W), stride=strides).numpy()
    folder = package(tmp_path, net, x, y)
    document = load(folder / "bioimageio.yaml")
    for axis in document["outputs"][0]["axes"][2:]:
        axis["scale"], axis["size"]["offset"] = strides[0], -2 // strides[0]
    dump(document, folder / "bioimageio.yaml")
    (note,) = [n for n in imported(folder).import_report.notes if "halo" in n]
    assert note.startswith("declared halo y 0, x 0; the network needs y 0, x 0")


def test_halo_of_a_coarse_output(tmp_path):
    steps = [node("Conv", "x w", "h", pads=[1] * 4), node("MaxPool", "h", "p", kernel_shape=[2, 2], strides=[2, 2])]
    net = onnx_model([*steps, node("Conv", "p v", "y", pads=[2] * 4)], ("b", 1, "h", "w"), w=W, v=weights(1, 2, 5, 5))
    pooled = nn.functional.max_pool2d(torch.from_numpy(conv(X)), 2)
    y = nn.functional.conv2d(pooled, torch.from_numpy(net_weights(net, "v")), padding=2).numpy()
    folder = package(tmp_path, net, X, y, halo=1)
    document = load(folder / "bioimageio.yaml")
    for axis in document["outputs"][0]["axes"][2:]:
        axis["scale"] = 2
    dump(document, folder / "bioimageio.yaml")
    with pytest.warns(MetadataWarning, match=r"needs y 3, x 3; tiles cut by it differ"):
        imported(folder)


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


@pytest.mark.slow
def test_published_network_as_its_own_library_runs_it(tmp_path):
    pytest.importorskip("bioimageio.core")
    pytest.importorskip("onnxruntime")
    if not BROAD.is_dir():
        pytest.skip(f"{BROAD} is missing")
    for path in BROAD.iterdir():
        shutil.copy(path, tmp_path)
    document = load(tmp_path / "bioimageio.yaml")
    del document["covers"], document["weights"]["torchscript"], document["weights"]["pytorch_state_dict"]
    for tensor in (*document["inputs"], *document["outputs"], document["weights"]["onnx"]):
        tensor.pop("sample_tensor", tensor.pop("parent", None))
    dump(document, tmp_path / "bioimageio.yaml")
    image = np.roll(np.load(BROAD / "test_input.npy"), 100, axis=(2, 3))
    with pytest.warns(MetadataWarning):
        found = imported(tmp_path)
    wanted = run_core(tmp_path, image, "probability")
    np.testing.assert_allclose(found.predict_dense(image[0], tile=(150, 200)), wanted[0], atol=1e-5)
