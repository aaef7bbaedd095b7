"""ONNX files whose images have no axis of channels, with that axis added; needs onnx."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

from neuromancer.errors import TranslationError
from neuromancer.interop.onnx.file import read

AXIS, LEFT_OUT = 1, "axis of channels"


def with_channels(path: Path, outputs: Sequence[bool]) -> Any:
    """Return the model of a file with an image (b, *space) as one with an image (b, 1, *space).

    Parameters
    ----------
    path : Path
    outputs : sequence of bool
        Whether each output has an axis of channels already.

    Raises
    ------
    TranslationError
        If the file has another number of inputs or outputs.
    """
    found = read(path)
    graph, opset = found.proto.graph, found.opset
    if len(found.inputs) != 1 or len(graph.output) != len(outputs) or found.inputs[0].dims is None:
        raise TranslationError(
            "the file has other inputs or outputs than the package", where=str(path),
            got=f"{len(found.inputs)} and {len(graph.output)}", expected=f"1 and {len(outputs)}",
        )  # fmt: skip
    model = onnx.ModelProto()
    model.CopyFrom(found.proto)
    graph, image = model.graph, found.inputs[0]
    name = f"{image.name} with channels"
    declared = next(value for value in graph.input if value.name == image.name)
    dims = list(image.dims or ())
    shape = [n if n is not None else f"size {k}" for k, n in enumerate([*dims[:1], 1, *dims[1:]])]
    declared.CopyFrom(helper.make_tensor_value_info(name, declared.type.tensor_type.elem_type, shape))
    first = _view("Squeeze", name, image.name, opset)
    last = []
    for value, complete in zip(graph.output, outputs, strict=True):
        if not complete:
            last.append(_view("Unsqueeze", value.name, f"{value.name} with channels", opset))
            kind = value.type.tensor_type.elem_type
            value.CopyFrom(helper.make_tensor_value_info(f"{value.name} with channels", kind, None))
    steps = [first, *graph.node, *last]
    del graph.node[:]
    graph.node.extend(steps)
    if opset >= 13:  # before, the axes are an attribute
        graph.initializer.append(helper.make_tensor(LEFT_OUT, TensorProto.INT64, [1], [AXIS]))
    return model


def _view(op: str, source: str, target: str, opset: int) -> Any:
    if opset >= 13:
        return helper.make_node(op, [source, LEFT_OUT], [target])
    return helper.make_node(op, [source], [target], axes=[AXIS])
