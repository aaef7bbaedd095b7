"""Convolutions of images in parts, created only when a program for the CPU is built."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.op import Op

from neuromancer.errors import ShapeError


class ConvOfParts(Op):
    """A convolution of images as if they were concatenated along the channels.

    Attributes
    ----------
    conv : Conv, ConvBias or FusedConv
    image : Variable
        Of the type of the concatenated image.
    count : int
        Number of images.

    Parameters
    ----------
    conv : Apply
        Reads the concatenated image as its first operand.
    count : int
    """

    def __init__(self, conv: Apply, count: int) -> None:
        self.conv, self.image, self.count = conv.op, conv.inputs[0].type(), count

    def make_node(self, *operands: Variable) -> Apply:
        """Type the operands: the images, then those of the convolution but the first."""
        return Apply(self, list(operands), [self.of_whole(operands).outputs[0].type()])

    def of_whole(self, operands: Sequence[Variable]) -> Apply:
        """Return the convolution of the concatenated image, given the operands of this one."""
        return self.conv.make_node(self.image, *operands[self.count :])

    def check_shapes(self, shapes: Sequence[tuple[int, ...]]) -> None:
        """Raise ShapeError if images differ along other axes than the channels, or if the kernel does not fit."""
        images = shapes[: self.count]
        first = images[0]
        for shape in images:
            if shape[:1] + shape[2:] != first[:1] + first[2:]:
                raise ShapeError("images differ along other axes than the channels", where=str(self), got=list(images))
        check = getattr(self.conv, "check_shapes", None)
        if check is not None:
            channels = sum(shape[1] for shape in images)
            check([(first[0], channels, *first[2:]), *shapes[self.count :]])

    def perform(self, node: Apply, inputs: Sequence[Any], output_storage: Sequence[list[Any]]) -> None:
        """Compute on numpy arrays."""
        image = np.concatenate(inputs[: self.count], axis=1)
        self.conv.perform(self.of_whole(node.inputs), [image, *inputs[self.count :]], output_storage)

    def __str__(self) -> str:
        return f"{self.conv} of {self.count} parts"
