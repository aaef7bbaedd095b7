"""Networks as people have them: exports of PyTorch, and a published file."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import neuromancer as nm
from tests.interop.onnx_factories import imported

BROAD = Path(os.environ.get("NEUROMANCER_BROAD_DATA", Path(__file__).parents[3] / "shared" / "data" / "nuclei_broad"))


class UNet(nn.Module):
    """A U-Net with two scales."""

    def __init__(self, norm: Callable[[int], nn.Module], act: Callable[[], nn.Module], up: str, ndim: int = 2) -> None:
        super().__init__()
        conv = nn.Conv2d if ndim == 2 else nn.Conv3d
        pool = nn.MaxPool2d if ndim == 2 else nn.MaxPool3d
        transposed = nn.ConvTranspose2d if ndim == 2 else nn.ConvTranspose3d
        self.first = nn.Sequential(conv(1, 4, 3, padding=1), norm(4), act())
        self.pool = pool(2)
        self.inner = nn.Sequential(conv(4, 8, 3, padding=1), norm(8), act())
        self.mode = {"nearest": "nearest", "size": "nearest"}.get(up, "bilinear" if ndim == 2 else "trilinear")
        self.up, self.transposed = up, transposed(8, 8, 2, stride=2)
        self.last = nn.Sequential(conv(12, 4, 3, padding=1), norm(4), act(), nn.Dropout(), conv(4, 2, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.first(x)
        inner = self.inner(self.pool(first))
        if self.up == "transposed":
            finer = self.transposed(inner)
        elif self.up == "size":
            finer = nn.functional.interpolate(inner, size=first.shape[2:], mode=self.mode)
        else:
            finer = nn.functional.interpolate(inner, scale_factor=2, mode=self.mode)
        return torch.softmax(self.last(torch.cat([first, finer], 1)), 1)


def instance(ndim: int, affine: bool = True) -> Callable[[int], nn.Module]:
    make = nn.InstanceNorm2d if ndim == 2 else nn.InstanceNorm3d
    return lambda n: make(n, affine=affine)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "batch, transposed": (lambda: UNet(nn.BatchNorm2d, nn.ReLU, "transposed"), 2),
    "instance 3-D, trilinear": (lambda: UNet(instance(3), nn.LeakyReLU, "linear", 3), 3),
    "instance without weights, prelu": (lambda: UNet(instance(2, False), nn.PReLU, "nearest"), 2),
    "group, to a size": (lambda: UNet(lambda n: nn.GroupNorm(2, n), nn.ELU, "size"), 2),
    "group 3-D, gelu": (lambda: UNet(lambda n: nn.GroupNorm(2, n), nn.GELU, "transposed", 3), 3),
    "silu, bilinear": (lambda: UNet(nn.BatchNorm2d, nn.SiLU, "linear"), 2),
    "mish, to a size": (lambda: UNet(nn.BatchNorm2d, nn.Mish, "size"), 2),
    "hardswish": (lambda: UNet(nn.BatchNorm2d, nn.Hardswish, "nearest"), 2),
    "celu": (lambda: UNet(nn.Identity, lambda: nn.CELU(0.5), "transposed"), 2),  # type: ignore[arg-type]
}


def prepared(make: Callable[[], nn.Module]) -> nn.Module:
    """Return a network in evaluation mode whose norms are not what they were made with."""
    torch.manual_seed(0)
    net = make().eval()
    for name, tensor in [*net.named_parameters(), *net.named_buffers()]:
        if "running_var" in name:
            tensor.data.uniform_(0.5, 2)
        elif tensor.ndim == 1 and tensor.is_floating_point():
            tensor.data.normal_()
    return net


def exported(net: nn.Module, sizes: tuple[int, ...], opset: int, is_open: bool, dynamo: bool = False) -> Any:
    """Export a network with open or fixed sizes."""
    x, file = torch.zeros(1, 1, *sizes), io.BytesIO()
    axes = [0, *range(2, 2 + len(sizes))]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        if dynamo:
            shapes = ({axis: torch.export.Dim.DYNAMIC for axis in axes},) if is_open else None
            made = torch.onnx.export(net, (x,), dynamo=True, opset_version=opset, dynamic_shapes=shapes, verbose=False)
            return made.model_proto
        names = {"x": {axis: f"s{axis}" for axis in axes}} if is_open else None
        torch.onnx.export(net, (x,), file, dynamo=False, opset_version=opset, input_names=["x"], dynamic_axes=names)
    return onnx.load_model_from_string(file.getvalue())


def agree(model: nm.Model, net: nn.Module, shape: tuple[int, ...]) -> None:
    """The model gives what the network gives."""
    x = np.random.default_rng(1).standard_normal(shape).astype("float32")
    with torch.no_grad():
        wanted = net(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(model.prediction_node.infer(x), wanted, atol=1e-5)


@pytest.mark.parametrize("case", NETWORKS)
def test_exported_with_open_sizes(case):
    make, ndim = NETWORKS[case]
    net = prepared(make)
    # GELU is an operator of its own from opset 20 on.
    found = imported(exported(net, (8,) * ndim, 17 if ndim == 2 else 20, True), (1, 1, *(8,) * ndim))
    assert len(found.import_report.checks) == 2 and not found.import_report.notes
    agree(found, net, (1, 1, *(12, 10, 8)[:ndim]))


@pytest.mark.parametrize("case", ["batch, transposed", "group, to a size", "group 3-D, gelu", "mish, to a size"])
def test_exported_for_one_size(case):
    make, ndim = NETWORKS[case]
    net = prepared(make)
    found = imported(exported(net, (8,) * ndim, 17, False))
    assert set(found.input_node.shape.spatial_shape) == {None}
    agree(found, net, (2, 1, *(12, 10, 8)[:ndim]))


def test_group_norm_is_one_node_with_its_weights():
    net = prepared(NETWORKS["group, to a size"][0])
    found = imported(exported(net, (8, 8), 17, True))
    norm = next(node for node in found.nodes.values() if isinstance(node, nm.GroupNorm))
    assert np.array_equal(norm.params["gamma"].get_value(), net.first[1].weight.detach().numpy())
    kinds = {type(node).__name__ for node in found.nodes.values()}
    assert kinds == {"Input", "Conv", "GroupNorm", "Activation", "Pool", "Upsample", "Concat", "Softmax"}
    assert sum(p.get_value().size for n in found.nodes.values() for p in n.params.values()) == sum(
        p.numel() for name, p in net.named_parameters() if "transposed" not in name
    )


@pytest.mark.slow
def test_exported_by_dynamo():
    net = prepared(NETWORKS["group, to a size"][0])
    agree(imported(exported(net, (8, 8), 20, True, dynamo=True)), net, (1, 1, 12, 10))


@pytest.mark.slow
def test_monai():
    nets = pytest.importorskip("monai.networks.nets")
    net = prepared(lambda: nets.UNet(2, 1, 2, (4, 8, 8), (2, 2), num_res_units=1))
    agree(imported(exported(net, (16, 16), 17, True)), net, (1, 1, 16, 20))


# ---- a published network
@pytest.fixture
def broad() -> tuple[nm.Model, np.ndarray, np.ndarray]:
    if not BROAD.is_dir():
        pytest.skip(f"{BROAD} is missing")
    x, y = (np.load(BROAD / f"test_{kind}.npy") for kind in ("input", "output"))
    return imported(BROAD / "weights.onnx", (1, 1, 64, 64)), (x - x.mean()) / (x.std() + 1e-6), y


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@pytest.mark.slow
def test_published_network_gives_its_published_output(broad):
    model, x, wanted = broad
    assert np.abs(sigmoid(model.predict(x)) - wanted).max() < 1e-5


@pytest.mark.slow
def test_published_network_in_small_tiles(broad):
    model, x, wanted = broad
    tiles = model.predict_dense(x[0], tile=(128, 128))
    assert np.abs(sigmoid(tiles) - wanted[0]).max() < 1e-5
