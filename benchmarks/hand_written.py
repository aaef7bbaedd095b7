"""The benchmark networks in plain torch, as one would write them without this library."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

EPS = 1e-5
Weights = Sequence[tuple[np.ndarray, np.ndarray]]
"""Kernel and bias of every layer, in the order of evaluation. Kernels are correlated, not flipped."""


class HandWritten:
    """A network with softmax output, trained by ``torch.optim.Adam``.

    Parameters
    ----------
    weights : Weights
    memory_format : torch.memory_format
        Memory format of kernels and inputs.
    """

    def __init__(self, weights: Weights, memory_format: torch.memory_format = torch.contiguous_format) -> None:
        self.memory_format = memory_format
        self.layers = [
            (
                torch.tensor(w).contiguous(memory_format=memory_format).requires_grad_(),
                torch.tensor(b, requires_grad=True),
            )
            for w, b in weights
        ]
        self.optimiser = torch.optim.Adam([p for layer in self.layers for p in layer], lr=1e-4)

    def logits(self, x: Tensor, dense: bool = False) -> Tensor:
        """Return the class scores, (b, f, z, x, y)."""
        raise NotImplementedError

    def _input(self, x: np.ndarray) -> Tensor:
        return torch.from_numpy(x).contiguous(memory_format=self.memory_format)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return the probabilities for a patch, (b, f, z, x, y)."""
        with torch.inference_mode():
            return torch.softmax(self.logits(self._input(x)), 1).numpy()

    def predict_dense(self, raw: np.ndarray) -> np.ndarray:
        """Return the probabilities at every position of (f, z, x, y), by dilation."""
        with torch.inference_mode():
            return torch.softmax(self.logits(self._input(raw[None]), dense=True), 1)[0].numpy()

    def trainingstep(self, x: np.ndarray, labels: np.ndarray) -> float:
        """Run one step of Adam; return the loss before it."""
        self.optimiser.zero_grad()
        p = torch.softmax(self.logits(self._input(x)), 1)
        picked = p.gather(1, torch.from_numpy(labels.astype("int64")))
        loss = -torch.log(picked + EPS).mean()
        loss.backward()
        self.optimiser.step()
        return float(loss.detach())


class Chain(HandWritten):
    """Chain of layers: convolution, max-pooling, bias, rectifier.

    Parameters
    ----------
    weights, memory_format
        See HandWritten.
    pools : sequence of tuple of int
    """

    def __init__(self, weights: Weights, pools: Sequence[tuple[int, ...]], **options: torch.memory_format) -> None:
        super().__init__(weights, **options)
        self.pools = pools

    def logits(self, x: Tensor, dense: bool = False) -> Tensor:
        """Return the class scores; `dense`: pools without stride, followed by dilated kernels."""
        conv, max_pool = (F.conv3d, F.max_pool3d) if x.ndim == 5 else (F.conv2d, F.max_pool2d)
        dilation = (1,) * (x.ndim - 2)
        for i, ((w, b), pool) in enumerate(zip(self.layers, self.pools, strict=True)):
            pooled = max(pool) > 1
            # The bias commutes with max-pooling; added by the convolution, it needs no extra pass over memory.
            x = conv(x, w, b, dilation=dilation)
            if pooled:
                x = max_pool(x, pool, stride=1 if dense else pool, dilation=dilation)
            if pooled and dense:
                dilation = tuple(d * p for d, p in zip(dilation, pool, strict=True))
            x = F.relu(x) if i + 1 < len(self.layers) else x
        return x


class UNet(HandWritten):
    """U-Net with pairs of valid convolutions, three levels of pooling and up-convolution by 2, and cropped skips."""

    def logits(self, x: Tensor, dense: bool = False) -> Tensor:
        """Return the class scores of a patch; `dense` is ignored."""
        layers = iter(self.layers)
        skips = []
        for _ in range(3):
            x = _pair(x, layers)
            skips.append(x)
            x = F.max_pool3d(x, 2)
        x = _pair(x, layers)
        for skip in reversed(skips):
            w, b = next(layers)
            x = F.relu(F.conv_transpose3d(x, w, b, stride=2))
            low = [(a - b) // 2 for a, b in zip(skip.shape[2:], x.shape[2:], strict=True)]
            inner = tuple(slice(a, a + n) for a, n in zip(low, x.shape[2:], strict=True))
            x = _pair(torch.cat([x, skip[(..., *inner)]], 1), layers)
        w, b = next(layers)
        return F.conv3d(x, w, b)


def _pair(x: Tensor, layers: Iterator[tuple[Tensor, Tensor]]) -> Tensor:
    for _ in range(2):
        w, b = next(layers)
        x = F.relu(F.conv3d(x, w, b))
    return x
