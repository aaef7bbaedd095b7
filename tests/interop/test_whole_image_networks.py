"""Networks that normalise over space: volume statistics and sliding windows, compared with torch and MONAI."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm

torch = pytest.importorskip("torch")
nets = pytest.importorskip("monai.networks.nets")
inferers = pytest.importorskip("monai.inferers")

NETWORKS = {
    "UNet, instance": lambda: nets.UNet(3, 1, 2, (4, 8, 8), (2, 2), norm="instance", num_res_units=1),
    "DynUNet": lambda: nets.DynUNet(3, 1, 2, [3] * 3, [1, 2, (1, 2, 2)], [2, (1, 2, 2)], filters=[4, 8, 8]),
    "SegResNet, group": lambda: nets.SegResNet(3, 8, 1, 2, blocks_down=(1, 1), blocks_up=(1,)),
    "SE blocks, instance": lambda: torch.nn.Sequential(
        torch.nn.Conv3d(1, 4, 3, padding=1),
        __import__("monai").networks.blocks.ResidualSELayer(3, 4),
        torch.nn.InstanceNorm3d(4),
        torch.nn.Conv3d(4, 2, 3, padding=1),
    ),
}
PATCH = (16, 16, 16)
SHAPE = (20, 28, 24)


@pytest.fixture(scope="module", params=NETWORKS)
def network(request):
    torch.manual_seed(3)
    module = NETWORKS[request.param]().eval()
    model = nm.from_torch(module, (1, 1, *PATCH))
    yield module, model.prediction_node
    nm.model_manager.delmodel(model.name)


@pytest.fixture(scope="module")
def raw():
    return np.random.default_rng(5).normal(1, 2, (1, *SHAPE)).astype("float32")


def close(values, expected):
    return np.abs(values - expected).max() <= 1e-5 * np.abs(expected).max()


def by_torch(module, raw):
    with torch.no_grad():
        return module(torch.from_numpy(raw[None]))[0].numpy()


@pytest.mark.parametrize("options", [{}, {"tile": (12, 12, 16)}])
def test_statistics_of_the_volume_are_those_of_torch(network, raw, options):
    module, node = network
    assert close(node.predict_dense(raw, statistics="volume", **options), by_torch(module, raw))


@pytest.mark.parametrize("mode", ["gaussian", "constant"])
def test_windows_are_those_of_monai(network, raw, mode):
    module, node = network
    part = raw[:, :18, :21, :]  # no multiple of the patch
    expected = inferers.sliding_window_inference(torch.from_numpy(part[None]), PATCH, 1, module, 0.25, mode)
    window = nm.SlidingWindow.monai(PATCH, overlap=0.25, mode=mode)
    assert close(node.predict_dense(part, sliding_window=window), expected[0].detach().numpy())
