"""Geometry of a patch and its target: sizes, offsets and strides per spatial axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from neuromancer.errors import GraphError, ShapeError, node_label
from neuromancer.graph.patches import patch_size_through, patch_source, require_patch_size
from neuromancer.graph.tagged_shape import exact

if TYPE_CHECKING:
    from neuromancer.nodes.node import Node


@dataclass(frozen=True)
class PatchFrame:
    """Geometry of the patch that a network takes and of the voxels that it predicts.

    All values are per spatial axis, in the order of the network's axes. For a 2-D network there is one more axis in
    front, of size 1: that of a stack of images. Output voxel i lies at ``offsets + strides * i`` in the patch.

    Parameters
    ----------
    label : str
        Label of the predicting node, for messages.
    tags : tuple of str
    sizes, offsets, strides, counts : tuple of int
        Size of the patch; offset, stride and number of the output voxels.
    stack : bool
        Whether the first axis is that of a stack.
    channels : int
        Number of channels of the raw data.
    dtype : str
        Dtype of the input.

    Examples
    --------
    >>> import neuromancer as nm
    >>> inp = nm.Input((1, 1, 9, 20), "b,f,z,x", print_repr=False)
    >>> frame = frame_of(nm.Conv(inp, 2, (2, 3), (1, 2), print_repr=False))
    >>> frame.offsets, frame.strides, frame.counts
    ((0, 1, 2), (1, 1, 2), (1, 8, 9))
    """

    label: str
    tags: tuple[str, ...]
    sizes: tuple[int, ...]
    offsets: tuple[int, ...]
    strides: tuple[int, ...]
    counts: tuple[int, ...]
    stack: bool
    channels: int
    dtype: str

    @property
    def ndim(self) -> int:
        """Number of axes, including that of a stack."""
        return len(self.sizes)

    @property
    def own(self) -> range:
        """The axes of the network itself."""
        return range(int(self.stack), self.ndim)

    def positions(self, axis: int) -> np.ndarray:
        """Return the positions of the output voxels in the patch along an axis."""
        return self.offsets[axis] + self.strides[axis] * np.arange(self.counts[axis])

    @property
    def centre(self) -> tuple[int, ...]:
        """Index of the central output voxel."""
        return tuple(n // 2 for n in self.counts)


def frame_of(prediction: Node, patch_size: Sequence[int] | None = None) -> PatchFrame:
    """Return the frame of the patches for a node.

    Parameters
    ----------
    prediction : Node
        Node that depends on a single source.
    patch_size : sequence of int, optional
        Required if the source leaves its spatial sizes open.

    Raises
    ------
    GraphError
        If the node does not have a single image source, or has other axes than that source, fragments, or an output
        finer than the raw data.
    ShapeError
        If the patch size is unknown or does not fit the graph.
    """
    label = node_label(prediction)
    sources = prediction.input_nodes
    source = patch_source(prediction)
    shape = prediction.shape
    own = [t for t in source.shape.tags if t in "zyx"]
    if len(sources) != 1 or [t for t in shape.tags if t in "zyx"] != own:
        raise GraphError(
            "patches need a node that depends on the image alone and has its spatial axes",
            where=label,
            got=f"sources {[n.name for n in sources]}, axes {list(shape.tags)}",
            expected=f"one source, spatial axes {own}",
        )
    if len(shape.mfp_offsets) > 1:
        raise GraphError("the output is in fragments", where=label, nearest=f"FragmentsToDense({prediction.name})")
    steps = [exact(s) for s in shape.strides]
    if any(s.denominator != 1 for s in steps) or -1 in shape.fov:
        raise GraphError(
            "cannot tell which voxels are predicted: the output is finer than the raw data or its position is unknown",
            where=label,
            got=f"strides {[float(s) for s in steps]}, fov {shape.fov}",
            expected="whole strides and a known field of view",
        )
    sizes = _sizes(source, patch_size)
    require_patch_size(prediction, sizes)
    through = [patch_size_through(prediction, k, n, source=source) for k, n in enumerate(sizes)]
    counts = [t[prediction] for t in through if t is not None]
    stack = len(own) == 2
    one = (1,) if stack else ()
    extra = tuple(t for t in "zyx" if t not in own)[:1] if stack else ()
    return PatchFrame(
        label=label,
        tags=(*extra, *own),
        sizes=(*one, *sizes),
        offsets=(*(0 for _ in one), *(int(o) for o in shape.offsets)),
        strides=(*one, *(int(s) for s in steps)),
        counts=(*one, *counts),
        stack=stack,
        channels=int(source.shape["f"]) if source.shape.hastag("f") else 1,
        dtype=str(source.output.dtype),
    )


def _sizes(source: Node, patch_size: Sequence[int] | None) -> list[int]:
    declared = source.shape.spatial_shape
    listed = isinstance(patch_size, (Sequence, np.ndarray)) and not isinstance(patch_size, str)
    sizes: list[Any] = list(declared) if patch_size is None else list(patch_size) if listed else [patch_size]
    if len(sizes) != len(declared) or any(isinstance(n, bool) or not isinstance(n, (int, np.integer)) for n in sizes):
        raise ShapeError(
            "the size of the patches is unknown" if patch_size is None else "not a patch size",
            node=source,
            got=sizes,
            expected=f"patch_size=(...), {len(declared)} whole numbers",
        )
    if any(d is not None and d != n for d, n in zip(declared, sizes, strict=True)):
        raise ShapeError(
            "the input node has another patch size",
            node=source,
            got=sizes,
            expected=declared,
            nearest="an Input with None as its spatial sizes, or modelload(..., imposed_patch_size=...)",
        )
    return [int(n) for n in sizes]
