"""Concatenation of images along the channels, on the CPU in single precision, and images that are read in parts."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch

from neuromancer.engine.pytensor.kernels.layout import copy_to
from neuromancer.engine.pytensor.kernels.memory import LARGE, empty


class Parts:
    """Images that are read as if they were one, concatenated along the channels.

    Attributes
    ----------
    images : tuple of Tensor, (b, c, *spatial)
    shape : tuple of int
    dtype, device
        Of the first one.

    Raises
    ------
    RuntimeError
        If they do not fit one another.
    """

    def __init__(self, images: Sequence[torch.Tensor]) -> None:
        self.images = tuple(images)
        first = images[0]
        if any(x.shape[:1] + x.shape[2:] != first.shape[:1] + first.shape[2:] for x in images):
            torch.cat(list(images), 1)  # raises the error
        self.shape = (first.shape[0], sum(x.shape[1] for x in images), *first.shape[2:])
        self.dtype, self.device = first.dtype, first.device

    def joined(self, channels_last: bool | None = None) -> torch.Tensor:
        """Return a single image.

        Parameters
        ----------
        channels_last : bool, optional
            Memory format of a large one; by default that of most values, so that fewest have to be rearranged.
        """
        b, c, *spatial = self.shape
        size = b * c * prod(spatial)
        if 4 * size < LARGE or any(x.dtype != torch.float32 or x.device.type != "cpu" for x in self.images):
            return torch.cat(self.images, 1)
        if channels_last is None:
            channels_last = 2 * sum(x.numel() for x in self.images if x.stride(1) == 1 < x.shape[1]) > size
        result = empty(b, *spatial, c).movedim(-1, 1) if channels_last else empty(b, c, *spatial)
        done = 0
        for x in self.images:
            copy_to(result.narrow(1, done, x.shape[1]), x)
            done += x.shape[1]
        return result


def whole(x: torch.Tensor | Parts) -> torch.Tensor:
    """Return an image, which may be in parts, as a single one: then, if it is large, in the channels-last format."""
    return x.joined(channels_last=True) if isinstance(x, Parts) else x
