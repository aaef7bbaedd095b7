"""Resource limits of building a model from a file: a constant plus a multiple of the file's contents."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from neuromancer.errors import FileError
from neuromancer.graph.demand import Demand, inherited
from neuromancer.graph.protocol import NodeLike
from neuromancer.nodes.apply import PART
from neuromancer.nodes.neural_layer import NeuralLayer
from neuromancer.nodes.node import Node

MAX_NODES = 4096
OPERATIONS, TEXT = 100_000, 64
"""Symbolic operations allowed for any file, and characters of its description per additional one."""
NUMBERS, BYTES = 1 << 19, 1 / 2
"""Numbers of 8 bytes allowed for any file, and bytes of its arrays per additional one."""
WALK = 64
"""Number of graph edges visited in the time of one symbolic operation."""
MAX_INTEGER = 1 << 128
"""Larger than any size, seed or value."""


class Budget:
    """Remaining resources for the nodes of one file. All nodes share it, so many small ones cannot add up either.

    Parameters
    ----------
    document : dict
        As returned by :func:`neuromancer.io.describe.describe`.
    arrays : mapping of str to numpy.ndarray
    """

    def __init__(self, document: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        text = len(json.dumps(document["nodes"], default=str))
        self.nodes = MAX_NODES
        self.operations = OPERATIONS + text // TEXT
        self.numbers = NUMBERS + int(sum(array.nbytes for array in arrays.values()) / BYTES)
        self._edges = 0

    def spend(self, where: str, demand: Demand, nodes: int = 0) -> None:
        """Spend a demand; raise FileError if it exceeds the remaining budget."""
        for what, needed, left in (
            ("nodes", nodes, self.nodes),
            ("symbolic operations", demand.operations, self.operations),
            ("numbers", demand.numbers, self.numbers),
        ):
            if needed > left:
                raise FileError(
                    "the file asks for more than it holds",
                    where=where[:200],
                    got=f"{needed} {what}",
                    expected=f"at most {left}",
                )
        self.nodes -= nodes
        self.operations -= demand.operations
        self.numbers -= demand.numbers

    def array(self, array: np.ndarray, where: str = "file") -> None:
        """Count a copy of an array."""
        self.spend(where, Demand(0, array.nbytes // 8 + 1))

    def node(self, cls: type[Node], name: str, arguments: Mapping[str, Any], values: Mapping[str, Any]) -> Demand:
        """Spend and return the demand of a node; raise FileError if it is too large, or its weights are missing.

        Parameters
        ----------
        cls : type of Node
        name : str
        arguments : mapping of str to object
            Arguments of the constructor by name, including defaults.
        values : mapping of str to numpy.ndarray
            Stored parameters of the node. Layers must have weights among them, and check their shapes before they
            allocate anything.
        """
        where = f"{cls.__name__} {name}"
        if issubclass(cls, NeuralLayer) and "w" not in values and arguments.get("w") is None:
            raise FileError("the weights are missing", where=where[:200])
        from_parents = inherited(arguments)
        self._edges += from_parents.operations
        demand = cls.demand(arguments)
        self.spend(where, demand + from_parents + Demand(0, sum(v.nbytes for v in values.values()) // 2), nodes=1)
        return demand

    def parts(self, name: str, index: Any, n_out: Any) -> None:
        """Count the parts of a split."""
        cuts = index if isinstance(index, (list, tuple, np.ndarray)) else [index]
        count = len(cuts) + 1 if index is not None else n_out
        if isinstance(count, (int, np.integer)) and not isinstance(count, bool):
            self.spend(f"split {name}", Demand(PART * max(0, int(count))), nodes=max(0, int(count)))
            self._edges += int(count)

    def walks(self, node: NodeLike, n: int) -> None:
        """Count `n` traversals of the graph, needed for the field of view of a node under construction."""
        self.spend(f"{type(node).__name__} {node.name}", Demand(n * self._edges // WALK))
