"""Graph rewrites that fuse several operations into one torch kernel. They run after PyTensor's."""

from __future__ import annotations

from collections.abc import Callable

from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.rewriting.basic import GraphRewriter
from pytensor.scalar import basic as ps
from pytensor.tensor.elemwise import Elemwise
from pytensor.tensor.math import Sum, add

from neuromancer.engine.pytensor.link.torch.activations import channel_vector, elu, product_with_own_function
from neuromancer.engine.pytensor.ops.conv import Conv
from neuromancer.engine.pytensor.ops.fence import without_fence
from neuromancer.engine.pytensor.ops.fused import ConvBias
from neuromancer.engine.pytensor.ops.pool import MaxPool
from neuromancer.engine.pytensor.ops.square_sum import SquareSum

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


class SharedSums(GraphRewriter):
    """Uses sums that are computed anyway as parts of longer ones.

    PyTensor writes the results of a chain of residual blocks as x + a, x + a + b, x + a + b + c: every one reads all
    the terms, which therefore stay in memory.
    """

    def apply(self, fgraph: FunctionGraph) -> None:
        """Rewrite `fgraph`."""
        results = {node: node.outputs[0] for node in fgraph.toposort() if _is_sum(node)}
        for node in list(results):
            parts = [part for part in results if part is not node and _is_part(part, node)]
            if not parts:
                continue
            longest = max(parts, key=lambda part: len(part.inputs))
            rest = list(node.inputs)
            for term in longest.inputs:
                rest.remove(term)
            new = add(results[longest], *rest)
            fgraph.replace(results[node], new, reason="SharedSums")
            results[node] = new


def _is_sum(node: Apply) -> bool:
    return isinstance(node.op, Elemwise) and type(node.op.scalar_op) is ps.Add and node.outputs[0].ndim > 0


def _is_part(part: Apply, whole: Apply) -> bool:
    """Return whether all terms of one sum are among those of another one, which has more."""
    if len(part.inputs) >= len(whole.inputs) or part.outputs[0].type != whole.outputs[0].type:
        return False
    return all(part.inputs.count(term) <= whole.inputs.count(term) for term in part.inputs)


def conv_bias(fgraph: FunctionGraph, node: Apply) -> Variable | None:
    """conv(x, w) + b -> convolution with bias, if nothing else reads the convolution."""
    if not (isinstance(node.op, Elemwise) and type(node.op.scalar_op) is ps.Add):
        return None
    out = node.outputs[0]
    for conv in node.inputs:
        if conv.owner is None or type(conv.owner.op) is not Conv or len(fgraph.clients[conv]) != 1:
            continue
        for bias in node.inputs:
            vector = channel_vector(bias, out.ndim)
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


def sum_of_squares(fgraph: FunctionGraph, node: Apply) -> Variable | None:
    """sum(x ** 2) -> one reduction, if it includes the last axis and nothing else reads the squares."""
    square = node.inputs[0].owner if isinstance(node.op, Sum) else None
    if square is None or not isinstance(square.op, Elemwise) or type(square.op.scalar_op) is not ps.Sqr:
        return None
    x, out, last = square.inputs[0], node.outputs[0], node.inputs[0].ndim - 1
    axes = tuple(range(last + 1)) if node.op.axis is None else tuple(a % (last + 1) for a in node.op.axis)
    if last not in axes or x.dtype not in ("float32", "float64") or len(fgraph.clients[square.outputs[0]]) != 1:
        return None
    new = SquareSum(axes)(x)
    return new if new.type == out.type else None


FUSIONS: tuple[GraphRewriter, ...] = (
    SharedSums(),
    *map(Fusion, (without_fence, bias_before_pool, conv_bias, product_with_own_function, elu, sum_of_squares)),
)
