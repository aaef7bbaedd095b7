"""Bounds on what a file may make nodes allocate: never more than it holds itself."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from neuromancer.errors import FileError
from neuromancer.graph.node import Node
from neuromancer.nodes.lrn import LRN
from neuromancer.nodes.neural_layer import NeuralLayer
from neuromancer.nodes.scan import ScanN
from neuromancer.nodes.value import InitialState_like, ValueNode

MAX_NODES = 4096
MAX_FRAGMENTS = 1 << 16
"""More phases of pooling than any real network has."""

MAX_STEPS = 10_000
"""More steps of an unrolled recurrence than can be built in reasonable time."""


def check_allocation(cls: type, name: str, arguments: dict[str, Any], values: dict[str, np.ndarray]) -> None:
    """Raise FileError if the constructor would make something larger than the stored parameters say.

    Layers are given the stored weights, whose shapes they compare before they make anything; so there must be some.

    Parameters
    ----------
    cls : type
        Class of the node.
    name : str
    arguments : dict
        Of the constructor, by name.
    values : dict of str to numpy.ndarray
        The node's stored parameters.
    """
    if issubclass(cls, NeuralLayer):
        if "w" not in values and arguments.get("w") is None:
            raise FileError("the weights are missing", node=f"{cls.__name__} {name}"[:200])
    if issubclass(cls, ValueNode):
        needed, have = _product(arguments.get("shape")), _size(values, "value")
    elif issubclass(cls, InitialState_like):
        needed, have = _product(arguments.get("override_f")), _size(values, "value")
    elif issubclass(cls, LRN) and "filter" in values:
        needed, have = _product(arguments.get("filter_shape")), _size(values, "filter")
    elif issubclass(cls, LRN):
        needed, have = _product(arguments.get("filter_shape")), MAX_FRAGMENTS
    elif issubclass(cls, ScanN):
        needed, have = _steps(arguments), MAX_STEPS
    elif arguments.get("mfp"):
        needed, have = _product(arguments.get("pool_shape")), MAX_FRAGMENTS
    else:
        return
    if needed > have:
        raise FileError(
            "the file asks for more than it holds",
            node=f"{cls.__name__} {name}"[:200],
            got=f"{needed} elements",
            expected=f"at most {have}",
        )


def _size(values: dict[str, np.ndarray], key: str) -> int:
    return values[key].size if key in values else 0


def _steps(arguments: dict[str, Any]) -> int:
    several = [arguments.get("in_iterate"), arguments.get("in_iterate_0")]
    nodes = [n for v in several for n in (v if isinstance(v, (list, tuple)) else [v]) if isinstance(n, Node)]
    sizes = [n.shape["r"] for n in nodes if n.shape is not None and n.shape.hastag("r")]
    return max([s for s in (arguments.get("n_steps"), *sizes) if isinstance(s, int)], default=0)


def _product(sizes: Any) -> int:
    several = sizes if isinstance(sizes, (list, tuple, np.ndarray)) else [sizes]
    return prod(int(s) for s in several if isinstance(s, (int, np.integer)))
