"""What a node was constructed with."""

from __future__ import annotations

import inspect
from typing import Any

from neuromancer.graph.node import GraphNode


def constructor(cls: type) -> inspect.Signature:
    """Signature of a node's constructor without ``self``."""
    return inspect.signature(cls)


def bound_arguments(node: GraphNode) -> dict[str, Any]:
    """What a node was constructed with, by the constructor's names, without those left at their defaults."""
    args, kwargs = node.construction
    return dict(constructor(type(node)).bind(*args, **kwargs).arguments)
