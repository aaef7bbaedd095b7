"""OpenVINO forms of operations on shapes; all sizes are known when a model is built."""

from __future__ import annotations

from typing import Any

import numpy as np
from openvino import Output, opset13
from pytensor.compile.ops import DeepCopyOp, ViewOp
from pytensor.graph.basic import Apply
from pytensor.tensor.basic import Alloc, Join, MakeVector, ScalarFromTensor, Split, TensorFromScalar
from pytensor.tensor.elemwise import DimShuffle
from pytensor.tensor.extra_ops import Repeat
from pytensor.tensor.shape import Reshape, Shape, Shape_i, SpecifyShape

from neuromancer.engine.pytensor.link.openvino.builder import Builder
from neuromancer.engine.pytensor.link.openvino.registry import Unsupported, convert, reshape, simple


@convert.register(Shape)
def _shape(op: Shape, node: Apply, build: Builder) -> list[np.ndarray]:
    return [np.array(build.shape(node.inputs[0]), np.int64)]


@convert.register(Shape_i)
def _shape_i(op: Shape_i, node: Apply, build: Builder) -> list[np.ndarray]:
    return [np.array(build.shape(node.inputs[0])[op.i], np.int64)]


@convert.register(SpecifyShape)
def _specify_shape(op: SpecifyShape, node: Apply, build: Builder) -> list[Output]:
    for n, size in zip(build.shape(node.inputs[0]), node.inputs[1:], strict=True):
        wanted = None if not hasattr(size.type, "dtype") else build.require(size, "a size")
        if wanted is not None and int(wanted) != n:
            raise Unsupported("a size that differs from the specified one")
    return [build.tensor(node.inputs[0])]


@convert.register(Reshape)
def _reshape(op: Reshape, node: Apply, build: Builder) -> list[Output]:
    shape = build.require(node.inputs[1], "a shape")
    return [reshape(build.tensor(node.inputs[0]), shape.tolist())]


@convert.register(DimShuffle)
def _dimshuffle(op: DimShuffle, node: Apply, build: Builder) -> list[Output]:
    (variable,) = node.inputs
    x, shape = build.tensor(variable), build.shape(variable)
    if any(shape[axis] != 1 for axis in op.drop):
        raise Unsupported("dropping an axis longer than 1")
    kept = [a for a in op.new_order if a != "x"]
    order = [*kept, *op.drop]
    if order != sorted(order):
        x = opset13.transpose(x, np.array(order, np.int64)).output(0)
    if op.drop or "x" in op.new_order:
        sizes = [1 if a == "x" else shape[a] for a in op.new_order]
        x = reshape(x, sizes)
    return [x]


@convert.register(Alloc)
def _alloc(op: Alloc, node: Apply, build: Builder) -> list[Output]:
    shape = [int(build.require(v, "a size")) for v in node.inputs[1:]]
    return [opset13.broadcast(build.tensor(node.inputs[0]), np.array(shape, np.int64)).output(0)]


@convert.register(Join)
def _join(op: Join, node: Apply, build: Builder) -> list[Output]:
    if hasattr(op, "axis"):  # newer versions store the axis in the operation, older ones in the first input
        axis, parts = op.axis, node.inputs
    else:
        axis, parts = int(build.require(node.inputs[0], "an axis")), node.inputs[1:]
    if len({v.dtype for v in parts}) > 1:
        raise Unsupported("joining different dtypes")
    return [opset13.concat([build.tensor(v) for v in parts], axis % node.outputs[0].ndim).output(0)]


@convert.register(Split)
def _split(op: Split, node: Apply, build: Builder) -> list[Output]:
    x, *rest = node.inputs
    axis = op.axis if hasattr(op, "axis") else int(build.require(rest[0], "an axis"))
    sizes = build.require(rest[-1], "sizes of parts")
    if sizes.sum() != build.shape(x)[axis]:
        raise Unsupported("parts whose sizes do not add up")
    return opset13.variadic_split(build.tensor(x), np.int64(axis), sizes.astype(np.int64)).outputs()


@convert.register(MakeVector)
def _make_vector(op: MakeVector, node: Apply, build: Builder) -> list[Output]:
    if len({v.dtype for v in node.inputs}) > 1:
        raise Unsupported("joining different dtypes")
    parts = [reshape(build.tensor(v), [1]) for v in node.inputs]
    return [opset13.concat(parts, 0).output(0)]


@convert.register(Repeat)
def _repeat(op: Repeat, node: Apply, build: Builder) -> list[Output]:
    x, times = node.inputs
    counts = build.require(times, "a number of repetitions")
    if counts.ndim or op.axis is None:
        raise Unsupported("different numbers of repetitions")
    shape, axis = list(build.shape(x)), op.axis
    index = np.repeat(np.arange(shape[axis]), int(counts))
    return [opset13.gather(build.tensor(x), index, np.int64(axis)).output(0)]


@simple(DeepCopyOp, ViewOp, TensorFromScalar, ScalarFromTensor)
def _same(x: Any) -> Output:
    return x
