"""Other networks and blocks of PyTorch as people have them, written after their papers, with few features."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


# ---- atrous
class SeparableConv(nn.Sequential):
    """Depthwise dilated and pointwise convolution."""

    def __init__(self, n_in: int, n_out: int, dilation: int = 1) -> None:
        super().__init__(
            nn.Conv2d(n_in, n_in, 3, padding=dilation, dilation=dilation, groups=n_in, bias=False),
            nn.Conv2d(n_in, n_out, 1, bias=False),
            nn.BatchNorm2d(n_out),
            nn.ReLU(),
        )


class ImagePool(nn.Module):
    """Mean of the whole image, back at every pixel."""

    def __init__(self, n_in: int, n_out: int, align_corners: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(n_in, n_out, 1), nn.ReLU())
        self.align_corners = align_corners

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(self.body(x), size=x.shape[-2:], mode="bilinear", align_corners=self.align_corners)


class DeepLabV3Plus(nn.Module):
    """Atrous separable convolutions with or without a pool over the image (Chen et al. 2018)."""

    def __init__(self, align_corners: bool = True, image_pool: bool = True, width: int = 4) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU())
        self.deep = nn.Sequential(nn.Conv2d(width, 2 * width, 3, 2, 1), nn.BatchNorm2d(2 * width), nn.ReLU())
        self.branches = nn.ModuleList([nn.Sequential(nn.Conv2d(2 * width, width, 1), nn.ReLU())])
        self.branches += [SeparableConv(2 * width, width, rate) for rate in (2, 3)]
        if image_pool:
            self.branches.append(ImagePool(2 * width, width, align_corners))
        self.project = nn.Sequential(nn.Conv2d(width * len(self.branches), width, 1), nn.ReLU(), nn.Dropout(0.5))
        self.low, self.head = nn.Conv2d(width, 2, 1), SeparableConv(width + 2, width)
        self.out = nn.Conv2d(width, 3, 1)
        self.up = nn.UpsamplingBilinear2d(scale_factor=2)

    def forward(self, x: Tensor) -> Tensor:
        low = self.stem(x)
        high = self.deep(low)
        high = self.project(torch.cat([branch(high) for branch in self.branches], dim=1))
        high = F.interpolate(high, size=low.shape[2:], mode="bilinear", align_corners=self.align_corners)
        out = self.out(self.head(torch.cat([high, self.low(low)], dim=1)))
        if self.align_corners:
            return self.up(out)
        return F.interpolate(out, scale_factor=2, mode="bilinear", align_corners=False)


class MeshNet(nn.Sequential):
    """Dilated convolutions (Fedorov et al. 2017)."""

    def __init__(self, width: int = 4) -> None:
        layers: list[nn.Module] = []
        n = 1
        for dilation in (1, 2, 4, 1):
            layers += [nn.Conv3d(n, width, 3, padding=dilation, dilation=dilation), nn.BatchNorm3d(width)]
            layers += [nn.ReLU(inplace=True), nn.Dropout3d(0.1)]
            n = width
        super().__init__(*layers, nn.Conv3d(width, 3, 1))


# ---- blocks
class MedNeXtBlock(nn.Module):
    """Depthwise convolution, normalisation of every channel, expansion (Roy et al. 2023)."""

    def __init__(self, n: int = 4, expansion: int = 2) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(n, n, 5, padding=2, groups=n)
        self.norm = nn.GroupNorm(n, n)
        self.conv2, self.act = nn.Conv3d(n, expansion * n, 1), nn.GELU()
        self.conv3 = nn.Conv3d(expansion * n, n, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv3(self.act(self.conv2(self.norm(self.conv1(x)))))


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution, and linear layers over the last axis (Liu et al. 2022)."""

    def __init__(self, n: int = 4) -> None:
        super().__init__()
        self.depthwise, self.norm = nn.Conv2d(n, n, 7, padding=3, groups=n), nn.LayerNorm(n, eps=1e-6)
        self.wide, self.act, self.narrow = nn.Linear(n, 4 * n), nn.GELU(), nn.Linear(4 * n, n)
        self.gamma = nn.Parameter(torch.linspace(0.1, 1, n))

    def forward(self, x: Tensor) -> Tensor:
        out = self.depthwise(x).permute(0, 2, 3, 1)
        out = self.gamma * self.narrow(self.act(self.wide(self.norm(out))))
        return x + out.permute(0, 3, 1, 2)


