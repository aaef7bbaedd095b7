"""U-Nets of PyTorch as people have them, written after their papers, with few features."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def of_rank(kind: str, ndim: int) -> Any:
    """Return a layer class for a number of spatial axes, e.g. ``of_rank('Conv', 2)``."""
    return getattr(nn, f"{kind}{ndim}d")


# ---- encoder and decoder with group normalisation, as in pytorch-3dunet
class GroupNormConv(nn.Sequential):
    """Group normalisation (at most 8 groups), convolution without bias, ReLU."""

    def __init__(self, n_in: int, n_out: int, ndim: int = 3) -> None:
        groups = 8 if n_in % 8 == 0 else 1
        conv = of_rank("Conv", ndim)(n_in, n_out, 3, padding=1, bias=False)
        super().__init__(nn.GroupNorm(groups, n_in), conv, nn.ReLU(inplace=True))


class ScSE(nn.Module):
    """Squeeze-excite of channels and of space, the larger of both (Roy et al. 2018)."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.squeeze, self.one, self.two = nn.AdaptiveAvgPool3d(1), nn.Linear(n, n // 2), nn.Linear(n // 2, n)
        self.space = nn.Conv3d(n, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        batch, n = x.shape[:2]
        channels = self.squeeze(x).view(batch, n)
        channels = torch.sigmoid(self.two(F.relu(self.one(channels)))).view(batch, n, 1, 1, 1)
        return x * channels + x * torch.sigmoid(self.space(x))


class ResidualBlock(nn.Module):
    """Three convolutions, the first one beside the others."""

    def __init__(self, n_in: int, n_out: int, se: bool) -> None:
        super().__init__()
        self.first = nn.Conv3d(n_in, n_out, 1) if n_in != n_out else nn.Identity()
        self.body = nn.Sequential(
            GroupNormConv(n_out, n_out), nn.GroupNorm(1, n_out), nn.Conv3d(n_out, n_out, 3, padding=1)
        )
        self.last = nn.ELU(inplace=True)
        self.se = ScSE(n_out) if se else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        residual = self.first(x)
        out = self.body(residual)
        out += residual
        return self.se(self.last(out))


class UNet3D(nn.Module):
    """Max-pooling, nearest interpolation to the size of the skip, concatenation (Çiçek et al. 2016)."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.down1 = nn.Sequential(GroupNormConv(1, width // 2), GroupNormConv(width // 2, width))
        self.pool = nn.MaxPool3d(2)
        self.down2 = nn.Sequential(GroupNormConv(width, width), GroupNormConv(width, 2 * width))
        self.up = nn.Sequential(GroupNormConv(3 * width, width), GroupNormConv(width, width))
        self.final = nn.Conv3d(width, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.down1(x)
        coarse = self.down2(self.pool(fine))
        coarse = F.interpolate(coarse, size=fine.size()[2:], mode="nearest")
        return torch.sigmoid(self.final(self.up(torch.cat((fine, coarse), dim=1))))


class ResidualUNet3D(nn.Module):
    """Transposed convolution to the size of the skip, and sums instead of concatenations (Lee et al. 2017)."""

    def __init__(self, width: int = 8, se: bool = False) -> None:
        super().__init__()
        self.down1, self.down2 = ResidualBlock(1, width, se), ResidualBlock(width, 2 * width, se)
        self.pool = nn.MaxPool3d(2)
        self.widen = nn.ConvTranspose3d(2 * width, width, 3, stride=2, padding=1, bias=False)
        self.up = ResidualBlock(width, width, se)
        self.final = nn.Conv3d(width, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.down1(x)
        coarse = self.down2(self.pool(fine))
        coarse = self.widen(coarse, output_size=fine.size()[2:])
        return self.final(self.up(fine + coarse)).softmax(dim=1)


# ---- batch normalisation and cropping
def batch_norm_convs(n_in: int, n_out: int, ndim: int, kernel: Any = 3, padding: Any = 1) -> nn.Sequential:
    """Two convolutions with batch normalisation and ReLU."""
    layers: list[nn.Module] = []
    for n in (n_in, n_out):
        layers += [of_rank("Conv", ndim)(n, n_out, kernel, padding=padding), of_rank("BatchNorm", ndim)(n_out)]
        layers.append(nn.ReLU())
    return nn.Sequential(*layers)


def centre_crop(x: Tensor, like: Tensor) -> Tensor:
    """Cut `x` to the spatial size of `like`."""
    for axis in range(2, x.ndim):
        start = (x.shape[axis] - like.shape[axis]) // 2
        x = x.narrow(axis, start, like.shape[axis])
    return x


class CroppingUNet(nn.Module):
    """Max-pooling with ceil_mode, transposed convolution, crop to the smaller; a planar block at first."""

    def __init__(self, ndim: int = 3, width: int = 4, planar: bool = False, valid: bool = False) -> None:
        super().__init__()
        flat = (1, *(3,) * (ndim - 1)) if planar else 3
        step: Any = (1, *(2,) * (ndim - 1)) if planar else 2
        same: Any = 0 if valid else tuple(k // 2 for k in flat) if planar else 1
        self.down1 = batch_norm_convs(1, width, ndim, flat, same)
        self.pool = of_rank("MaxPool", ndim)(step, ceil_mode=True)
        self.down2 = batch_norm_convs(width, 2 * width, ndim, 3, 0 if valid else 1)
        self.widen = of_rank("ConvTranspose", ndim)(2 * width, width, step, stride=step)
        self.norm = of_rank("BatchNorm", ndim)(width)
        self.up = batch_norm_convs(2 * width, width, ndim, flat, same)
        self.final = of_rank("Conv", ndim)(width, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.down1(x)
        coarse = F.relu(self.norm(self.widen(self.down2(self.pool(fine)))))
        for axis in range(2, coarse.ndim):  # ceil_mode may leave one voxel too many
            coarse = coarse.narrow(axis, 0, min(coarse.shape[axis], fine.shape[axis]))
        return self.final(self.up(torch.cat((centre_crop(fine, coarse), coarse), 1)))


class ValidUNet(nn.Module):
    """Valid convolutions, crops by slicing (Funke et al. 2018); nearest or transposed up-sampling."""

    def __init__(self, ndim: int = 3, width: int = 3, nearest: bool = True, factor: Any = 2) -> None:
        super().__init__()
        conv = of_rank("Conv", ndim)
        self.down = nn.Sequential(conv(1, width, 3), nn.ReLU(), conv(width, width, 3), nn.ReLU())
        self.pool = of_rank("MaxPool", ndim)(factor, stride=factor)
        self.bottom = nn.Sequential(conv(width, 2 * width, 3), nn.ReLU(), conv(2 * width, 2 * width, 3), nn.ReLU())
        self.widen: nn.Module = (
            nn.Upsample(scale_factor=factor, mode="nearest")
            if nearest
            else of_rank("ConvTranspose", ndim)(2 * width, 2 * width, factor, stride=factor)
        )
        self.up = nn.Sequential(conv(3 * width, width, 3), nn.ReLU(), conv(width, 2, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        fine = self.down(x)
        coarse = self.widen(self.bottom(self.pool(fine)))
        starts = [(a - b) // 2 for a, b in zip(fine.shape[2:], coarse.shape[2:], strict=True)]
        ranges = [slice(s, s + n) for s, n in zip(starts, coarse.shape[2:], strict=True)]
        return self.up(torch.cat([fine[(slice(None), slice(None), *ranges)], coarse], dim=1))


class LinearUNet(nn.Module):
    """Instance normalisation without weights before convolutions, linear interpolation and a 1x1 convolution."""

    def __init__(self, ndim: int = 2, width: int = 4, factor: Any = 2, norm: bool = True) -> None:
        super().__init__()

        def convs(n_in: int, n_out: int) -> nn.Sequential:
            layers: list[nn.Module] = []
            for n in (n_in, n_out):
                layers += [of_rank("InstanceNorm", ndim)(n)] if norm else []
                layers += [of_rank("Conv", ndim)(n, n_out, 3, padding=1), nn.ReLU(inplace=True)]
            return nn.Sequential(*layers)

        self.factor, self.mode = factor, {1: "linear", 2: "bilinear", 3: "trilinear"}[ndim]
        self.down, self.bottom = convs(1, width), convs(width, 2 * width)
        self.pool = of_rank("MaxPool", ndim)(factor)
        self.narrow = of_rank("Conv", ndim)(2 * width, width, 1)
        self.up, self.out = convs(2 * width, width), of_rank("Conv", ndim)(width, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.down(x)
        coarse = F.interpolate(
            self.bottom(self.pool(fine)), scale_factor=self.factor, mode=self.mode, align_corners=False
        )
        return torch.sigmoid(self.out(self.up(torch.cat([self.narrow(coarse), fine], dim=1))))


# ---- ResNet encoder
class BasicBlock(nn.Module):
    """Two convolutions beside the identity (He et al. 2015)."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False), nn.BatchNorm2d(n_out)
        self.conv2, self.bn2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False), nn.BatchNorm2d(n_out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or n_in != n_out:
            self.downsample = nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += identity
        return self.relu(out)


class ResNetUNet(nn.Module):
    """U-Net with the encoder of ResNet-18 (2, 2, 2, 2) or ResNet-34 (3, 4, 6, 3), nearest x2 in the decoder."""

    def __init__(self, blocks: tuple[int, ...] = (2, 2, 2, 2), width: int = 4) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.layers, self.decoder, n = nn.ModuleList(), nn.ModuleList(), width
        skips = [width]
        for k, count in enumerate(blocks):
            wide = width * 2**k
            rows = [BasicBlock(n if i == 0 else wide, wide, 2 if k and i == 0 else 1) for i in range(count)]
            self.layers.append(nn.Sequential(*rows))
            n = wide
            skips.append(n)
        for skip in [*skips[-2::-1], 0]:
            wide = max(width, n // 2)
            convs = [nn.Conv2d(n + skip, wide, 3, padding=1, bias=False), nn.BatchNorm2d(wide), nn.ReLU(inplace=True)]
            self.decoder.append(nn.Sequential(*convs))
            n = wide
        self.head = nn.Conv2d(n, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        features = [self.stem(x)]
        x = self.pool(features[0])
        for layer in self.layers:
            x = layer(x)
            features.append(x)
        for block, skip in zip(self.decoder, [*features[-2::-1], None], strict=True):
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            x = block(x if skip is None else torch.cat([x, skip], dim=1))
        return self.head(x)


# ---- others
class FixedUp(nn.Module):
    """Interpolation as a transposed convolution of every channel by itself, with constant weights."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose3d(n, n, (1, 4, 4), (1, 2, 2), (0, 1, 1), groups=n, bias=False)
        line = torch.tensor([0.25, 0.75, 0.75, 0.25])
        self.conv.weight.data = torch.outer(line, line).expand(n, 1, 1, 4, 4).clone()
        self.conv.weight.requires_grad = False

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class RSUNet(nn.Module):
    """Residual, symmetrical: sums, batch normalisation, ELU, pools in the plane (Lee et al. 2017)."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()

        def block(n_in: int, n_out: int) -> nn.Sequential:
            conv = nn.Conv3d(n_in, n_out, (1, 3, 3), padding=(0, 1, 1), bias=False)
            more = nn.Conv3d(n_out, n_out, 3, padding=1, bias=False)
            return nn.Sequential(conv, nn.BatchNorm3d(n_out), nn.ELU(), more, nn.BatchNorm3d(n_out), nn.ELU())

        self.down, self.bottom, self.up = block(1, width), block(width, 2 * width), block(width, width)
        self.pool = nn.MaxPool3d((1, 2, 2))
        self.widen = nn.Sequential(FixedUp(2 * width), nn.Conv3d(2 * width, width, 1))
        self.out = nn.Conv3d(width, 3, (1, 5, 5), padding=(0, 2, 2))

    def forward(self, x: Tensor) -> Tensor:
        fine = self.down(x)
        return self.out(self.up(self.widen(self.bottom(self.pool(fine))) + fine))


class AttentionUNet(nn.Module):
    """Gates on the skip (Oktay et al. 2018)."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.down, self.bottom = batch_norm_convs(1, width, 2), batch_norm_convs(width, 2 * width, 2)
        self.widen = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(2 * width, width, 3, 1, 1))
        self.gate, self.skip = nn.Conv2d(width, 2, 1), nn.Conv2d(width, 2, 1)
        self.psi = nn.Sequential(nn.Conv2d(2, 1, 1), nn.BatchNorm2d(1), nn.Sigmoid())
        self.up, self.out = batch_norm_convs(2 * width, width, 2), nn.Conv2d(width, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.down(x)
        coarse = self.widen(self.bottom(F.max_pool2d(fine, 2, 2)))
        gated = fine * self.psi(F.relu(self.gate(coarse) + self.skip(fine)))
        return self.out(self.up(torch.cat((gated, coarse), dim=1)))


class StyleUNet(nn.Module):
    """A global style vector added in the decoder (Stringer et al. 2021)."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.down, self.bottom = batch_norm_convs(2, width, 2), batch_norm_convs(width, 2 * width, 2)
        self.full = nn.Linear(2 * width, width)
        self.narrow, self.up = nn.Conv2d(2 * width, width, 1), batch_norm_convs(width, width, 2)
        self.out = nn.Conv2d(width, 3, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        fine = self.down(x)
        coarse = self.bottom(F.max_pool2d(fine, 2, 2))
        style = F.avg_pool2d(coarse, kernel_size=(coarse.shape[-2], coarse.shape[-1]))
        style = torch.flatten(style, 1)
        style = style / torch.sum(style**2, axis=1, keepdim=True) ** 0.5
        coarse = self.narrow(F.interpolate(coarse, scale_factor=2, mode="nearest")) + fine
        feature = self.full(style).unsqueeze(-1).unsqueeze(-1)
        return self.out(self.up(coarse + feature)), style
