"""Graph rewrites of our own mode: several operations that torch has as one kernel."""

from __future__ import annotations

from pytensor.graph.rewriting.basic import GraphRewriter

FUSIONS: tuple[GraphRewriter, ...] = ()
