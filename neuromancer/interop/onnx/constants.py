"""Values that do not depend on the images: computed ahead, within limits; needs onnx."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from math import ceil, prod
from typing import Any

import numpy as np
from onnx.reference import ReferenceEvaluator

from neuromancer.errors import TranslationError, reason
from neuromancer.interop.onnx.file import OnnxGraph, Step

NUMBERS = 1 << 22
"""How many numbers may be computed for any file, besides a multiple of those that it holds."""
REPEATS = 8
"""How often the numbers that a file holds may be computed anew, e.g. transposed."""
KEPT = ("Identity", "Transpose", "Reshape", "Unsqueeze", "Squeeze", "Flatten", "Cast")
"""Operations that leave weights what they are."""

Inputs = Sequence[Any]
Size = Callable[[Step, Inputs], float]


def _broadcast(step: Step, inputs: Inputs) -> float:
    return prod(np.broadcast_shapes(*(np.shape(i) for i in inputs if i is not None)))


def _as_input(step: Step, inputs: Inputs) -> float:
    return float(np.size(inputs[0]))


def _joined(step: Step, inputs: Inputs) -> float:
    return float(sum(np.size(i) for i in inputs))


def _taken(step: Step, inputs: Inputs) -> float:
    return float(np.size(inputs[0]) * max(np.size(inputs[1]), 1))


def _filled(step: Step, inputs: Inputs) -> float:
    return prod(float(n) for n in np.ravel(inputs[0]))


def _expanded(step: Step, inputs: Inputs) -> float:
    return float(np.size(inputs[0])) * prod(max(float(n), 1.0) for n in np.ravel(inputs[1]))


def _range(step: Step, inputs: Inputs) -> float:
    start, stop, by = (float(np.ravel(i)[0]) for i in inputs)
    return max(ceil((stop - start) / by), 0)


SIZES: dict[str, Size] = {
    **dict.fromkeys(
        "Add Sub Mul Div Mod Pow Min Max Sum Mean And Or Xor Equal Greater GreaterOrEqual Less LessOrEqual "
        "Where".split(),
        _broadcast,
    ),
    **dict.fromkeys(
        "Abs Cast Ceil Clip Cos Erf Exp Flatten Floor Identity IsInf IsNaN Log Neg Not Reciprocal Relu Reshape Round "
        "Shape Sigmoid Sign Sin Size Slice Split Sqrt Squeeze Tanh Transpose Unsqueeze ReduceMax ReduceMean ReduceMin "
        "ReduceProd ReduceSum CumSum".split(),
        _as_input,
    ),
    "Concat": _joined,
    "Gather": _taken,
    "GatherElements": _joined,
    "ConstantOfShape": _filled,
    "Expand": _expanded,
    "Tile": _expanded,
    "Range": _range,
    "Constant": lambda step, inputs: 0,
}
"""Upper bounds for the number of elements that the operations on constants make."""


class Constants:
    """Computes operations whose inputs are all known.

    Parameters
    ----------
    graph : OnnxGraph
    """

    def __init__(self, graph: OnnxGraph) -> None:
        self.graph = graph
        self.left = NUMBERS + REPEATS * sum(array.size for array in graph.constants.values())

    def evaluate(self, step: Step, known: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Return the outputs by name.

        Raises
        ------
        TranslationError
            If the operation is not one on constants, asks for too much, or fails.
        """
        place = f"{step.place} ({step.op})"
        inputs = [known[name] if name else None for name in step.inputs]
        size = SIZES.get(step.op)
        if size is None:
            raise TranslationError(
                "a constant cannot be computed", where=place, got=f"{step.op} of constants", expected="arithmetic"
            )
        self._spend(step, inputs, size, place)
        names = [name for name in step.outputs if name]
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                evaluator = ReferenceEvaluator(step.proto, opsets={"": self.graph.opset})
                feed = {name: value for name, value in zip(step.inputs, inputs, strict=True) if name}
                results = evaluator.run(None, feed)
        except MemoryError:
            raise
        except Exception as error:
            raise TranslationError("a constant cannot be computed", where=place, got=reason(error)) from error
        return {name: np.asarray(result) for name, result in zip(names, results, strict=False)}

    def _spend(self, step: Step, inputs: Inputs, size: Size, place: str) -> None:
        try:
            needed = size(step, inputs)
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise TranslationError("a constant cannot be computed", where=place, got=reason(error)) from error
        if not needed <= self.left:
            raise TranslationError(
                "a constant is too large", where=place, got=f"{needed:.3g} numbers", expected=f"at most {self.left}"
            )
        self.left -= int(needed)


def fold(graph: OnnxGraph) -> Constants:
    """Compute all that depends on constants only, and leave the other steps."""
    constants, rest = Constants(graph), []
    for step in graph.steps:
        known = all(not name or name in graph.constants for name in step.inputs)
        if not known or (step.op not in SIZES and not any(step.inputs)):
            rest.append(step)
            continue
        graph.constants |= constants.evaluate(step, graph.constants)
        trained = graph.weights.get(step.inputs[0]) if step.inputs else None
        if step.op in KEPT and trained is not None and step.outputs[0]:
            graph.weights[step.outputs[0]] = trained if step.op == "Identity" else step.outputs[0]
    graph.steps = rest
    return constants
