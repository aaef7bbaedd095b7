"""Nodes on the host: arithmetic on sizes with numpy, and `perform` for operations without a torch form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from pytensor.graph.basic import Apply
from pytensor.link.c.type import Generic
from pytensor.scalar.basic import Cast, ScalarOp
from pytensor.tensor.elemwise import Elemwise
from pytensor.tensor.type import TensorType

from neuromancer.engine.pytensor.link.torch.registry import DEVICE, HOST, Form, supported


def host_form(node: Apply) -> Form:
    """Return the form of a node that is computed on the host from host values."""
    return Form(_numpy_function(node) or _perform(node), [HOST] * len(node.inputs), [HOST] * len(node.outputs))


def fallback_form(node: Apply) -> Form:
    """Return the form of a node that torch cannot compute: inputs are downloaded, and outputs uploaded."""
    gives = [DEVICE if isinstance(o.type, TensorType) and supported(o) else HOST for o in node.outputs]
    perform = _perform(node)
    if DEVICE not in gives:
        return Form(perform, [HOST] * len(node.inputs), gives)
    return Form(perform, [HOST] * len(node.inputs), [HOST] * len(node.outputs))


def _numpy_function(node: Apply) -> Callable[..., Any] | None:
    """Return the numpy function of an elementwise node, or None; `perform` has ten times its overhead."""
    scalar = node.op.scalar_op if isinstance(node.op, Elemwise) else node.op
    if not isinstance(scalar, ScalarOp) or len(node.outputs) != 1:
        return None
    dtype = np.dtype(node.outputs[0].type.dtype)
    if isinstance(scalar, Cast):
        return lambda x: np.asarray(x).astype(dtype)
    name, arity, _ = getattr(scalar, "nfunc_spec", None) or ("", 0, 0)
    function = getattr(np, name, None) if name else None
    if function is None:
        return None
    if len(node.inputs) == 1:
        return lambda x: np.asarray(function(x), dtype)
    if arity == len(node.inputs):
        return lambda *args: np.asarray(function(*args), dtype)
    if arity == 2:

        def fold(first: Any, *rest: Any) -> Any:
            for value in rest:
                first = function(first, value)
            return np.asarray(first, dtype)

        return fold
    return None


def _perform(node: Apply) -> Callable[..., Any]:
    """Return `op.perform` as a function from values to values."""
    op, outputs = node.op, node.outputs
    op.prepare_node(node, storage_map=None, compute_map=None, impl="py")
    several = len(outputs) > 1

    def perform(*inputs: Any) -> Any:
        cells = [[None] for _ in outputs]
        op.perform(node, list(inputs), cells)
        values = [
            cell[0] if isinstance(o.type, Generic) or not isinstance(o.type, TensorType) else np.asarray(cell[0])
            for cell, o in zip(cells, outputs, strict=True)
        ]
        return tuple(values) if several else values[0] if values else None

    return perform
