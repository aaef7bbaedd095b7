"""Constructor arguments of nodes."""

from __future__ import annotations

import inspect
from typing import Any

from neuromancer.graph.node import GraphNode


def constructor(cls: type) -> inspect.Signature:
    """Return the signature of a node's constructor, without ``self``."""
    return inspect.signature(cls)


def bound_arguments(node: GraphNode) -> dict[str, Any]:
    """Return the arguments that a node was constructed with, by name; those left at their defaults are omitted."""
    args, kwargs = node.construction
    return dict(constructor(type(node)).bind(*args, **kwargs).arguments)
