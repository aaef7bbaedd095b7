"""Elementwise operations on the result of a convolution become part of it, where nothing else reads that result."""

from __future__ import annotations

import torch
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import FunctionGraph

from neuromancer.engine.pytensor.kernels.epilogue import CHANNEL, FULL, Epilogue
from neuromancer.engine.pytensor.kernels.expressions import Expression
from neuromancer.engine.pytensor.link.torch.convolution import fast
from neuromancer.engine.pytensor.link.torch.elemwise import broadcast_check
from neuromancer.engine.pytensor.link.torch.registry import DEVICE, Context, Form, torch_form
from neuromancer.engine.pytensor.link.torch.translation import Translation
from neuromancer.engine.pytensor.ops.conv import Conv, ConvTranspose
from neuromancer.engine.pytensor.ops.conv_epilogue import FusedConv
from neuromancer.engine.pytensor.ops.elementwise import FusedElementwise
from neuromancer.engine.pytensor.ops.fused import ConvBias


def with_epilogues(fgraph: FunctionGraph) -> None:
    """Make elementwise operations part of the convolution that they read, in `fgraph`."""
    for node in fgraph.toposort():
        if node in fgraph.apply_nodes and len(node.outputs) == 1:
            fused = _fused(fgraph, node)
            if fused is not None:
                fgraph.replace(node.outputs[0], fused, reason="with_epilogues")


def _fused(fgraph: FunctionGraph, node: Apply) -> Variable | None:
    """Return what replaces the result of a node; None if it is not elementwise or reads no convolution alone."""
    out = node.outputs[0]
    if getattr(out.type, "dtype", None) != "float32":
        return None
    candidates = [v for v in node.inputs if _is_own_convolution(fgraph, v) and _pattern(v) == _pattern(out)]
    after = _as_group(node) if candidates else None
    if after is None:
        return None
    for conv in candidates:
        position = after.inputs.index(conv)
        others = [v for v in after.inputs if v is not conv]
        kinds = [_kind(v, out) for v in others]
        if len(others) == len(after.inputs) - 1 and None not in kinds:
            return FusedConv(conv.owner, after, position, [str(kind) for kind in kinds])(*conv.owner.inputs, *others)
    return None


def _is_own_convolution(fgraph: FunctionGraph, variable: Variable) -> bool:
    """Return whether a variable is the result of a convolution that is read once."""
    node = variable.owner
    if node is None or type(node.op) not in (Conv, ConvBias, ConvTranspose) or variable.type.dtype != "float32":
        return False
    return len(fgraph.clients[variable]) == 1


def _as_group(node: Apply) -> Apply | None:
    """Return an elementwise operation as a group; None if it has no expression."""
    if isinstance(node.op, FusedElementwise):
        return node
    translation = Translation()
    expression = translation.add(node)
    if expression is None or expression.is_mask:
        return None
    return FusedElementwise([expression], node.outputs, [node], translation.operands).make_node(*translation.operands)


def _pattern(variable: Variable) -> tuple[bool, ...]:
    return tuple(size == 1 for size in variable.type.shape)


def _kind(variable: Variable, out: Variable) -> str | None:
    """Return the kind of an operand of an epilogue."""
    if getattr(variable.type, "dtype", None) != "float32" or variable.ndim != out.ndim:
        return None
    shape = variable.type.shape
    if shape[1] is not None and shape[1] == out.type.shape[1] and all(n == 1 for n in (shape[0], *shape[2:])):
        return CHANNEL
    return FULL if _pattern(variable) == _pattern(out) else None


@torch_form.register(FusedConv)
def _fused_conv(op: FusedConv, node: Apply, context: Context) -> Form:
    takes = [DEVICE] * len(node.inputs)
    context.layouts.add(node.inputs[1])
    n_conv = len(node.inputs) - len(op.kinds)
    convolve = fast(op.conv, lasting=node.inputs[1] in context.lasting)
    elementwise = op.after.op.function
    check = broadcast_check(op.after, [DEVICE] * len(op.after.inputs))
    epilogue = Epilogue(_sum_first(elementwise.expressions[0], op.position), op.kinds)

    def run(*operands: torch.Tensor) -> torch.Tensor:
        beside = operands[n_conv:]

        def separately(y: torch.Tensor) -> torch.Tensor:
            values = [*beside[: op.position], y, *beside[op.position :]]
            if check is not None:
                check(values)
            result: torch.Tensor = elementwise(values, (op.position,))[0]
            return result

        return convolve.with_epilogue(operands[:n_conv], epilogue, beside, separately)

    return Form(run, takes, [DEVICE], fresh=True)


def _sum_first(expression: Expression, position: int) -> Expression:
    """Return an expression with the operand at a position as operand 0, and those before it one further."""
    if expression.operation == "operand":
        (k,) = expression.arguments
        return Expression.operand(0 if k == position else k + 1 if k < position else k)
    arguments = [_sum_first(a, position) if isinstance(a, Expression) else a for a in expression.arguments]
    return Expression(expression.operation, *arguments)
