"""OpenVINO forms of checks, whose conditions must depend on sizes only."""

from __future__ import annotations

from openvino import Output
from pytensor.graph.basic import Apply
from pytensor.raise_op import CheckAndRaise

from neuromancer.engine.pytensor.link.openvino.builder import Builder
from neuromancer.engine.pytensor.link.openvino.registry import Unsupported, convert


@convert.register(CheckAndRaise)
def _check(op: CheckAndRaise, node: Apply, build: Builder) -> list[Output]:
    """If the check fails, the graph runs on torch, which raises the error."""
    value, *conditions = node.inputs
    if not all(bool(build.require(c, "a condition")) for c in conditions):
        raise Unsupported("a check that fails")
    return [build.tensor(value)]