class SqueezeExcite(nn.Module):
    """Channels weighted by what the whole image holds (Hu et al. 2018)."""

    def __init__(self, n: int = 4, ndim: int = 2) -> None:
        super().__init__()
        self.conv = getattr(nn, f"Conv{ndim}d")(1, n, 3, padding=1)
        self.pool = getattr(nn, f"AdaptiveAvgPool{ndim}d")(1)
        self.fc = nn.Sequential(nn.Linear(n, n // 2), nn.ReLU(inplace=True), nn.Linear(n // 2, n), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        b, c = x.shape[:2]
        return x * self.fc(self.pool(x).flatten(1)).view(b, c, *[1] * (x.ndim - 2))


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, projection; ReLU6 (MobileNetV2) or Hardswish (MobileNetV3)."""

    def __init__(self, n: int = 4, hard: bool = False, stride: int = 1) -> None:
        super().__init__()
        act: type[nn.Module] = nn.Hardswish if hard else nn.ReLU6
        self.body = nn.Sequential(
            nn.Conv2d(n, 2 * n, 1, bias=False), nn.BatchNorm2d(2 * n), act(),
            nn.Conv2d(2 * n, 2 * n, 3, stride, 1, groups=2 * n, bias=False), nn.BatchNorm2d(2 * n), act(),
        )  # fmt: skip
        self.squeeze = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(2 * n, n, 1), nn.ReLU(), nn.Conv2d(n, 2 * n, 1))
        self.scale = nn.Hardsigmoid()
        self.project = nn.Sequential(nn.Conv2d(2 * n, n, 1, bias=False), nn.BatchNorm2d(n))
        self.hard, self.add = hard, stride == 1

    def forward(self, x: Tensor) -> Tensor:
        out = self.body(x)
        if self.hard:
            out = out * self.scale(self.squeeze(out))
        out = self.project(out)
        return x + out if self.add else out


class DenseBlocks(nn.Module):
    """Every layer sees all earlier ones; transposed convolution cut to the skip (Jégou et al. 2017)."""

    def __init__(self, growth: int = 2, n_in: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(n_in, 4, 3, padding=1)
        self.down = nn.ModuleList([self.layer(4 + k * growth, growth) for k in range(3)])
        n = 4 + 3 * growth
        self.transition = nn.Sequential(
            nn.BatchNorm2d(n), nn.ReLU(inplace=True), nn.Conv2d(n, n, 1), nn.Dropout2d(0.2), nn.MaxPool2d(2)
        )
        self.bottom = nn.ModuleList([self.layer(n + k * growth, growth) for k in range(2)])
        self.up = nn.ConvTranspose2d(2 * growth, 2 * growth, 3, stride=2)
        self.out, self.log = nn.Conv2d(n + 2 * growth, 3, 1), nn.LogSoftmax(dim=1)

    @staticmethod
    def layer(n: int, growth: int) -> nn.Sequential:
        conv = nn.Conv2d(n, growth, 3, padding=1)
        return nn.Sequential(nn.BatchNorm2d(n), nn.ReLU(inplace=True), conv, nn.Dropout2d(0.2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for layer in self.down:
            x = torch.cat([x, layer(x)], 1)
        deep, new = self.transition(x), []
        for layer in self.bottom:
            out = layer(deep)
            deep = torch.cat([deep, out], 1)
            new.append(out)
        up = self.up(torch.cat(new, 1))
        top, left = (up.size(2) - x.size(2)) // 2, (up.size(3) - x.size(3)) // 2
        up = up[:, :, top : top + x.size(2), left : left + x.size(3)]
        return self.log(self.out(torch.cat([up, x], 1)))


# ---- several resolutions
class Fusion(nn.Module):
    """Branches at two resolutions that exchange what they see (Sun et al. 2019)."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.fine = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True))
        self.coarse = nn.Sequential(nn.Conv2d(width, 2 * width, 3, 2, 1), nn.BatchNorm2d(2 * width), nn.ReLU())
        self.down = nn.Sequential(nn.Conv2d(width, 2 * width, 3, 2, 1, bias=False), nn.BatchNorm2d(2 * width))
        self.up = nn.Sequential(
            nn.Conv2d(2 * width, width, 1, bias=False), nn.BatchNorm2d(width), nn.Upsample(scale_factor=2)
        )
        self.relu, self.out = nn.ReLU(), nn.Conv2d(3 * width, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.fine(x)
        coarse = self.coarse(fine)
        fine, coarse = self.relu(fine + self.up(coarse)), self.relu(self.down(fine) + coarse)
        sizes = fine.size()[-2:]
        coarse = F.interpolate(coarse, size=sizes, mode="bilinear", align_corners=False)
        return self.out(torch.cat([fine, coarse], 1))


class FPN(nn.Module):
    """Feature pyramid: coarse features, up-sampled, are added to finer ones (Lin et al. 2017)."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.bottom_up = nn.ModuleList([nn.Conv2d(1 if k == 0 else width, width, 3, 2, 1) for k in range(3)])
        self.lateral = nn.ModuleList([nn.Conv2d(width, width, 1) for _ in range(3)])
        self.smooth = nn.Conv2d(width, width, 3, padding=1)  # used for all levels

    def forward(self, x: Tensor) -> list[Tensor]:
        levels = []
        for conv in self.bottom_up:
            x = F.relu(conv(x))
            levels.append(x)
        top = self.lateral[-1](levels[-1])
        merged = [top]
        for lateral, level in zip(self.lateral[-2::-1], levels[-2::-1], strict=True):
            top = lateral(level) + F.interpolate(top, scale_factor=2, mode="nearest")
            merged.insert(0, top)
        return [self.smooth(m) for m in merged]


class ShuffleHead(nn.Module):
    """Sub-pixel convolution (Shi et al. 2016)."""

    def __init__(self, factor: int = 2) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 5, padding=2), nn.Tanh(), nn.Conv2d(4, 2 * factor**2, 3, padding=1))
        self.shuffle = nn.PixelShuffle(factor)

    def forward(self, x: Tensor) -> Tensor:
        return self.shuffle(self.body(x))


class Gated(nn.Module):
    """Half of the channels, weighted by the sigmoid of the others."""

    def __init__(self, n: int = 4, module: bool = False) -> None:
        super().__init__()
        self.conv, self.glu = nn.Conv1d(1, 2 * n, 3, padding=1), nn.GLU(dim=1) if module else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.glu is not None:
            return self.glu(x)
        value, gate = x.chunk(2, dim=1)
        return value * torch.sigmoid(gate)


class Normalising(nn.Module):
    """Statistics of the training images as buffers, and arithmetic with numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.4, 0.5, 0.6]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.2, 0.3, 0.4]).view(1, 3, 1, 1))
        self.conv = nn.Conv2d(3, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = (x - self.mean) / self.std
        return (1 - torch.tanh(self.conv(x * 0.5 + 1))) / 2


class Heads(nn.Module):
    """Several outputs."""

    def __init__(self, kind: type = dict) -> None:
        super().__init__()
        self.body, self.kind = nn.Conv2d(1, 4, 3, padding=1), kind
        self.one, self.two = nn.Conv2d(4, 2, 1), nn.Conv2d(4, 1, 1)

    def forward(self, x: Tensor) -> object:
        x = F.leaky_relu(self.body(x), 0.2)
        outputs = {"classes": self.one(x).softmax(1), "boundary": torch.sigmoid(self.two(x))}
        return outputs if self.kind is dict else self.kind(outputs.values())


class Twice(nn.Module):
    """The same layers, used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.act = nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2), nn.PReLU(2)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(2):
            x = self.act(self.norm(self.conv(x)))
        return x


class Classifier(nn.Module):
    """Convolutions, pools, and linear layers over all that is left."""

    def __init__(self, size: int = 16) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 4, 3), nn.ReLU())
        left = (size - 2) // 2 - 2
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(4 * left * left, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 3))

    def forward(self, x: Tensor) -> Tensor:
        return F.log_softmax(self.head(self.features(x)), dim=1)


class PooledClassifier(nn.Module):
    """Mean over the image, then a linear layer: takes images of any size."""

    def __init__(self, ndim: int = 2, by_mean: bool = False) -> None:
        super().__init__()
        conv, norm = getattr(nn, f"Conv{ndim}d"), getattr(nn, f"BatchNorm{ndim}d")
        self.features = nn.Sequential(conv(1, 4, 3, 2, 1, bias=False), norm(4), nn.SiLU())
        self.pool = None if by_mean else getattr(nn, f"AdaptiveAvgPool{ndim}d")(1)
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        x = x.mean(dim=tuple(range(2, x.ndim))) if self.pool is None else torch.flatten(self.pool(x), 1)
        return self.fc(x)
