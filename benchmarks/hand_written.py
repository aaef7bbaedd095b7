"""The benchmark network in plain torch: what somebody would write without this library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

EPS = 1e-5


@dataclass
class Layer:
    """Weights of a convolution, its pool, and whether a rectifier follows."""

    w: Tensor
    b: Tensor
    pool: tuple[int, ...]
    relu: bool


class HandWritten:
    """Chain of convolution, max-pooling, bias, rectifier; softmax at the end; Adam by hand.

    Parameters
    ----------
    weights : sequence of (w, b), numpy
        As the nodes keep them: kernels of true convolution, so flipped here.
    pools : sequence of tuple of int
    channels_last : bool
        Keep images and kernels in the memory format that CPU convolutions prefer; for prediction only.
    """

    def __init__(
        self,
        weights: Sequence[tuple[np.ndarray, np.ndarray]],
        pools: Sequence[tuple[int, ...]],
        channels_last: bool = False,
    ) -> None:
        self.format = torch.channels_last_3d if channels_last else torch.contiguous_format
        self.layers = []
        for i, ((w, b), pool) in enumerate(zip(weights, pools, strict=True)):
            flipped = w[:, :, ::-1, ::-1, ::-1].copy()
            kernel = torch.tensor(flipped).contiguous(memory_format=self.format)
            params = [kernel.requires_grad_(), torch.tensor(b, requires_grad=True)]
            self.layers.append(Layer(params[0], params[1], pool, i + 1 < len(weights)))
        self.params = [p for layer in self.layers for p in (layer.w, layer.b)]
        self.optimiser = torch.optim.Adam(self.params, lr=1e-4)

    def _logits(self, x: Tensor, dense: bool) -> Tensor:
        dilation = (1, 1, 1)
        for layer in self.layers:
            x = F.conv3d(x, layer.w, None, dilation=dilation)
            if max(layer.pool) > 1:
                x = F.max_pool3d(x, layer.pool, stride=1 if dense else layer.pool, dilation=dilation)
                if dense:
                    dilation = tuple(d * p for d, p in zip(dilation, layer.pool, strict=True))  # type: ignore[assignment]
            x = x + layer.b.view(1, -1, 1, 1, 1)
            x = F.relu(x) if layer.relu else x
        return x

    def _image(self, x: np.ndarray) -> Tensor:
        return torch.from_numpy(x).contiguous(memory_format=self.format)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Probabilities for a patch, (b, f, z, x, y)."""
        with torch.inference_mode():
            return torch.softmax(self._logits(self._image(x), dense=False), 1).numpy()

    def predict_dense(self, raw: np.ndarray) -> np.ndarray:
        """Probabilities at every position of (f, z, x, y), by dilation."""
        with torch.inference_mode():
            return torch.softmax(self._logits(self._image(raw[None]), dense=True), 1)[0].numpy()

    def trainingstep(self, x: np.ndarray, labels: np.ndarray) -> float:
        """One step of Adam; the loss before it."""
        self.optimiser.zero_grad()
        p = torch.softmax(self._logits(torch.from_numpy(x), dense=False), 1)
        picked = p.gather(1, torch.from_numpy(labels.astype("int64")))
        loss = -torch.log(picked + EPS).mean()
        loss.backward()
        self.optimiser.step()
        return float(loss.detach())
