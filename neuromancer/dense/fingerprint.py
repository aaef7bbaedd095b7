"""Digest of a network, by which a restart checks that it continues with the same one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from neuromancer.graph.construction import bound_arguments
from neuromancer.graph.geometry import ancestors

if TYPE_CHECKING:
    from neuromancer.graph.node import GraphNode


def model_fingerprint(nodes: Sequence[GraphNode]) -> str:
    """Return a digest of the graph of some nodes: classes, arguments, connections and all parameter values.

    Names do not count, so a model that was saved and loaded under another name has the same digest.

    Parameters
    ----------
    nodes : sequence of GraphNode

    Returns
    -------
    str
    """
    digest = hashlib.sha256()
    everyone = ancestors(nodes)
    numbers = {id(n): k for k, n in enumerate(everyone)}
    for n in everyone:
        kind = f"{type(n).__module__}.{type(n).__qualname__}"
        shape = None if n.shape is None else (list(n.shape.tags), n.shape.strides.tolist(), list(n.shape.offsets))
        parents = [numbers[id(p)] for p in n.parents]
        digest.update(repr((kind, parents, shape, str(getattr(n.output, "dtype", "")))).encode())
        if not n.is_source:  # the patch size of an input may differ
            digest.update(_plain(bound_arguments(n), numbers).encode())
        for key, param in n.params.items():
            digest.update(key.encode())
            digest.update(_plain(param.get_value(), numbers).encode())
    digest.update(repr([numbers[id(n)] for n in nodes]).encode())
    return digest.hexdigest()


def _plain(value: Any, numbers: Mapping[int, int]) -> str:
    """Text of an argument, the same in every process."""
    if id(value) in numbers:
        return f"node {numbers[id(value)]}"
    if isinstance(value, Mapping):
        # Initial values are covered by those of the parameters; names and printing have no effect.
        relevant = {k: v for k, v in value.items() if k not in ("name", "print_repr", "w", "b", "mean", "std", "gamma")}
        return repr({k: _plain(v, numbers) for k, v in relevant.items()})
    if isinstance(value, (list, tuple)):
        return repr([_plain(v, numbers) for v in value])
    if isinstance(value, np.ndarray):
        data = np.ascontiguousarray(value)
        return f"{data.dtype.str} {data.shape} {hashlib.sha256(data.tobytes()).hexdigest()}"
    if callable(value):
        code = getattr(value, "__code__", None)
        text = f"{getattr(value, '__module__', '')}:{getattr(value, '__qualname__', type(value).__name__)}"
        return text if code is None else f"{text} {hashlib.sha256(code.co_code).hexdigest()}"
    return repr(value) if isinstance(value, (str, int, float, bool, type(None), np.generic)) else type(value).__name__
