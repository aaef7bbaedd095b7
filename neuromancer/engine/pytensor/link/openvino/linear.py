"""OpenVINO forms of matrix products."""

from __future__ import annotations

from openvino import Output, opset13
from pytensor.graph.basic import Apply
from pytensor.tensor.blas import BatchedDot
from pytensor.tensor.blockwise import Blockwise
from pytensor.tensor.math import Dot

from neuromancer.engine.pytensor.link.openvino.builder import Builder
from neuromancer.engine.pytensor.link.openvino.registry import Missing, Unsupported, convert, reshape


@convert.register(Dot)
@convert.register(BatchedDot)
def _product(op: Dot, node: Apply, build: Builder) -> list[Output]:
    """Vectors become matrices of one row or column: OpenVINO has no products of vectors."""
    if any(v.dtype != "float32" for v in node.inputs):
        raise Missing("products of integers")
    a, b = (build.tensor(v) for v in node.inputs)
    shapes = [build.shape(v) for v in node.inputs]
    if shapes[0][-1] != shapes[1][-2 if len(shapes[1]) > 1 else 0]:
        raise Unsupported("factors of different lengths")
    if len(shapes[0]) == 1:
        a = reshape(a, [1, -1])
    if len(shapes[1]) == 1:
        b = reshape(b, [-1, 1])
    y = opset13.matmul(a, b, False, False).output(0)
    if 1 in map(len, shapes):
        kept = [n for shape, n in ((shapes[0], shapes[0][0]), (shapes[1], shapes[1][-1])) if len(shape) > 1]
        y = reshape(y, kept)
    return [y]


@convert.register(Blockwise)
def _blockwise(op: Blockwise, node: Apply, build: Builder) -> list[Output]:
    if isinstance(op.core_op, Dot) and op.signature == "(m,k),(k,n)->(m,n)":
        return _product(op.core_op, node, build)
    raise Missing(f"operation {op}")
