"""OpenVINO forms of checks: what is checked must follow from sizes."""

from __future__ import annotations

from openvino import Output
from pytensor.graph.basic import Apply
from pytensor.raise_op import CheckAndRaise

from neuromancer.engine.pytensor.link.openvino.builder import Builder
from neuromancer.engine.pytensor.link.openvino.registry import Unsupported, convert


@convert.register(CheckAndRaise)
def _check(op: CheckAndRaise, node: Apply, build: Builder) -> list[Output]:
    """A check that fails is left to torch, which raises the error."""
    value, *conditions = node.inputs
    if not all(bool(build.require(c, "a condition")) for c in conditions):
        raise Unsupported("a check that fails")
    return [build.tensor(value)]
