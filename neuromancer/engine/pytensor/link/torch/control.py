"""Torch forms of conditions, checks and inner graphs."""

from __future__ import annotations

from typing import Any

from pytensor.compile.builders import OpFromGraph
from pytensor.graph.basic import Apply
from pytensor.raise_op import CheckAndRaise

from neuromancer.engine.pytensor.link.torch.program import Program
from neuromancer.engine.pytensor.link.torch.registry import ANY, DEVICE, HOST, OWN_PLACE, Context, Form, torch_form

try:
    from pytensor.conditional.op import IfElse
except ImportError:  # before PyTensor 3.1
    from pytensor.ifelse import IfElse

OWN_PLACE.add(OpFromGraph)


@torch_form.register(IfElse)
def _ifelse(op: IfElse, node: Apply, context: Context) -> Form:
    n = op.n_outs

    def run(condition: Any, *branches: Any) -> Any:
        chosen = branches[:n] if bool(condition) else branches[n:]
        return chosen if n > 1 else chosen[0]

    return Form(run, [HOST] + [DEVICE] * (2 * n), [DEVICE] * n)


@torch_form.register(CheckAndRaise)
def _check(op: CheckAndRaise, node: Apply, context: Context) -> Form:
    """Conditions on sizes are checked on the host; conditions on data cost a transfer."""
    error, message = op.exc_type, op.msg

    def run(value: Any, *conditions: Any) -> Any:
        if not all(bool(c) for c in conditions):
            raise error(message)
        return value

    place = context.places[node.inputs[0]]
    return Form(run, [ANY] + [HOST] * (len(node.inputs) - 1), [place])


@torch_form.register(OpFromGraph)
def _inner_graph(op: OpFromGraph, node: Apply, context: Context) -> Form:
    places = dict(enumerate(context.places[v] for v in node.inputs))
    # PyTensor 3.3 freezes inner graphs, and a program rewrites its own.
    fgraph = op.fgraph.unfreeze() if hasattr(op.fgraph, "unfreeze") else op.fgraph
    program = Program(fgraph, context.device, context.counters, places=places, precision=context.precision)
    several = len(node.outputs) > 1

    def run(*inputs: Any) -> Any:
        results = program.run(inputs)
        return tuple(results) if several else results[0]

    return Form(run, list(program.input_places), list(program.output_places))
