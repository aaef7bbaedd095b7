"""Graph rewrites that fuse several operations into one torch kernel. They run after PyTensor's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.rewriting.basic import GraphRewriter
from pytensor.scalar import basic as ps
from pytensor.scalar import math as psm
from pytensor.tensor.elemwise import DimShuffle, Elemwise
from pytensor.tensor.math import add, mul

from neuromancer.engine.pytensor.link.torch.registry import constant_value, is_size_one
from neuromancer.engine.pytensor.ops.conv import Conv
from neuromancer.engine.pytensor.ops.fence import without_fence
from neuromancer.engine.pytensor.ops.fused import ConvBias, Gelu, LeakyRelu, Silu
from neuromancer.engine.pytensor.ops.pool import MaxPool

Rule = Callable[[FunctionGraph, Apply], Variable | None]


class Fusion(GraphRewriter):
    """Replaces the output of every node to which `rule` applies, in one pass over the graph.

    Parameters
    ----------
    rule : callable
        Takes the graph and a node; returns the new output, or None.
    """

    def __init__(self, rule: Rule) -> None:
        super().__init__()
        self.rule = rule

    def apply(self, fgraph: FunctionGraph) -> None:
        """Rewrite `fgraph`."""
        for node in fgraph.toposort():
            if node not in fgraph.apply_nodes:
                continue
            new = self.rule(fgraph, node)
            if new is not None:
                fgraph.replace(node.outputs[0], new, reason=self.rule.__name__)


def _channel_vector(variable: Variable, ndim: int) -> Variable | None:
    """Return the vector that `variable` broadcasts from the channel axis to `ndim` axes; None if it does not."""
    node = variable.owner
    if node is not None and isinstance(node.op, DimShuffle):
        if tuple(node.op.new_order) == ("x", 0, *["x"] * (ndim - 2)) and node.inputs[0].ndim == 1:
            return node.inputs[0]
    return None


def conv_bias(fgraph: FunctionGraph, node: Apply) -> Variable | None:
    """conv(x, w) + b -> convolution with bias, if nothing else reads the convolution."""
    if not (isinstance(node.op, Elemwise) and type(node.op.scalar_op) is ps.Add):
        return None
    out = node.outputs[0]
    for conv in node.inputs:
        if conv.owner is None or type(conv.owner.op) is not Conv or len(fgraph.clients[conv]) != 1:
            continue
        for bias in node.inputs:
            vector = _channel_vector(bias, out.ndim)
            # a vector of length 1 would have to be repeated for every channel first
            if vector is None or vector.dtype != conv.dtype or vector.type.shape[0] != conv.type.shape[1]:
                continue
            if vector.type.shape[0] is None:
                continue
            fused = ConvBias(conv.owner.op.ndim, *conv.owner.op.geometry, groups=conv.owner.op.groups)(
                *conv.owner.inputs, vector
            )
            rest = [v for v in node.inputs if v is not conv and v is not bias]
            new = add(fused, *rest) if rest else fused
            return new if new.type == out.type else None
    return None


def bias_before_pool(fgraph: FunctionGraph, node: Apply) -> Variable | None:
    """max_pool(conv(x, w)) + b -> max_pool of the convolution with bias, which saves a pass over memory."""
    if not (isinstance(node.op, Elemwise) and type(node.op.scalar_op) is ps.Add and len(node.inputs) == 2):
        return None
    for pooled, bias in (node.inputs, node.inputs[::-1]):
        pool = pooled.owner
        if pool is None or not isinstance(pool.op, MaxPool) or pooled is not pool.outputs[0]:
            continue
        conv = pool.inputs[0]
        if conv.owner is None or any(
            len(fgraph.clients[v]) != (v is not pool.outputs[1]) for v in (conv, *pool.outputs)
        ):
            continue
        fused = conv_bias(fgraph, add(conv, bias).owner)
        if fused is not None and isinstance(fused.owner.op, ConvBias):
            new = pool.op(fused)[0]
            return new if new.type == node.outputs[0].type else None
    return None


def _is(variable: Variable, scalar: type) -> bool:
    """Return whether `variable` is the result of an elementwise operation."""
    return (
        variable.owner is not None
        and isinstance(variable.owner.op, Elemwise)
        and (type(variable.owner.op.scalar_op) is scalar)
    )


def _number(variable: Variable) -> float | None:
    """Return the value of a constant with one element, None for anything else."""
    value = constant_value(variable)
    return float(np.asarray(value).item()) if value is not None and is_size_one(variable) else None


def _as_product(x: Variable, factor: Variable) -> tuple[LeakyRelu | Silu | Gelu, float] | None:
    """Return a function f and a number c for which ``x * factor = c * f(x)``."""
    if _is(factor, psm.Sigmoid) and factor.owner.inputs[0] is x:
        return Silu(), 1
    if _is(factor, psm.Erfc) and _is(factor.owner.inputs[0], ps.Mul):  # what simplification makes of 1 + erf
        operands = factor.owner.inputs[0].owner.inputs
        numbers = [_number(v) for v in operands if v is not x]
        if len(numbers) == len(operands) - 1 == 1 and numbers[0] is not None:
            return (Gelu(), 2) if numbers[0] == np.asarray(-(0.5**0.5), x.dtype) else None
    if _is(factor, ps.Switch):
        positive, one, slope = factor.owner.inputs
        compared = _is(positive, ps.GT) and positive.owner.inputs[0] is x and _number(positive.owner.inputs[1]) == 0
        number = _number(slope)
        if compared and _number(one) == 1 and number is not None:
            return LeakyRelu(number), 1
    return None


def product_with_own_function(fgraph: FunctionGraph, node: Apply) -> Variable | None:
    """x * f(x) -> one kernel, if torch has it and nothing else (such as a gradient) reads f(x)."""
    if not _is(node.outputs[0], ps.Mul):
        return None
    for x in node.inputs:
        for factor in node.inputs:
            found = _as_product(x, factor)
            if found is None or len(fgraph.clients[factor]) != 1 or x.type != factor.type:
                continue
            function, scale = found
            rest = [v for v in node.inputs if v is not x and v is not factor]
            inverse = next((v for v in rest if _number(v) == 1 / scale), None)
            if len(rest) != len(node.inputs) - 2 or (scale != 1 and inverse is None):
                continue  # x occurs twice, or a factor would remain
            if scale != 1:
                rest = [v for v in rest if v is not inverse]
            new = mul(function(x), *rest) if rest else function(x)
            return new if new.type == node.outputs[0].type else None
    return None


FUSIONS: tuple[GraphRewriter, ...] = (
    Fusion(without_fence), Fusion(bias_before_pool), Fusion(conv_bias), Fusion(product_with_own_function)
)  # fmt: skip
