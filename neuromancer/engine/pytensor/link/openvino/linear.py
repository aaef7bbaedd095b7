"""OpenVINO forms of matrix products."""

from __future__ import annotations

from openvino import Output, opset13
from pytensor.graph.basic import Apply
from pytensor.tensor.blas import BatchedDot
from pytensor.tensor.blockwise import Blockwise
from pytensor.tensor.math import Dot

from neuromancer.engine.pytensor.link.openvino.builder import Builder
from neuromancer.engine.pytensor.link.openvino.registry import Missing, Unsupported, convert


@convert.register(Dot)
@convert.register(BatchedDot)
def _product(op: Dot, node: Apply, build: Builder) -> list[Output]:
    if any(v.dtype != "float32" for v in node.inputs):
        raise Missing("products of integers")
    a, b = (build.tensor(v) for v in node.inputs)
    return [opset13.matmul(a, b, False, False).output(0)]


@convert.register(Blockwise)
def _blockwise(op: Blockwise, node: Apply, build: Builder) -> list[Output]:
    if isinstance(op.core_op, Dot) and op.signature == "(m,k),(k,n)->(m,n)":
        return _product(op.core_op, node, build)
    raise Missing(f"operation {op}")
