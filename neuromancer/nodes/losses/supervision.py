"""Deep supervision: losses on several scales, from one array of labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import floor
from typing import Any

import numpy as np

from neuromancer.errors import ArgumentError, InputTypeError, ShapeError
from neuromancer.graph.demand import Demand, magnitude
from neuromancer.graph.registry import model_manager
from neuromancer.graph.tagged_shape import TaggedShape
from neuromancer.nodes.layout import axis_name
from neuromancer.nodes.losses.aggregate import AggregateLoss
from neuromancer.nodes.losses.common import finite_vector, require_tensor
from neuromancer.nodes.node import Node

LABEL = "DeepSupervision"


class LabelsAt(Node):
    """Labels at the positions of another node's voxels, so that one array of labels serves all scales.

    Parameters
    ----------
    target : Node
        Labels on a grid that covers the voxels of `ref`, e.g. an :class:`Input_like` of the finest prediction, or of
        the raw image.
    ref : Node
        Node at whose voxels labels are wanted. Only its shape is used.
    name : str
    print_repr : bool

    Raises
    ------
    ShapeError
        If the spatial axes differ, a spatial size is unknown, `ref` has fragments, or it reaches beyond the labels.
    InputTypeError
        If an argument is not a node with a tensor output.

    Notes
    -----
    Voxel i of `ref` lies at ``offset + stride * i`` in the raw data (``ref.shape.offsets``, ``ref.shape.strides``), and
    so do the labels with their own offset and stride. Voxel i gets the nearest label, ``floor(x + 1/2)`` with
    ``x = (offset + stride * i - label offset) / label stride``, computed in rational numbers; of two labels that are
    equally near it is the later one. The other axes are those of `target`.

    Examples
    --------
    >>> from neuromancer import Conv, Input
    >>> image = Input((1, 1, 9), "b,f,x", name="image", print_repr=False)
    >>> coarse = Conv(image, 2, (2,), (2,), print_repr=False)
    >>> labels = Input((1, 1, 9), "b,f,x", name="labels", print_repr=False)
    >>> coarse.shape.offsets, coarse.shape.strides.tolist()
    ([1], [2])
    >>> LabelsAt(labels, coarse, print_repr=False)([[[0, 1, 2, 3, 4, 5, 6, 7, 8]]]).tolist()
    [[[1.0, 3.0, 5.0, 7.0]]]
    """

    def __init__(self, target: Node, ref: Node, name: str = "labels_at", print_repr: bool = True) -> None:
        super().__init__(target, name, print_repr)
        require_tensor(target, self, "the target")
        require_tensor(ref, self, "ref")
        here, there = target.shape, ref.shape
        tags = [there.tags[i] for i in there.spatial_axes]
        own = [here.tags[i] for i in here.spatial_axes]
        if not tags or tags != own:
            raise ShapeError("labels and ref must have the same spatial axes", node=self, got=f"{here!r}, {there!r}")
        for shape, of in ((here, target), (there, ref)):
            if None in shape.spatial_shape or -1 in shape.offsets or len(shape.mfp_offsets) > 1:
                raise ShapeError(
                    "needs known spatial sizes and positions, without fragments",
                    node=self,
                    got=f"{shape!r} of {of.name!r}",
                    expected="fixed sizes",
                )
        self.positions = [self._positions(here, there, k) for k in range(there.ndim)]
        self._at = there.copy()

    @classmethod
    def demand(cls, arguments: Mapping[str, Any]) -> Demand:
        shape = getattr(arguments.get("ref"), "shape", None)
        return Demand(numbers=0 if shape is None else 8 * sum(magnitude(n) for n in shape.spatial_shape))

    def _positions(self, here: TaggedShape, there: TaggedShape, k: int) -> slice | np.ndarray:
        """Return the positions of the labels of ref's voxels along a spatial axis: a slice if they are regular."""
        step = Fraction(here.strides[k])
        first = Fraction(there.offsets[k] - here.offsets[k]) / step + Fraction(1, 2)
        apart = Fraction(there.strides[k]) / step
        n, size = int(there.spatial_shape[k] or 0), int(here.spatial_shape[k] or 0)
        start, last = floor(first), floor(first + apart * (n - 1))
        if n and (start < 0 or last >= size):
            raise ShapeError(
                "ref reaches beyond the labels",
                node=self,
                got=f"positions {start} to {last} of {size} labels on axis {axis_name(here, k)}",
                expected=f"0 to {size - 1}",
            )
        if apart.denominator == 1:
            return slice(start, last + 1, int(apart)) if n else slice(0, 0)
        return np.array([floor(first + apart * i) for i in range(n)], "int64")

    def _selected(self, x: Any) -> Any:
        """Select from an array or a symbolic tensor."""
        for axis, taken in zip(self.parent.shape.spatial_axes, self.positions, strict=True):
            x = x[(slice(None),) * axis + (taken,)]
        return x

    def _make_output(self) -> None:
        self.output = self._selected(self.parent.output)

    def rearranged(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """Return the selected labels of an array."""
        chosen: np.ndarray = self._selected(arrays[0])
        return chosen

    def _calc_shape(self) -> None:
        parent, at = self.parent.shape, self._at
        sizes = list(parent.shape)
        for axis, size in zip(parent.spatial_axes, at.spatial_shape, strict=True):
            sizes[axis] = size
        self.shape = TaggedShape(sizes, parent.tags, list(at.strides), None, at.fov, at.centre)

    def _calc_comp_cost(self) -> None:
        self.computational_cost = 0


def DeepSupervision(
    losses: Sequence[Node], weights: Any = None, name: str = "deep_supervision", print_repr: bool = True
) -> AggregateLoss:
    """Create the weighted sum of losses on several scales.

    Parameters
    ----------
    losses : sequence of Node
        Losses, finest scale first. Labels of the coarser ones come from :class:`LabelsAt`.
    weights : sequence of float, optional
        Weights, >= 0 and not all 0. They are divided by their sum. Default: 1, 1/2, 1/4, ...
    name : str
    print_repr : bool

    Returns
    -------
    AggregateLoss
        Sum of the means of the losses times their weights (Lee et al. 2015, arXiv:1409.5185; default weights as in
        nnU-Net, Isensee et al. 2021). Being a mean, it stores the weights times their number as ``mixing_weights``.

    Raises
    ------
    InputTypeError
        If `losses` is not a sequence of nodes.
    ArgumentError
        If weights are negative, not finite, all 0 or not as many as losses.

    Examples
    --------
    >>> from neuromancer import Input
    >>> fine, coarse = (Input((n, 1), "b,f", name=f"n{n}", print_repr=False) for n in (4, 2))
    >>> float(DeepSupervision([fine, coarse], print_repr=False)([[3], [3], [3], [3]], [[6], [6]]))
    4.0
    """
    if not isinstance(losses, (list, tuple)) or not losses:
        raise InputTypeError(
            "needs a list of losses", where=LABEL, got=repr(losses)[:100], expected="[node, node, ...]"
        )
    for loss in losses:
        require_tensor(loss, LABEL, "every loss")  # type: ignore[arg-type]
    n = len(losses)
    given = 0.5 ** np.arange(n) if weights is None else weights
    shares = finite_vector(LABEL, "weights", given, n)  # type: ignore[arg-type]
    if (shares < 0).any() or not shares.any():
        raise ArgumentError("weights must be >= 0, and not all 0", where=LABEL, got=given)
    with model_manager.all_or_nothing():
        return AggregateLoss(list(losses), n * shares / shares.sum(), name=name, print_repr=print_repr)
