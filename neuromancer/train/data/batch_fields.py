"""The arrays of a batch: which source each is for, with which axes, sizes and dtype."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from neuromancer.casts import exact_cast
from neuromancer.errors import ArgumentError, GraphError, InputTypeError, ShapeError
from neuromancer.graph.patches import patch_source
from neuromancer.nodes.node import Node
from neuromancer.train.data.frame import PatchFrame
from neuromancer.train.data.labels import IGNORED

if TYPE_CHECKING:
    from neuromancer.models.model import Model

SPATIAL = ("z", "y", "x")


@dataclass(frozen=True)
class BatchField:
    """One array of a batch.

    Parameters
    ----------
    name : str
        Name of the source node.
    role : str
        'raw', 'target' or 'extra'.
    tags : tuple of str
        Axes of the array.
    dtype : str
    features : int, optional
        Size of axis f; None if it is open.
    n_class : int, optional
        Number of classes of a sparse target.
    """

    name: str
    role: str
    tags: tuple[str, ...]
    dtype: str
    features: int | None = None
    n_class: int | None = None

    def checked(self, array: np.ndarray, frame: PatchFrame) -> np.ndarray:
        """Return the array of one example, after a check of its shape and of values that the dtype can hold.

        Raises
        ------
        ShapeError, InputTypeError, ArgumentError
        """
        counts = tuple(frame.counts[k] for k in frame.own)
        spatial = any(t in SPATIAL for t in self.tags)
        expected = (
            array.shape[0] if self.features is None and array.ndim else self.features,
            *(counts if spatial else ()),
        )
        if array.shape != expected:
            raise ShapeError(
                f"the array for {self.name!r} has the wrong shape",
                where="PatchSampler",
                got=array.shape,
                expected=f"{expected}: features, then the voxels that {frame.label} predicts",
            )
        if array.dtype.kind not in "biuf" or (array.dtype.kind == "f" and np.dtype(self.dtype).kind in "iu"):
            raise InputTypeError(
                f"the array for {self.name!r} has the wrong dtype",
                where="PatchSampler",
                got=str(array.dtype),
                expected=self.dtype,
            )
        if array.size and np.dtype(self.dtype).kind in "iu":
            low, high = int(array.min()), int(array.max())
            limits = np.iinfo(self.dtype) if self.n_class is None else None
            first, last = (limits.min, limits.max) if limits else (IGNORED, int(self.n_class or 0) - 1)
            if low < first or high > last:
                raise ArgumentError(
                    f"the array for {self.name!r} has values out of range",
                    where="PatchSampler",
                    got=f"{low} to {high}",
                    expected=f"{first} to {last}",
                )
        return array

    def stack(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """Stack examples (f, *spatial) into one array with the axes of the field.

        Raises
        ------
        ArgumentError
            For a value that the dtype cannot hold, and for labels that it would round.
        """
        what, ids = f"the array for {self.name!r}", self.role != "raw"
        result = np.stack([exact_cast(a, self.dtype, "PatchSampler", what, ids) for a in arrays])
        present = ["b", "f", *(t for t in self.tags if t in SPATIAL)]
        if "f" not in self.tags:
            result, present = result[:, 0], [t for t in present if t != "f"]
        if "b" not in self.tags:
            result, present = result[0], present[1:]
        return np.ascontiguousarray(np.transpose(result, [present.index(t) for t in self.tags]))


def fields_of(model: Model | Node, prediction: Node, target: Node | str | None) -> list[BatchField]:
    """Return the fields of a batch.

    Parameters
    ----------
    model : Model or Node
    prediction : Node
        The node that predicts.
    target : Node or str, optional
        Default: the model's target node.

    Returns
    -------
    list of BatchField
        In the order of the loss's sources; without a loss, raw data and target.

    Raises
    ------
    GraphError
        If the loss does not read raw data and target, or reads sources of a kind that patches cannot fill.
    InputTypeError
        If the target is not a source.
    """
    raw = patch_source(prediction)
    loss = None if isinstance(model, Node) else model.loss_node
    if isinstance(target, str) and not isinstance(model, Node):
        target = model[target]
    if target is None and not isinstance(model, Node):
        target = model.target_node
    if target is not None and (not isinstance(target, Node) or not target.is_source or target.shape is None):
        raise InputTypeError(
            "the target must be a source with a shape",
            where="PatchSampler",
            got=repr(target)[:100],
            expected="an Input",
        )
    sources = list(loss.input_nodes) if loss is not None else [raw] + ([target] if target is not None else [])
    if raw not in sources or (target is not None and target not in sources):
        raise GraphError(
            "the loss does not read the raw data and the target",
            node=loss,
            got=[s.name for s in sources],
            expected=[s.name for s in (raw, target) if s is not None],
        )
    if loss is not None and target is None:
        others = [s for s in sources if s is not raw]
        target = others[0] if len(others) == 1 else None
    n_class = None if loss is None or target is None else _classes(loss, target)
    fields = [_field(s, raw, target, n_class) for s in sources]
    if len(sources) == 1:
        fields.append(BatchField("labels", "target", tuple(raw.shape.tags), "int32"))
    return fields


def _field(source: Node, raw: Node, target: Node | None, n_class: int | None) -> BatchField:
    role = "raw" if source is raw else "target" if source is target else "extra"
    shape = source.shape
    wrong = shape is None or not set(shape.tags) <= {"b", "f", *SPATIAL}
    if wrong or [t for t in shape.tags if t in SPATIAL] not in ([], [t for t in raw.shape.tags if t in SPATIAL]):
        raise GraphError(
            "patches do not have these axes",
            node=source,
            got=repr(shape),
            expected=f"b, f and the spatial axes of {raw.name!r}",
        )
    features = shape["f"] if shape.hastag("f") else 1
    return BatchField(
        source.name, role, tuple(shape.tags), str(source.output.dtype), features, n_class if role == "target" else None
    )


def _classes(loss: Node, target: Node) -> int | None:
    """Return the number of classes of a sparse target."""
    numbers: list[Any] = [
        n.n_class
        for n in loss.sub_graph()
        if getattr(n, "target", None) is target and getattr(n, "target_is_sparse", False) and hasattr(n, "n_class")
    ]
    return min(numbers) if numbers else None
