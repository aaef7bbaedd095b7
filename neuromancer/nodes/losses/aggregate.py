"""Aggregation of loss components into the scalar that training minimises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from neuromancer import engine as E
from neuromancer.config import config
from neuromancer.errors import InputTypeError
from neuromancer.graph.demand import Demand, nodes_in
from neuromancer.graph.tagged_shape import TaggedShape
from neuromancer.nodes.losses.common import finite_vector, require_tensor
from neuromancer.nodes.node import Node
from neuromancer.variables import VariableParam


class AggregateLoss(Node):
    """Scalar loss: the mean of the components' weighted means.

    Parameters
    ----------
    parent_nodes : Node or list of Node
        Loss components, of any shape.
    mixing_weights : sequence of float, optional
        Weight of every component, not normalised. Default: 1. Can be changed through parameter ``mixing_weights`` or
        ``model.mixing``.
    name : str
    print_repr : bool

    Raises
    ------
    InputTypeError
        If a component is not a node with a tensor output, or there is none.
    ArgumentError
        If the number of weights differs from the number of components, or a weight is not finite.

    Notes
    -----
    Computes ``mean_i(w_i * mean(loss_i))`` over components i. The output is a scalar (0-d); its declared shape is
    ``[(1,f)]``.

    Examples
    --------
    >>> from neuromancer import Input
    >>> a = Input((2, 1), "b,f", name="a", print_repr=False)
    >>> b = Input((3, 1), "b,f", name="b", print_repr=False)
    >>> loss = AggregateLoss([a, b], [1, 2], print_repr=False)
    >>> float(loss([[1], [3]], [[4], [4], [4]]))
    5.0
    """

    def __init__(
        self,
        parent_nodes: Node | Sequence[Node],
        mixing_weights: Any = None,
        name: str = "total_loss",
        print_repr: bool = True,
    ) -> None:
        super().__init__(None, name, print_repr)
        components = list(parent_nodes) if isinstance(parent_nodes, (list, tuple)) else [parent_nodes]
        if not components:
            raise InputTypeError(
                "needs at least one loss", node=self, got=repr(parent_nodes), expected="[node, node, ...]"
            )
        for component in components:
            require_tensor(component, self, "every component")
        self.parent = components
        weights = finite_vector(
            self,
            "mixing weights",
            np.ones(len(components)) if mixing_weights is None else mixing_weights,
            len(components),
            config.floatX,
        )
        self.params["mixing_weights"] = VariableParam(
            weights, name="mixing_weights", apply_train=False, apply_reg=False
        )

    @classmethod
    def demand(cls, arguments: Mapping[str, Any]) -> Demand:
        return Demand(32 + 8 * sum(1 for _ in nodes_in(arguments.get("parent_nodes"))))

    @property
    def mixing_weights(self) -> VariableParam:
        """Variable with the weight of every component."""
        weights: VariableParam = self.params["mixing_weights"]
        return weights

    def _make_output(self) -> None:
        weights = self.params["mixing_weights"]
        terms = [weights[i] * E.T.mean(p.output) for i, p in enumerate(self.parent)]
        self.output = sum(terms[1:], terms[0]) / len(terms)

    def _calc_shape(self) -> None:
        self.shape = TaggedShape([1], "f")

    def _calc_comp_cost(self) -> None:
        self.computational_cost = sum(p.shape.stripnone_prod for p in self.parent)
