"""Evaluation of ONNX files by other libraries, to compare with; needs onnx."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import onnx
from onnx import helper
from onnx.reference import ReferenceEvaluator

from neuromancer.errors import TranslationError, reason, short
from neuromancer.interop.onnx_file import OnnxGraph
from neuromancer.interop.onnx_sizes import Layout
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
        self._session: Any = None

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
        types = {value.name: value.type.tensor_type.elem_type for value in self.graph.proto.graph.input}
        for layout, array in zip(self.layouts, arrays, strict=True):
            laid_out = np.moveaxis(array, 1, -1) if layout.last else array
            feed[layout.name] = np.ascontiguousarray(laid_out, helper.tensor_dtype_to_np_dtype(types[layout.name]))
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                self._session = self._session or self._opened()
                return [np.asarray(result, "float32") for result in self._session.run(None, feed)]
        except Exception as error:
            sizes = [array.shape[2:] for array in arrays]
            if sizes != [layout.space for layout in self.layouts]:
                raise SourceError(short(reason(error), 100)) from error
            raise TranslationError(
                f"{self.name} cannot evaluate the file",
                where=self.graph.label,
                got=f"{short(reason(error), 300)}, for an input of shape {arrays[0].shape}",
                expected="a valid file, and an example that it takes",
            ) from error

    def _opened(self) -> Any:
        model = _open_sizes(self.graph)
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


def _open_sizes(graph: OnnxGraph) -> Any:
    """Return a copy of the model with open batch and spatial sizes."""
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
    return model
