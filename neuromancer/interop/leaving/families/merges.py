"""Sums, products, concatenations."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

from neuromancer.interop.leaving.layout import alike, dtype_of
from neuromancer.interop.leaving.registry import Unsupported, leaves
from neuromancer.interop.leaving.target import Target
from neuromancer.nodes.merge import Add, Concat, MultMerge
from neuromancer.nodes.merge_faithless import FaithlessMerge
from neuromancer.nodes.merge_many import Product, Sum
from neuromancer.nodes.node import Node


@leaves(Add, Sum)
def _add(t: Target, node: Add | Sum, *values: Any) -> Any:
    return _combined(t, node, "add", values)


@leaves(MultMerge, Product)
def _multiply(t: Target, node: MultMerge | Product, *values: Any) -> Any:
    return _combined(t, node, "mul", values)


def _combined(t: Target, node: Node, operation: str, values: Sequence[Any]) -> Any:
    if dtype_of(node) == "bool":
        raise Unsupported("it combines booleans, for which other libraries have no arithmetic")
    return reduce(lambda a, b: t.binary(operation, a, b), alike(t, node, values))


@leaves(Concat)
def _concat(t: Target, node: Concat, *values: Any) -> Any:
    return t.concat(alike(t, node, values), node.axis)


@leaves(FaithlessMerge)
def _faithless(t: Target, node: FaithlessMerge, *values: Any) -> Any:
    failing, hard = (float(node.params[key].get_value()) for key in ("failing_prob", "hardeasy_ratio"))
    return t.faithless_concat(alike(t, node, values), node.axis, failing, hard)
