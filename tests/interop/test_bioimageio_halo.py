"""The halo that packages of bioimage.io declare, and that which they need; a published network."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuromancer.errors import (
    MetadataWarning,
)

pytest.importorskip("bioimageio.spec")
pytest.importorskip("onnx")

from tests.interop.bioimageio_packages import W, X, conv, imported, package
from tests.interop.onnx_factories import model as onnx_model
from tests.interop.onnx_factories import node, weights

BROAD = Path(os.environ.get("NEUROMANCER_BROAD_DATA", Path(__file__).parents[3] / "shared" / "data" / "nuclei_broad"))


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
