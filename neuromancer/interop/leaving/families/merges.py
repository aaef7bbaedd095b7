"""Sums, products, concatenations."""

from __future__ import annotations

from functools import reduce
from typing import Any

from neuromancer.interop.leaving.layout import alike
from neuromancer.interop.leaving.registry import leaves
from neuromancer.interop.leaving.target import Target
from neuromancer.nodes.merge import Add, Concat, MultMerge
from neuromancer.nodes.merge_faithless import FaithlessMerge
from neuromancer.nodes.merge_many import Product, Sum


@leaves(Add, Sum)
def add(t: Target, node: Add | Sum, *values: Any) -> Any:
    return reduce(lambda a, b: t.binary("add", a, b), alike(t, node, values))


@leaves(MultMerge, Product)
def multiply(t: Target, node: MultMerge | Product, *values: Any) -> Any:
    return reduce(lambda a, b: t.binary("mul", a, b), alike(t, node, values))


@leaves(Concat)
def concat(t: Target, node: Concat, *values: Any) -> Any:
    return t.concat(alike(t, node, values), node.axis)


@leaves(FaithlessMerge)
def faithless(t: Target, node: FaithlessMerge, *values: Any) -> Any:
    failing, hard = (float(node.params[key].get_value()) for key in ("failing_prob", "hardeasy_ratio"))
    return t.faithless_concat(alike(t, node, values), node.axis, failing, hard)
