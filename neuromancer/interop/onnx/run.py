"""Evaluation of ONNX files by other libraries, to compare with; needs onnx."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from neuromancer.errors import TranslationError, reason, short
from neuromancer.interop.onnx.file import OnnxGraph
from neuromancer.interop.onnx.sizes import Layout
from neuromancer.interop.verify import SourceError

THREADS = 2


class Runner:
    """Evaluates a file on arrays of any size.

    Parameters
    ----------
    graph : OnnxGraph
    layouts : sequence of Layout
        With the sizes of the example, which the file must be able to take.

    Attributes
    ----------
    name : str
        What evaluates it.
    """

    def __init__(self, graph: OnnxGraph, layouts: Sequence[Layout]) -> None:
        self.graph, self.layouts = graph, layouts
        self.name = "ONNX Runtime" if find_spec("onnxruntime") else "the reference of onnx"
        self._model = _comparable(graph)
        self._types = {
            value.name: helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
            for value in self._model.graph.input
        }
        self._session: Any = None
        self._shapes: list[tuple[int, ...]] = []

    def run(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """Evaluate arrays (b, f, *space), one per input.

        Raises
        ------
        TranslationError
            If even the sizes of the example fail.
        SourceError
            If other sizes fail.
        """
        feed = {}
        is_example = [array.shape[2:] for array in arrays] == [layout.space for layout in self.layouts]
        for layout, array in zip(self.layouts, arrays, strict=True):
            laid_out = np.moveaxis(array, 1, -1) if layout.last else array
            feed[layout.name] = np.ascontiguousarray(laid_out, self._types[layout.name])
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                self._session = self._session or self._opened()
                results = [np.asarray(result, "float32") for result in self._session.run(None, feed)]
        except Exception as error:
            if not is_example:
                raise SourceError(short(reason(error), 100)) from error
            raise TranslationError(
                f"{self.name} cannot evaluate the file",
                where=self.graph.label,
                got=f"{short(reason(error), 300)}, for an input of shape {arrays[0].shape}",
                expected="a valid file, and an example that it takes",
            ) from error
        shapes = [result.shape[1:] for result in results]
        if is_example:
            self._shapes = shapes
        elif self.graph.sizes_written and any(a == b for a, b in zip(shapes, self._shapes, strict=True)):
            raise SourceError("the size of an output is written in it")
        return results

    def _opened(self) -> Any:
        model = self._model
        if not find_spec("onnxruntime"):
            return ReferenceEvaluator(model)
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = THREADS, 1
        options.log_severity_level = 4
        try:
            return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception:
            # Younger operators than it knows, or more than 2 GB.
            self.name = "the reference of onnx"
            return ReferenceEvaluator(model)


def _comparable(graph: OnnxGraph) -> Any:
    """Return a copy of the model with open batch and spatial sizes, in the precision of the nodes."""
    model = onnx.ModelProto()
    model.CopyFrom(graph.proto)
    del model.graph.value_info[:]
    inputs = {declared.name for declared in graph.inputs}
    for value in model.graph.input:
        if value.name in inputs:
            for k, dim in enumerate(value.type.tensor_type.shape.dim):
                dim.Clear()
                dim.dim_param = f"{value.name}_{k}"
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    _in_full_precision(model.graph)
    return model


def _in_full_precision(graph: Any) -> None:
    """Let float16 be float32, as in the nodes; rounding would hide other differences."""
    half, single = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type == half:
            value.type.tensor_type.elem_type = single
    attributes = [attribute for node in graph.node for attribute in node.attribute]
    for attribute in attributes:
        if attribute.name in ("to", "dtype") and attribute.i == half:
            attribute.i = single
    for tensor in (*graph.initializer, *(attribute.t for attribute in attributes if attribute.HasField("t"))):
        if tensor.data_type == half:
            array = numpy_helper.to_array(tensor).astype("float32")
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
