"""What building a model from a file may take: a multiple of what the file holds, and something for small files."""

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
"""Symbolic operations that any file may have written, and characters of its description for each one more."""
NUMBERS, BYTES = 1 << 19, 1 / 2
"""Numbers of 8 bytes that any file may have made, and bytes of its arrays for each one more."""
WALK = 64
"""Steps through the graph that take as long as a symbolic operation."""
MAX_INTEGER = 1 << 128
"""More than any size, seed or value."""


class Budget:
    """What is left for the nodes of one file. All of them draw on it, so that many small ones cannot add up, either.

    Parameters
    ----------
    document : dict
        As :func:`neuromancer.io.describe.describe` makes it.
    arrays : mapping of str to numpy.ndarray
    """

    def __init__(self, document: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        text = len(json.dumps(document["nodes"], default=str))
        self.nodes = MAX_NODES
        self.operations = OPERATIONS + text // TEXT
        self.numbers = NUMBERS + int(sum(array.nbytes for array in arrays.values()) / BYTES)
        self._edges = 0

    def spend(self, where: str, demand: Demand, nodes: int = 0) -> None:
        """Take what something needs out of the budget; FileError if there is not as much left."""
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
        """What a node demands, taken out of the budget; FileError if that is too much, or its weights are missing.

        Parameters
        ----------
        cls : type of Node
        name : str
        arguments : mapping of str to object
            Of the constructor, by name, defaults included.
        values : mapping of str to numpy.ndarray
            The node's stored parameters. Layers get the weights among them and compare shapes before they make
            anything; so there must be some.
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
        """Count `n` walks through the graph, which the field of view of a node under construction takes."""
        self.spend(f"{type(node).__name__} {node.name}", Demand(n * self._edges // WALK))
