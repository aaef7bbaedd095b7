"""The benchmark networks in plain torch, as one would write them without this library."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy

import common  # noqa: F401  (the path of an uninstalled checkout)
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import neuromancer as nm

Weights = Sequence[tuple[np.ndarray, np.ndarray]]
"""Kernel and bias of every layer, in the order of evaluation. Kernels are correlated, not flipped."""
LR = 1e-4


def weights_of(model: nm.Model) -> Weights:
    """Kernels as torch takes them: convolutions flip theirs, up-convolutions have inputs and outputs exchanged."""
    weights = []
    for node in model.nodes.values():
        if isinstance(node, (nm.Conv, nm.UpConv)):
            w, b = (node.params[key].get_value() for key in ("w", "b"))
            w = w.swapaxes(0, 1) if isinstance(node, nm.UpConv) else np.flip(w, tuple(range(2, w.ndim)))
            weights.append((w.copy(), b))
    return weights


class HandWritten:
    """A network with softmax output, trained by ``torch.optim.AdamW`` without decay.

    Parameters
    ----------
    weights : Weights
    memory_format : torch.memory_format
        Memory format of kernels and inputs.
    """

    device = "cpu"

    def __init__(self, weights: Weights, memory_format: torch.memory_format = torch.contiguous_format) -> None:
        self.memory_format = memory_format
        self.layers: list[tuple[Tensor, ...]] = [
            (
                torch.tensor(w).contiguous(memory_format=memory_format).requires_grad_(),
                torch.tensor(b, requires_grad=True),
            )
            for w, b in weights
        ]
        self.optimiser = adam([p for layer in self.layers for p in layer])

    def logits(self, x: Tensor, dense: bool = False) -> Tensor:
        """Return the class scores, (b, f, z, x, y)."""
        raise NotImplementedError

    def _input(self, x: np.ndarray) -> Tensor:
        return torch.from_numpy(x).to(self.device).contiguous(memory_format=self.memory_format)

    def to(self, device: str) -> HandWritten:
        """Move the network to a device; return it."""
        self.device = device
        self.layers = [tuple(p.detach().to(device).requires_grad_() for p in layer) for layer in self.layers]
        self.optimiser = adam([p for layer in self.layers for p in layer])
        return self

    def compiled(self) -> HandWritten:
        """Let ``torch.compile`` translate the network for the sizes that it gets; return it."""
        torch.compiler.reset()
        self.logits = torch.compile(self.logits, dynamic=False)  # type: ignore[method-assign]
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return the probabilities for a patch, (b, f, z, x, y)."""
        with torch.inference_mode():
            return torch.softmax(self.logits(self._input(x)), 1).cpu().numpy()

    def predict_dense(self, raw: np.ndarray) -> np.ndarray:
        """Return the probabilities at every position of (f, z, x, y), by dilation."""
        with torch.inference_mode():
            return torch.softmax(self.logits(self._input(raw[None]), dense=True), 1)[0].cpu().numpy()

    def trainingstep(self, x: np.ndarray, labels: np.ndarray) -> float:
        """Run one step; return the loss before it."""
        self.optimiser.zero_grad()
        classes = torch.from_numpy(labels[:, 0].astype("int64")).to(self.device)
        loss = F.cross_entropy(self.logits(self._input(x)), classes)
        loss.backward()
        self.optimiser.step()
        return float(loss.detach())


def adam(parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
    """Return the optimiser ``AdamW`` of neuromancer in torch's fastest implementation."""
    return torch.optim.AdamW(parameters, lr=LR, weight_decay=0, fused=True)


class Wrapped(HandWritten):
    """A copy of a torch module that returns class scores.

    Parameters
    ----------
    module : torch.nn.Module
    memory_format : torch.memory_format
    """

    def __init__(self, module: nn.Module, memory_format: torch.memory_format = torch.contiguous_format) -> None:
        self.memory_format = memory_format
        self.module = deepcopy(module).train().to(memory_format=memory_format)
        self.optimiser = adam(list(self.module.parameters()))

    def to(self, device: str) -> HandWritten:
        """Move the module to a device; return it."""
        self.device = device
        self.module.to(device)
        self.optimiser = adam(list(self.module.parameters()))
        return self

    def logits(self, x: Tensor, dense: bool = False) -> Tensor:
        """Return the class scores; `dense` is ignored."""
        return self.module(x)


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
