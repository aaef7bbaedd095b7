"""Operations of PyTorch and their options, one by one, against PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from tests.interop.torch_checks import check, imported, random, seeded


class Call(nn.Module):
    """A function behind a convolution, which makes `n` features of one."""

    def __init__(self, function, ndim=2, n=4):
        super().__init__()
        self.conv, self.function = getattr(nn, f"Conv{ndim}d")(1, n, 3, padding=1), function

    def forward(self, x):
        return self.function(self.conv(x))


class Own(nn.Module):
    """A function of the input and of a parameter or buffer."""

    def __init__(self, function, value, trainable=True):
        super().__init__()
        self.function = function
        if trainable:
            self.value = nn.Parameter(value)
        else:
            self.register_buffer("value", value)

    def forward(self, x):
        return self.function(x, self.value)


SHAPE = {0: (1, 3), 1: (1, 3, 12), 2: (1, 3, 8, 12), 3: (1, 3, 8, 4, 12)}

LAYERS = {
    # convolutions
    "conv1": (1, lambda: nn.Conv1d(3, 4, 3)),
    "conv2 strided": (2, lambda: nn.Conv2d(3, 4, 3, stride=2, padding=1)),
    "conv2 even kernel": (2, lambda: nn.Conv2d(3, 4, (4, 2), stride=2, padding=(1, 0))),
    "conv2 dilated": (2, lambda: nn.Conv2d(3, 6, 3, dilation=(1, 2), padding=(1, 2), groups=3)),
    "conv2 same": (2, lambda: nn.Conv2d(3, 4, (3, 4), padding="same")),
    "conv2 without bias": (2, lambda: nn.Conv2d(3, 4, 1, bias=False)),
    "conv2 valid": (2, lambda: nn.Conv2d(3, 4, 5, padding="valid")),
    "conv2 reflect": (2, lambda: nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect")),
    "conv3 replicate": (3, lambda: nn.Conv3d(3, 4, 3, padding=1, padding_mode="replicate")),
    "conv3 planar": (3, lambda: nn.Conv3d(3, 4, (1, 3, 3), padding=(0, 1, 1))),
    "transposed1": (1, lambda: nn.ConvTranspose1d(3, 4, 4, stride=2, padding=1)),
    "transposed2": (2, lambda: nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1)),
    "transposed2 grouped": (2, lambda: nn.ConvTranspose2d(3, 6, 2, stride=2, groups=3)),
    "transposed2 dilated": (2, lambda: nn.ConvTranspose2d(3, 2, 3, dilation=2, padding=2)),
    "transposed3": (3, lambda: nn.ConvTranspose3d(3, 4, (1, 2, 2), stride=(1, 2, 2), bias=False)),
    "linear": (0, lambda: nn.Linear(3, 4)),
    "weight norm": (2, lambda: parametrizations.weight_norm(nn.Conv2d(3, 4, 3, padding=1))),
    "spectral norm": (2, lambda: parametrizations.spectral_norm(nn.Conv2d(3, 4, 3, padding=1))),
    "orthogonal": (0, lambda: parametrizations.orthogonal(nn.Linear(3, 4))),
    # normalisation
    "batch norm1": (1, lambda: nn.BatchNorm1d(3)),
    "batch norm of vectors": (0, lambda: nn.BatchNorm1d(3)),
    "batch norm2 bare": (2, lambda: nn.BatchNorm2d(3, affine=False, eps=0.1)),
    "batch norm3 of the batch": (3, lambda: nn.BatchNorm3d(3, track_running_stats=False)),
    "instance norm2": (2, lambda: nn.InstanceNorm2d(3)),
    "instance norm3 affine": (3, lambda: nn.InstanceNorm3d(3, affine=True, eps=0.1)),
    "instance norm2 tracking": (2, lambda: nn.InstanceNorm2d(3, track_running_stats=True)),
    "group norm": (2, lambda: nn.GroupNorm(3, 3)),
    "group norm of all": (3, lambda: nn.GroupNorm(1, 3, affine=False)),
    "layer norm of vectors": (0, lambda: nn.LayerNorm(3)),
    "layer norm of images": (2, lambda: nn.LayerNorm((3, 8, 12))),
    "layer norm of a line": (1, lambda: nn.LayerNorm(12, elementwise_affine=False)),
    # activations
    "relu": (2, nn.ReLU), "relu6": (2, nn.ReLU6), "leaky": (2, lambda: nn.LeakyReLU(0.3)),
    "elu": (2, lambda: nn.ELU(0.7)), "celu": (2, nn.CELU), "selu": (2, nn.SELU), "gelu": (2, nn.GELU),
    "gelu tanh": (2, lambda: nn.GELU("tanh")), "silu": (2, nn.SiLU), "mish": (2, nn.Mish), "tanh": (2, nn.Tanh),
    "sigmoid": (2, nn.Sigmoid), "hardswish": (2, nn.Hardswish), "hardsigmoid": (2, nn.Hardsigmoid),
    "hardtanh": (2, lambda: nn.Hardtanh(-0.5, 0.7)), "softplus": (2, nn.Softplus),
    "softplus sharp": (2, lambda: nn.Softplus(2)), "softsign": (2, nn.Softsign), "log sigmoid": (2, nn.LogSigmoid),
    "prelu": (2, nn.PReLU), "prelu per channel": (3, lambda: nn.PReLU(3)), "rrelu": (2, nn.RReLU),
    "tanhshrink": (2, nn.Tanhshrink), "threshold at zero": (2, lambda: nn.Threshold(0, 0)),
    "softmax": (2, lambda: nn.Softmax(1)), "softmax2": (2, nn.Softmax2d),
    "softmax of vectors": (0, lambda: nn.Softmax(-1)),
    "log softmax": (3, lambda: nn.LogSoftmax(1)),
    # pools
    "max pool1": (1, lambda: nn.MaxPool1d(2)), "max pool2 padded": (2, lambda: nn.MaxPool2d(3, 2, 1)),
    "max pool2 ceil": (2, lambda: nn.MaxPool2d(3, 2, ceil_mode=True)),
    "max pool2 dilated": (2, lambda: nn.MaxPool2d(2, 1, dilation=2)),
    "max pool3": (3, lambda: nn.MaxPool3d((1, 2, 3), (1, 2, 3))),
    "avg pool2": (2, lambda: nn.AvgPool2d(2)), "avg pool1": (1, lambda: nn.AvgPool1d(3, 1, 1)),
    "avg pool2 inside": (2, lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False)),
    "avg pool2 of the example": (2, lambda: nn.AvgPool2d((8, 12), stride=1)),
    "avg pool3 divisor": (3, lambda: nn.AvgPool3d(2, divisor_override=3)),
    "lp pool": (2, lambda: nn.Sequential(nn.ReLU(), nn.LPPool2d(2, 2))),
    "adaptive avg": (2, lambda: nn.AdaptiveAvgPool2d(1)), "adaptive max": (3, lambda: nn.AdaptiveMaxPool3d(1)),
    "adaptive avg 3": (2, lambda: nn.AdaptiveAvgPool2d((3, 5))), "adaptive max 2": (1, lambda: nn.AdaptiveMaxPool1d(5)),
    # space
    "up nearest": (2, lambda: nn.Upsample(scale_factor=2)),
    "up nearest 3": (3, lambda: nn.Upsample(scale_factor=(1, 2, 3))),
    "up linear": (1, lambda: nn.Upsample(scale_factor=2, mode="linear")),
    "up bilinear": (2, lambda: nn.Upsample(scale_factor=(2, 3), mode="bilinear")),
    "up bilinear corners": (2, lambda: nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)),
    "up trilinear": (3, lambda: nn.Upsample(scale_factor=2, mode="trilinear")),
    "up to a size": (2, lambda: nn.Upsample(size=(16, 20))),
    "up to a size, linear": (2, lambda: nn.Upsample(size=(12, 20), mode="bilinear")),
    "up by halves": (2, lambda: nn.Upsample(scale_factor=1.5, mode="bilinear")),
    "down by half": (2, lambda: nn.Upsample(scale_factor=0.5, mode="bilinear")),
    "pixel shuffle": (2, lambda: nn.Sequential(nn.Conv2d(3, 8, 1), nn.PixelShuffle(2))),
    "zero pad": (2, lambda: nn.ZeroPad2d((1, 2, 0, 3))), "constant pad": (3, lambda: nn.ConstantPad3d(1, 0.5)),
    "reflection pad": (2, lambda: nn.ReflectionPad2d((1, 2, 3, 0))),
    "replication pad": (1, lambda: nn.ReplicationPad1d(2)),
    # nothing
    "identity": (2, lambda: nn.Sequential(nn.Identity(), nn.Conv2d(3, 2, 1), nn.Dropout2d(), nn.Identity())),
    "alpha dropout": (0, lambda: nn.Sequential(nn.Linear(3, 2), nn.AlphaDropout(), nn.FeatureAlphaDropout())),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name):
    ndim, make = LAYERS[name]
    module = seeded(make)
    check(module, SHAPE[ndim])


FUNCTIONS = {
    "number behind": lambda x: x * 0.5 + 1 - 2,
    "number before": lambda x: 1 - 2 / (x**2 + 1),
    "in place": lambda x: x.mul_(2).add_(1).relu_().sub_(0.5).div_(3),
    "powers": lambda x: (x**2 + 1) ** -0.5 + x.abs().sqrt() + torch.rsqrt(x.square() + 1),
    "functions": lambda x: (
        torch.exp(-x.abs()) + torch.sin(x) * torch.cos(x) + torch.log1p(x.abs()) + torch.expm1(x / 9)
    ),
    "reciprocal": lambda x: (x.abs() + 1).reciprocal() + torch.log(x.abs() + 1) + torch.erf(x),
    "sum of both": lambda x: x + torch.tanh(x),
    "difference": lambda x: x - torch.tanh(x),
    "product": lambda x: x * torch.sigmoid(x),
    "quotient": lambda x: x / (torch.abs(x) + 1),
    "alpha": lambda x: torch.add(x, torch.tanh(x), alpha=0.5),
    "alpha of a difference": lambda x: torch.sub(x, torch.tanh(x), alpha=2),
    "clamp": lambda x: x.clamp(-0.1, 0.2) + x.clamp(min=0) + torch.clamp_max(x, 0.3),
    "cat": lambda x: torch.cat([x, x * 2, F.relu(x)], dim=-3),
    "chunk": lambda x: torch.mul(*x.chunk(2, 1)),
    "split": lambda x: torch.cat(torch.split(x, [1, 3], dim=1)[::-1], 1),
    "split even": lambda x: sum(torch.split(x, 2, 1)),
    "channels": lambda x: x[:, 1:3] + x[:, -2:],
    "every channel": lambda x: torch.stack([x[:, 2], x[:, 0]], dim=1),
    "unbind": lambda x: torch.stack(torch.unbind(x, 1)[1:], dim=1),
    "one channel": lambda x: x[:, 0],
    "squeezed": lambda x: x.mean(1),
    "squeezed and back": lambda x: x * x.mean(dim=1).unsqueeze(1),
    "mean of channels": lambda x: x * x.mean(dim=1, keepdim=True),
    "maximum of channels": lambda x: torch.cat([x.max(1, keepdim=True)[0], x.amax(1, keepdim=True)], 1),
    "sum of channels": lambda x: x / x.abs().sum(1, keepdim=True),
    "norm of channels": lambda x: F.normalize(x, dim=1),
    "repeat": lambda x: x.repeat(1, 2, 1, 1),
    "repeat interleave": lambda x: x.repeat_interleave(2, 1),
    "repeat in space": lambda x: x.repeat_interleave(2, 2).repeat_interleave(3, 3),
    "crop": lambda x: x[..., 1:-1, 2:-1],
    "negative pad": lambda x: F.pad(x, (-1, 2, 1, -2)),
    "padded channels": lambda x: F.pad(x, (0, 0, 0, 0, 1, 2), value=0.5),
    "shuffled by hand": lambda x: (
        x.reshape(1, 1, 2, 2, *x.shape[2:]).permute(0, 1, 4, 2, 5, 3).reshape(1, 1, 16, 24)
        if x.shape[2] == 8 and x.shape[0] == 1
        else F.pixel_shuffle(x, 2)
    ),
    "pad": lambda x: F.pad(x, (1, 1, 2, 2), mode="reflect") + F.pad(x, [1, 1, 2, 2], value=0.5),
    "every second": lambda x: x[:, :, ::2, 1::2],
    "mean of space": lambda x: x - x.mean((2, 3), keepdim=True),
    "max of space": lambda x: x - torch.amax(x, dim=(2, 3), keepdim=True),
    "sum of space": lambda x: x.sum(dim=[-1, -2]),
    "pool of the size": lambda x: F.avg_pool2d(x, x.shape[2:]),
    "max pool of the size": lambda x: x * F.max_pool2d(x, x.size()[2:]),
    "to a size": lambda x: F.interpolate(F.max_pool2d(x, 2), size=x.shape[2:], mode="bilinear"),
    "expand": lambda x: x + x.mean((2, 3), keepdim=True).expand_as(x),
    "permuted": lambda x: F.gelu(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2),
    "transposed back": lambda x: x.movedim(1, -1).movedim(-1, 1) * 2,
    "glu": lambda x: F.glu(x, 1),
    "where positive": lambda x: F.threshold(x, 0, 0),
    "functional dropout": lambda x: F.dropout(x, 0.5, training=False) + F.dropout2d(x, training=False),
    "types": lambda x: x.float().contiguous().to(torch.float32).clone() * 2,
    "assertion": lambda x: x * (1 if x.shape[1] == 4 else 0),
    "flattened": lambda x: F.adaptive_avg_pool2d(x, 1).flatten(1),
    "squeezed space": lambda x: F.adaptive_avg_pool2d(x, 1).squeeze(-1).squeeze(-1),
    "viewed": lambda x: x * F.adaptive_max_pool2d(x, 1).view(x.size(0), -1)[:, :, None, None],
    "tanh half": lambda x: 0.5 * (torch.tanh(x) + 1),
    "softmax": lambda x: x.softmax(dim=1),
    "log sum exp": lambda x: torch.log(torch.exp(x).sum(1, keepdim=True)),
    "constant channels": lambda x: torch.cat([x, torch.zeros_like(x[:, :1])], 1),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name):
    check(seeded(Call, FUNCTIONS[name]), (1, 1, 8, 12))


WITH_VALUES = {
    "scale": (lambda x, v: x * v, (1, 3, 1, 1)),
    "scale of all": (lambda x, v: v * x, (1,)),
    "shift": (lambda x, v: x + v, (3, 1, 1)),
    "less": (lambda x, v: x - v, (1, 3, 1, 1)),
    "from": (lambda x, v: v - x, (1, 3, 1, 1)),
    "over": (lambda x, v: x / v, (1, 3, 1, 1)),
    "computed": (lambda x, v: x * torch.exp(v).view(1, 3, 1, 1), (3,)),
    "channel of last axis": (lambda x, v: (x.permute(0, 2, 3, 1) * v).permute(0, 3, 1, 2), (3,)),
    "kernel": (lambda x, v: F.conv2d(x, v.expand(3, 1, 3, 3), padding=1, groups=3), (3, 1, 1, 1)),
}


@pytest.mark.parametrize("trainable", [False, True])
@pytest.mark.parametrize("name", WITH_VALUES)
def test_own_values(name, trainable):
    function, shape = WITH_VALUES[name]
    value = torch.rand(shape, generator=torch.Generator().manual_seed(0)) + 0.5
    model = check(Own(function, value, trainable), SHAPE[2])
    assert bool(model.prediction_node.all_trainable_params) == trainable


def test_what_is_computed_from_parameters_is_trained():
    model = imported(parametrizations.weight_norm(nn.Conv2d(1, 2, 3)), (1, 1, 8, 8))
    assert len(model.prediction_node.all_trainable_params) == 2


def test_constant_weights_stay_constant():
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 1))
    module[0].requires_grad_(False)
    model = imported(module, (1, 1, 8, 8))
    assert sum(p.get_value().size for p in model.prediction_node.all_trainable_params.values()) == 6


def test_layers_that_are_used_twice_share_their_weights():
    conv = parametrizations.weight_norm(nn.Conv2d(2, 2, 3, padding=1))
    for layer in (nn.Conv2d(2, 2, 3, padding=1), conv):
        model = check(nn.Sequential(layer, nn.ReLU(), layer), (1, 2, 8, 8))
        assert model.import_report.parameters == 2 * 2 * 9 + 2


@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.bfloat16])
def test_modules_of_other_precision(kind):
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU()).to(kind)
    check(module, (1, 1, 8, 8))
    assert module[0].weight.dtype == kind


def test_modules_in_training_are_left_so():
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.9)).train()
    check(module, (1, 1, 8, 8))
    assert module.training and module[1].num_batches_tracked == 0


def test_examples_of_all_kinds_and_tags():
    module, values = nn.Conv3d(1, 2, 3), random((4, 1, 5, 6, 7))
    for example in (
        torch.from_numpy(values),
        values,
        (2, 1, 5, 6, 7),
        [1, 1, 5, 6, 7],
        np.array(values.shape).tolist(),
    ):
        model = imported(module, example, tags="b,f,z,x,y")
        assert model.prediction_node.shape.tags == ["b", "f", "z", "x", "y"]


def test_several_inputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(3, 2, 1)

        def forward(self, a, b):
            return self.one(a) + self.two(b)

    model = imported(seeded(Two), [(1, 1, 8, 8), (1, 3, 8, 8)])
    assert model.import_report.verified and len(model.prediction_node.input_nodes) == 2
