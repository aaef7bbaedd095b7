"""Networks that people have, in torch, written after their published descriptions; weights are random."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


def of_rank(kind: str, ndim: int) -> Any:
    """Return a layer class for a number of spatial axes, e.g. ``of_rank('Conv', 2)``."""
    return getattr(nn, f"{kind}{ndim}d")


class MeshNet(nn.Sequential):
    """Dilated convolutions of one width and a classifier (Fedorov et al. 2017), as in the project brainchop."""

    DILATIONS = (1, 2, 4, 8, 16, 8, 4, 2, 1)

    def __init__(
        self, channels: int, activation: type[nn.Module], classes: int = 3, dilations: Sequence[int] = DILATIONS
    ) -> None:
        layers: list[nn.Module] = []
        n_in = 1
        for dilation in dilations:
            layers += [nn.Conv3d(n_in, channels, 3, padding=dilation, dilation=dilation), activation()]
            n_in = channels
        super().__init__(*layers, nn.Conv3d(channels, classes, 1))


class PlainConvUNet(nn.Module):
    """U-Net of nnU-Net (Isensee et al. 2021): two convolutions per stage, strides instead of pools."""

    WIDTHS = (32, 64, 128, 256, 320, 320)

    def __init__(self, widths: Sequence[int] = WIDTHS, classes: int = 3) -> None:
        super().__init__()
        n_in = [1, *widths[:-1]]
        self.encoder = nn.ModuleList(
            nn.Sequential(*self._unit(a, b, 2 if i else 1), *self._unit(b, b, 1))
            for i, (a, b) in enumerate(zip(n_in, widths, strict=True))
        )
        pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.up = nn.ModuleList(nn.ConvTranspose3d(coarse, fine, 2, 2) for coarse, fine in pairs)
        self.decoder = nn.ModuleList(
            nn.Sequential(*self._unit(2 * fine, fine, 1), *self._unit(fine, fine, 1)) for _, fine in pairs
        )
        self.head = nn.Conv3d(widths[0], classes, 1)

    @staticmethod
    def _unit(n_in: int, n_out: int, stride: int) -> list[nn.Module]:
        conv = nn.Conv3d(n_in, n_out, 3, stride, padding=1)
        return [conv, nn.InstanceNorm3d(n_out, affine=True), nn.LeakyReLU(0.01)]

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)
        skips.pop()
        for up, stage in zip(self.up, self.decoder, strict=True):
            x = stage(torch.cat([up(x), skips.pop()], 1))
        return self.head(x)


class PaddedUNet(nn.Module):
    """Zero-padded convolutions, max-pooling, transposed convolutions by 2: the U-Net of many tutorials.

    Parameters
    ----------
    ndim : int
        Number of spatial axes.
    widths : sequence of int
        Features per level.
    norm : bool
        Batch normalisation between convolution and ReLU.
    """

    def __init__(self, ndim: int, widths: Sequence[int], norm: bool = False, classes: int = 2) -> None:
        super().__init__()
        self.norm = norm
        self.pool = of_rank("MaxPool", ndim)(2)
        self.down = nn.ModuleList(self._pair(a, b, ndim) for a, b in zip([1, *widths[:-1]], widths, strict=True))
        pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.widen = nn.ModuleList(of_rank("ConvTranspose", ndim)(coarse, fine, 2, 2) for coarse, fine in pairs)
        self.up = nn.ModuleList(self._pair(2 * fine, fine, ndim) for _, fine in pairs)
        self.head = of_rank("Conv", ndim)(widths[0], classes, 1)

    def _pair(self, n_in: int, n_out: int, ndim: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for n in (n_in, n_out):
            layers.append(of_rank("Conv", ndim)(n, n_out, 3, padding=1))
            layers += [of_rank("BatchNorm", ndim)(n_out)] if self.norm else []
            layers.append(nn.ReLU())
        return nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for level, stage in enumerate(self.down):
            x = stage(self.pool(x) if level else x)
            skips.append(x)
        skips.pop()
        for widen, stage in zip(self.widen, self.up, strict=True):
            x = stage(torch.cat([skips.pop(), widen(x)], 1))
        return self.head(x)


class MedNeXtBlock(nn.Module):
    """Depthwise convolution, normalisation per channel, and a bottleneck turned inside out (Roy et al. 2023)."""

    def __init__(self, n_in: int, n_out: int, stride: int = 1, expansion: int = 2) -> None:
        super().__init__()
        self.residual = n_in == n_out and stride == 1
        self.body = nn.Sequential(
            nn.Conv3d(n_in, n_in, 3, stride, padding=1, groups=n_in),
            nn.GroupNorm(n_in, n_in),
            nn.Conv3d(n_in, expansion * n_in, 1),
            nn.GELU(),
            nn.Conv3d(expansion * n_in, n_out, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.residual else self.body(x)


class MedNeXt(nn.Module):
    """Two levels of such blocks."""

    def __init__(self, width: int = 32, classes: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv3d(1, width, 1)
        self.fine = nn.Sequential(*(MedNeXtBlock(width, width) for _ in range(2)))
        self.coarse = nn.Sequential(
            MedNeXtBlock(width, 2 * width, 2), *(MedNeXtBlock(2 * width, 2 * width, expansion=3) for _ in range(2))
        )
        self.widen = nn.ConvTranspose3d(2 * width, width, 2, 2)
        self.last = nn.Sequential(MedNeXtBlock(width, width), nn.Conv3d(width, classes, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.fine(self.stem(x))
        return self.last(x + self.widen(self.coarse(x)))


def one_channel(width: int = 32) -> nn.Module:
    """Return a network whose work is its first layer, which sees a single channel."""
    return nn.Sequential(nn.Conv3d(1, width, 5, padding=2), nn.ReLU(), nn.Conv3d(width, 2, 1))


def monai_unet(widths: Sequence[int] = (16, 32, 64, 128, 256)) -> nn.Module:
    """Return MONAI's UNet as in its tutorials: strides of 2, two residual units, instance norm, PReLU."""
    from monai.networks.nets import UNet

    return UNet(3, 1, 2, tuple(widths), (2,) * (len(widths) - 1), num_res_units=2)


def segresnet(width: int = 16) -> nn.Module:
    """Return MONAI's SegResNet with the stages of its BraTS tutorial, for one channel."""
    from monai.networks.nets import SegResNet

    return SegResNet(3, width, 1, 3, blocks_down=(1, 2, 2, 4), blocks_up=(1, 1, 1))
