"""Checks of a batch against the network and the batches before, so that an error names the array and the step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from neuromancer.arrays import as_array
from neuromancer.errors import InputTypeError, NeuromancerError, ShapeError
from neuromancer.graph.patches import patch_size_through
from neuromancer.graph.tagged_shape import TaggedShape
from neuromancer.nodes.node import Node
from neuromancer.train.sources import require_loss

if TYPE_CHECKING:
    from neuromancer.models.model import Model


def on_grid(shape: TaggedShape, prediction: TaggedShape) -> bool:
    """Whether a source, such as one made by ``Input_like``, has the strides and the field of view of a prediction."""
    return shape.strides.tolist() == prediction.strides.tolist() and shape.fov == prediction.fov


class BatchCheck:
    """Check that arrays of a batch fit the sources of the loss, and each other.

    Sizes that a source leaves open may change from step to step, but only together: raw data and labels have the same
    number of samples, and labels the size of what the network predicts. A batch of the same sizes as the last one costs
    nothing.

    Parameters
    ----------
    model : Model
    label : str
        Name of the data, for messages.
    """

    def __init__(self, model: Model, label: str) -> None:
        self.model, self.label = model, label
        self.sources: list[Node] = list(require_loss(model).input_nodes)
        self._fitting: tuple[Any, ...] = ()

    def __call__(self, batch: Any, step: int) -> tuple[Any, ...]:
        """Return a batch as a tuple of arrays.

        Raises
        ------
        InputTypeError, ShapeError
            For arrays that do not fit; names the source, what came and what was expected, with the step in a note.
        """
        shapes = tuple(getattr(array, "shape", None) for array in batch) if isinstance(batch, (tuple, list)) else ()
        if shapes == self._fitting and None not in shapes:
            return tuple(batch)
        try:
            arrays = self._arrays(batch)
            self._require_declared(arrays)
            self._require_together(arrays)
        except NeuromancerError as error:
            error.add_note(f"in the batch of step {step}")
            raise
        self._fitting = shapes
        return arrays

    def _arrays(self, batch: Any) -> tuple[Any, ...]:
        names = [source.name for source in self.sources]
        if not isinstance(batch, (tuple, list)):
            raise InputTypeError(
                "a batch must be a tuple of arrays", where=self.label, got=type(batch).__name__, expected=f"{names}"
            )
        if len(batch) != len(names):
            raise InputTypeError(
                "wrong number of arrays in a batch", where=self.label, got=len(batch),
                expected=f"{len(names)}, one per source of the loss: {names}",
            )  # fmt: skip
        return tuple(self._array(source, array) for source, array in zip(self.sources, batch, strict=True))

    def _array(self, source: Node, value: Any) -> Any:
        if source.shape is None or hasattr(value, "shape"):
            return value
        try:
            return as_array(value)
        except ValueError as error:
            sizes = [np.shape(sample) for sample in value] if isinstance(value, (list, tuple)) else str(error)
            raise ShapeError(
                f"the samples for {source.name!r} differ in size", where=self.label, got=sizes,
                expected="samples of one size, as one array",
            ) from None  # fmt: skip

    def _require_declared(self, arrays: tuple[Any, ...]) -> None:
        for source, array in zip(self.sources, arrays, strict=True):
            if source.shape is None:
                continue
            declared, shape = source.shape.shape, tuple(array.shape)
            fits = len(shape) == len(declared)
            if not fits or any(d not in (None, n) for d, n in zip(declared, shape, strict=True)):
                raise ShapeError(
                    f"the array for {source.name!r} has the wrong size", where=self.label, got=shape,
                    expected=repr(source.shape),
                )  # fmt: skip

    def _require_together(self, arrays: tuple[Any, ...]) -> None:
        """Raise ShapeError if arrays differ in the number of samples, or labels are not of what is predicted."""
        shaped = [(s, tuple(a.shape)) for s, a in zip(self.sources, arrays, strict=True) if s.shape is not None]
        samples = {s.name: shape[s.shape.tag2index("b")] for s, shape in shaped if s.shape.hastag("b")}
        if len(set(samples.values())) > 1:
            raise ShapeError(
                "the arrays of a batch differ in the number of samples", where=self.label, got=samples,
                expected="one number of samples along axis b",
            )  # fmt: skip
        prediction, sizes = self.model.prediction_node, dict(shaped)
        raw = next((s for s, _ in shaped if s.shape.ndim), None)
        if raw is None or prediction is None or prediction.shape is None or raw not in prediction.input_nodes:
            return
        size = [sizes[raw][axis] for axis in raw.shape.spatial_axes]
        predicted = [patch_size_through(prediction, k, n, source=raw) for k, n in enumerate(size)]
        if any(found is None or prediction not in found for found in predicted):
            return
        wanted = [found[prediction] for found in predicted if found is not None]
        for source, shape in shaped:
            given = [shape[axis] for axis in source.shape.spatial_axes]
            if source is not raw and on_grid(source.shape, prediction.shape) and given != wanted:
                raise ShapeError(
                    f"the array for {source.name!r} does not have the size of the prediction", where=self.label,
                    got=given, expected=f"{wanted}, what {prediction.name!r} predicts of {raw.name!r} {size}",
                )  # fmt: skip
