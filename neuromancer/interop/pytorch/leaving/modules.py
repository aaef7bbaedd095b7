"""Modules for what torch.nn has no module for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neuromancer.nodes.batchnorm import EPSILON, KEEP, ROUNDING, TINY_VARIANCE


class ResponseNorm(nn.Module):
    """Batch normalisation of a layer: ``weight * (x - mean) / std + bias``, by standard deviations.

    In training, `mean` and `std` are those of the batch, and the running ones move towards them by 0.0005.

    Parameters
    ----------
    axis, ndim : int
        Axis of the features, and number of axes.
    rate : float
        1 normalises, 0 does not.
    frozen : bool
        Use the running statistics in training, too.
    """

    def __init__(self, weight: nn.Parameter, bias: nn.Parameter, mean: Tensor, std: Tensor, axis: int, ndim: int,
                 rate: float = 1.0, fading: bool = False, frozen: bool = False) -> None:  # fmt: skip
        super().__init__()
        self.weight, self.bias = weight, bias
        self.register_buffer("running_mean", mean)
        self.register_buffer("running_std", std)
        self.axis, self.ndim, self.rate, self.fading, self.frozen = axis, ndim, rate, fading, frozen

    def forward(self, x: Tensor) -> Tensor:
        if self.training and not self.frozen:
            deviations, mean, std = self._centred(x)
            self._track(mean, std)
        else:
            mean, std = self.running_mean, self.running_std
            deviations = x - self._spread(mean)
        gamma = self.weight
        if self.fading:
            deviations = self.rate * deviations + (1 - self.rate) * x
            std, gamma = self.rate * std + (1 - self.rate), self.rate * gamma + (1 - self.rate)
        return deviations * self._spread(gamma / std) + self._spread(self.bias)

    def _spread(self, v: Tensor) -> Tensor:
        return v.reshape([-1 if k == self.axis else 1 for k in range(self.ndim)])

    def _centred(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Deviations from the mean, mean, and standard deviation; constant features get no gradient through them."""
        others = [k for k in range(self.ndim) if k != self.axis]
        origin = x.detach().movedim(self.axis, 0).flatten(1)[:, 0]
        distance = x - self._spread(origin)
        shift = distance.mean(others)
        deviations = distance - self._spread(shift)
        variance = (deviations**2).mean(others)
        mean = origin + shift
        constant = variance < (ROUNDING * torch.finfo(x.dtype).eps * mean) ** 2
        variance = torch.where(constant, variance.detach(), variance)
        deviations = torch.where(self._spread(constant), deviations.detach(), deviations)
        return deviations, mean, torch.sqrt(variance.clamp(min=TINY_VARIANCE)) + EPSILON

    def _track(self, mean: Tensor, std: Tensor) -> None:
        with torch.no_grad():
            self.running_mean.mul_(KEEP).add_(mean.detach(), alpha=1 - KEEP)
            self.running_std.mul_(KEEP).add_(std.detach(), alpha=1 - KEEP)


class FrozenBatchNorm1d(nn.BatchNorm1d):
    """Batch normalisation by fixed statistics, in training, too."""

    def train(self, mode: bool = True) -> FrozenBatchNorm1d:
        return super().train(False)


class FrozenBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation by fixed statistics, in training, too."""

    def train(self, mode: bool = True) -> FrozenBatchNorm2d:
        return super().train(False)


class FrozenBatchNorm3d(nn.BatchNorm3d):
    """Batch normalisation by fixed statistics, in training, too."""

    def train(self, mode: bool = True) -> FrozenBatchNorm3d:
        return super().train(False)


class FeatureDropout(nn.Module):
    """Dropout of whole features, the same for all items of the batch and all positions."""

    def __init__(self, p: float, axis: int) -> None:
        super().__init__()
        self.p, self.axis = p, axis

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        gate = F.dropout(torch.ones(x.shape[self.axis], dtype=x.dtype, device=x.device), self.p, True)
        return x * gate.reshape([-1 if k == self.axis else 1 for k in range(x.ndim)])


class FaithlessConcat(nn.Module):
    """Concatenation of two tensors, one of which is replaced by zeros at random in training."""

    def __init__(self, axis: int, failing_prob: float, hardeasy_ratio: float) -> None:
        super().__init__()
        self.axis, self.failing_prob, self.hardeasy_ratio = axis, failing_prob, hardeasy_ratio

    def forward(self, hard: Tensor, easy: Tensor) -> Tensor:
        if self.training:
            draw = torch.rand(2, device=hard.device)
            fails, hard_fails = draw[0] < self.failing_prob, draw[1] < self.hardeasy_ratio
            hard = hard * (~(fails & hard_fails)).to(hard.dtype)
            easy = easy * (~(fails & ~hard_fails)).to(easy.dtype)
        return torch.cat([hard, easy], self.axis)


class AveragePool(nn.Module):
    """Average over windows with any padding.

    Parameters
    ----------
    ends : sequence of (int, int)
        Padding per axis.
    slack : sequence of int
        How far the last window may reach beyond it.
    counted : bool
        Whether averages count the padding.
    """

    def __init__(self, size: Sequence[int], stride: Sequence[int], ends: Sequence[tuple[int, int]],
                 slack: Sequence[int], counted: bool) -> None:  # fmt: skip
        super().__init__()
        self.size, self.stride, self.counted = list(size), list(stride), counted
        self.ends = [n for pair in reversed(ends) for n in pair]
        self.slack = [n for s in reversed(slack) for n in (0, s)]

    def forward(self, x: Tensor) -> Tensor:
        inside = torch.ones_like(x[:1, :1])
        inside = F.pad(F.pad(inside, self.ends, value=float(self.counted)), self.slack)
        return self._mean(F.pad(F.pad(x, self.ends), self.slack)) / self._mean(inside)

    def _mean(self, x: Tensor) -> Tensor:
        pool: Any = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[len(self.size) - 1]
        return pool(x, self.size, self.stride)


class BorderPad(nn.Module):
    """Pad axes of any position and dtype with voxels of the image.

    Parameters
    ----------
    ends : dict of int to (int, int)
    border : {'reflect', 'replicate'}
    """

    def __init__(self, ends: dict[int, tuple[int, int]], border: str) -> None:
        super().__init__()
        self.ends, self.border = dict(ends), border

    def forward(self, x: Tensor) -> Tensor:
        for axis, (before, after) in self.ends.items():
            n = x.shape[axis]
            place = torch.arange(-before, n + after, device=x.device)
            if self.border == "reflect":
                place = (n - 1) - ((n - 1) - place.abs()).abs()
            x = x.index_select(axis, place.clamp(0, n - 1))
        return x
