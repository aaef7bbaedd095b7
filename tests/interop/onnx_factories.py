"""Small ONNX models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

import neuromancer as nm

RNG = np.random.default_rng(0)


def weights(*shape: int) -> np.ndarray:
    """Random weights around 0, not small."""
    return RNG.standard_normal(shape).astype("float32")


def node(op: str, inputs: str, outputs: str = "y", name: str = "", **attributes: Any) -> Any:
    """A step; inputs and outputs are separated by spaces, '-' stands for one that is left out."""
    listed = ["" if i == "-" else i for i in inputs.split()]
    return helper.make_node(op, listed, outputs.split(), name, **attributes)


def model(
    steps: Sequence[Any],
    shape: Sequence[Any] = ("b", 4, "h", "w"),
    opset: int = 20,
    outputs: str = "y",
    inputs: Mapping[str, Sequence[Any]] | None = None,
    **constants: Any,
) -> ModelProto:
    """A model with input x; lists of ints become int64, other constants float32."""
    tensors = []
    for name, value in constants.items():
        array = np.asarray(value)
        tensors.append(numpy_helper.from_array(array if array.dtype.kind in "ib" else array.astype("float32"), name))
    shapes = {"x": shape} if inputs is None else inputs
    graph = helper.make_graph(
        list(steps),
        "graph",
        [helper.make_tensor_value_info(key, TensorProto.FLOAT, list(s)) for key, s in shapes.items()],
        [helper.make_tensor_value_info(key, TensorProto.FLOAT, None) for key in outputs.split()],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def imported(proto: ModelProto, example: Any = None, **options: Any) -> nm.Model:
    """Import without a report on the screen; the comparison at two sizes is a part of it."""
    found = nm.from_onnx(proto, example, print_report=False, **options)
    assert found.import_report.verified and found.import_report.largest_difference < 1e-4
    return found
