"""Networks of MONAI and of nnU-Net."""

from __future__ import annotations

import pytest
from torch import nn

from neuromancer.errors import GraphError
from neuromancer.graph.geometry import period
from tests.interop.torch_checks import check, check_dense, check_file, imported, random, reloaded, seeded

nets = pytest.importorskip("monai.networks.nets")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*monai.*"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

IO = {"in_channels": 1, "out_channels": 2}
BASIC = IO | {"spatial_dims": 2, "features": (2, 2, 4, 4, 4, 2)}
SEGRES = IO | {"init_filters": 4, "blocks_down": (1, 1), "blocks_up": (1,)}

NETWORKS = {
    "UNet, batch norm": (
        "UNet", IO | {"spatial_dims": 3, "channels": (2, 4, 6), "strides": (2, 2), "num_res_units": 1, "norm": "batch"},
        (1, 1, 8, 12, 16),
    ),
    "UNet, two residual units": (
        "UNet", IO | {"spatial_dims": 2, "channels": (2, 4, 6), "strides": (2, 2), "num_res_units": 2, "norm": "batch",
                      "act": "RELU"}, (1, 1, 16, 24),
    ),
    "UNet, instance norm": (
        "UNet", IO | {"spatial_dims": 2, "channels": (2, 4, 6), "strides": (2, 1)}, (1, 1, 16, 24),
    ),
    "UNet, anisotropic": (
        "UNet", IO | {"spatial_dims": 3, "channels": (2, 4, 6), "strides": ((1, 2, 2), 2), "num_res_units": 1,
                      "norm": "batch", "act": ("ELU", {"alpha": 0.5}), "kernel_size": (1, 3, 3), "up_kernel_size": 3},
        (1, 1, 8, 16, 16),
    ),
    "UNet, group norm": (
        "UNet", IO | {"spatial_dims": 2, "channels": (4, 8), "strides": (2,), "norm": ("group", {"num_groups": 2}),
                      "act": "gelu", "bias": False, "adn_ordering": "DNA", "dropout": 0.1}, (1, 1, 16, 24),
    ),
    "UNet, 1-D": (
        "UNet", IO | {"spatial_dims": 1, "channels": (2, 4), "strides": (2,), "kernel_size": 5, "norm": "batch",
                      "act": ("leakyrelu", {"negative_slope": 0.2})}, (1, 1, 32),
    ),
    "BasicUNet": ("BasicUNet", BASIC, (1, 1, 32, 32)),
    "BasicUNet, batch norm": ("BasicUNet", BASIC | {"norm": "batch"}, (1, 1, 32, 48)),
    "BasicUNet, pixel shuffle": (
        "BasicUNet", BASIC | {"features": (4,) * 6, "norm": "batch", "upsample": "pixelshuffle"}, (1, 1, 32, 32),
    ),
    "BasicUNet, bilinear": (
        "BasicUNet", BASIC | {"norm": "batch", "act": "relu", "upsample": "nontrainable"}, (1, 1, 32, 32),
    ),
    "DynUNet": (
        "DynUNet", IO | {"spatial_dims": 2, "kernel_size": [3, 3, 3], "strides": [1, 2, 2],
                         "upsample_kernel_size": [2, 2], "filters": [2, 4, 4]}, (1, 1, 16, 16),
    ),
    "DynUNet, residual": (
        "DynUNet", IO | {"spatial_dims": 3, "kernel_size": [[1, 3, 3], 3, 3], "strides": [1, [1, 2, 2], 2],
                         "upsample_kernel_size": [[1, 2, 2], 2], "filters": [2, 4, 4], "norm_name": "batch",
                         "res_block": True, "trans_bias": True}, (1, 1, 4, 16, 16),
    ),
    "SegResNet": ("SegResNet", SEGRES | {"spatial_dims": 2, "norm": ("GROUP", {"num_groups": 2})}, (1, 1, 16, 16)),
    "SegResNet, batch norm": ("SegResNet", SEGRES | {"spatial_dims": 3, "norm": "batch"}, (1, 1, 8, 8, 8)),
    "SegResNet, transposed": (
        "SegResNet", SEGRES | {"spatial_dims": 2, "norm": "batch", "upsample_mode": "deconv"}, (1, 1, 16, 16),
    ),
    "FlexibleUNet": (
        "FlexibleUNet", IO | {"backbone": "resnet18", "decoder_channels": (8, 4, 4, 4, 2), "spatial_dims": 2},
        (1, 1, 64, 64),
    ),
    "AttentionUnet": (
        "AttentionUnet", IO | {"spatial_dims": 2, "channels": (2, 4, 4), "strides": (2, 2)}, (1, 1, 16, 16),
    ),
    "DenseNet": (
        "DenseNet", IO | {"spatial_dims": 2, "init_features": 4, "growth_rate": 2, "block_config": (1, 2)},
        (1, 1, 32, 32),
    ),
}  # fmt: skip


def compare(module, shape, tmp_path):
    """Compare one pass, and tiles of the model from its file, with the module; or see that tiles are refused."""
    model = check(module, shape)
    node, ndim = model.prediction_node, len(shape) - 2
    if "halo" not in model.import_report.geometry:
        check_file(model, shape, tmp_path)
        with pytest.raises(GraphError):
            node.predict_dense(random(shape[1:]), tile=(4,) * ndim, progress=False)
        return
    steps = [int(period([node], k)) for k in range(ndim)]
    raw = (shape[1], *(step * -(-20 // step) + step for step in steps))
    # At least three tiles along every axis, unless the period is large.
    tile = max(step * -(-8 // step) for step in steps)
    check_dense(reloaded(model, tmp_path), module, raw, (tile,) * ndim)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_monai(name, tmp_path):
    kind, options, shape = NETWORKS[name]
    compare(seeded(getattr(nets, kind), **options), shape, tmp_path)


def test_vnet():
    module = seeded(nets.VNet, spatial_dims=2, **IO)
    check(module, (1, 1, 32, 32))


def test_padding_of_odd_examples_is_left_out():
    """BasicUNet pads where a size is odd; the network is traced where all are even."""
    model = imported(seeded(nets.BasicUNet, **BASIC | {"norm": "batch"}), (1, 1, 35, 41))
    assert model.import_report.checks[0].shape == (1, 1, 48, 48)
    assert "halo" in model.import_report.geometry


NNUNET = {
    "n_stages": 3, "features_per_stage": (2, 4, 4), "num_classes": 2, "n_conv_per_stage_decoder": 1, "conv_bias": True,
    "input_channels": 1, "nonlin": nn.LeakyReLU, "nonlin_kwargs": {"inplace": True},
}  # fmt: skip


# The package needs timm, and so torchvision, which does not install beside every build of torch.
def test_plain_network_of_nnunet(tmp_path):
    unet = pytest.importorskip("dynamic_network_architectures.architectures.unet")
    options = {"conv_op": nn.Conv2d, "kernel_sizes": 3, "strides": (1, 2, 2), "n_conv_per_stage": 1}
    norm = {"norm_op": nn.InstanceNorm2d, "norm_op_kwargs": {"eps": 1e-5, "affine": True}}
    compare(seeded(unet.PlainConvUNet, **NNUNET, **options, **norm), (1, 1, 16, 16), tmp_path)


@pytest.mark.parametrize("deep", [False, True])
def test_residual_network_of_nnunet(deep, tmp_path):
    unet = pytest.importorskip("dynamic_network_architectures.architectures.unet")
    options = {"conv_op": nn.Conv3d, "kernel_sizes": [[1, 3, 3], 3, 3], "strides": [1, [1, 2, 2], 2]}
    more = {"n_blocks_per_stage": 1, "norm_op": nn.BatchNorm3d, "deep_supervision": deep}
    compare(seeded(unet.ResidualEncoderUNet, **NNUNET, **options, **more), (1, 1, 4, 16, 16), tmp_path)
