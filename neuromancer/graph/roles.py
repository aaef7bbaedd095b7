"""A graph with designated nodes: input, target, loss, prediction, ..."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from neuromancer.errors import GraphError, InputTypeError
from neuromancer.graph.node import GraphNode
from neuromancer.graph.registry import Graph

ROLES = ("input_node", "target_node", "loss_node", "prediction_node", "error_node")
LIST_ROLES = ("prediction_ext", "debug_outputs")


class DesignatedGraph(Graph):
    """A graph with designated nodes.

    Parameters
    ----------
    name : str

    Attributes
    ----------
    input_node, target_node, loss_node, prediction_node, error_node : Node or None
    prediction_ext, debug_outputs : list of Node
    batch_size : int or None
        Batch size of the prediction node.
    ndim : int or None
        Number of spatial axes of the prediction node.
    """

    if TYPE_CHECKING:
        nodes: dict[str, GraphNode]  # type: ignore[assignment]

        @property
        def sources(self) -> Sequence[GraphNode]: ...
        @property
        def sinks(self) -> Sequence[GraphNode]: ...

    def __init__(self, name: str = "") -> None:
        super().__init__(name)
        self._forget_roles()

    def _forget_roles(self) -> None:
        self.input_node: GraphNode | None = None
        self.target_node: GraphNode | None = None
        self.loss_node: GraphNode | None = None
        self.prediction_node: GraphNode | None = None
        self.error_node: GraphNode | None = None
        self.prediction_ext: list[GraphNode] = []
        self.debug_outputs: list[GraphNode] = []
        self.batch_size: int | None = None
        self.ndim: int | None = None

    def _roles_changed(self) -> None:
        """Hook that runs before new roles are assigned, and when all are cleared."""

    def reset(self) -> None:
        """Remove all nodes, roles, functions and optimisers."""
        super().reset()
        self._forget_roles()
        self._roles_changed()

    @property
    def _label(self) -> str:
        return f"model {self.name}"

    def _require(self, role: str) -> Any:
        node = getattr(self, role)
        if node is None:
            raise GraphError(f"no {role} is designated", where=self._label, expected=f"designate_nodes({role}=...)")
        return node

    def designate_nodes(
        self,
        input_node: GraphNode | str | None = "input",
        target_node: GraphNode | str | None = None,
        loss_node: GraphNode | str | None = None,
        prediction_node: GraphNode | str | None = None,
        prediction_ext: Sequence[GraphNode | str] | None = None,
        error_node: GraphNode | str | None = None,
        debug_outputs: Sequence[GraphNode | str] | None = None,
    ) -> None:
        """Assign roles to nodes of this model, given as nodes or by name; on an error, nothing is changed.

        Parameters
        ----------
        input_node : Node or str, optional
            Source of the raw data.
        target_node : Node or str, optional
            Source of the labels.
        loss_node : Node or str, optional
            Scalar that training minimises.
        prediction_node : Node or str, optional
            Node that ``predict`` and ``predict_dense`` evaluate.
        prediction_ext : list of Node or str, optional
            Nodes that ``predict_ext`` evaluates, e.g. loss, error and prediction.
        error_node : Node or str, optional
            Node that is monitored in addition to the loss. Default: the second one, if `prediction_ext` is loss, error
            and prediction, as in the original library.
        debug_outputs : list of Node or str, optional
            Nodes whose values ``trainingstep`` returns as well; they must not need sources that the loss does not have.

        Raises
        ------
        UnknownNameError
            For an unknown name; suggests the most similar one.
        GraphError
            For a node of another model, a loss that is not a scalar, or debug outputs that need data that the loss does
            not get.
        InputTypeError
            For a list instead of a single node, or vice versa.
        """
        nodes = dict(
            input_node=input_node,
            target_node=target_node,
            loss_node=loss_node,
            prediction_node=prediction_node,
            error_node=error_node,
        )
        single = {role: self._find(role, value) for role, value in nodes.items() if value}
        lists = {
            role: self._find_all(role, value)
            for role, value in (("prediction_ext", prediction_ext), ("debug_outputs", debug_outputs))
            if value
        }
        loss, prediction = single.get("loss_node"), single.get("prediction_node")
        if loss is not None and loss.output.ndim != 0:
            raise GraphError(
                "the loss must be a scalar",
                node=loss,
                got=f"{loss.output.ndim} axes, {loss.shape!r}",
                expected="a 0-d output",
                nearest=f"AggregateLoss([{loss.name}])",
            )
        self._check_debug_outputs(loss, lists.get("debug_outputs", []))
        error = _error_of(lists.get("prediction_ext", []), loss, prediction)
        if error is not None:
            single.setdefault("error_node", error)
        self._forget_roles()
        self._roles_changed()
        for role, value in {**single, **lists}.items():
            setattr(self, role, value)
        if prediction is not None and prediction.shape is not None:
            self.batch_size = prediction.shape["b"] if prediction.shape.hastag("b") else None
            self.ndim = prediction.shape.ndim

    def _find(self, role: str, value: Any) -> GraphNode:
        if isinstance(value, str):
            value = self[value]
        if not isinstance(value, GraphNode):
            raise InputTypeError(f"{role} must be one node or its name", where=self._label, got=repr(value)[:200])
        if self.nodes.get(value.name) is not value:
            raise GraphError(
                f"{role} is not a node of this model",
                where=self._label,
                got=value.name,
                expected=f"one of {self!r}",
            )
        return value

    def _find_all(self, role: str, values: Any) -> list[GraphNode]:
        if not isinstance(values, (list, tuple)):
            raise InputTypeError(f"{role} must be a list of nodes or names", where=self._label, got=repr(values)[:200])
        return [self._find(role, value) for value in values]

    def _check_debug_outputs(self, loss: GraphNode | None, debug: Sequence[GraphNode]) -> None:
        known = [] if loss is None else loss.input_nodes
        for node in debug:
            extra = [n.name for n in node.input_nodes if n not in known]
            if extra:
                raise GraphError(
                    "a debug output needs data that the loss does not get",
                    node=node,
                    got=f"sources {extra}",
                    expected=f"sources among {[n.name for n in known]}",
                )

    @property
    def designations(self) -> dict[str, Any]:
        """Names of the designated nodes by role, as ``designate_nodes`` takes them."""
        single = {role: getattr(self, role) for role in ROLES}
        lists = {role: [n.name for n in getattr(self, role)] or None for role in LIST_ROLES}
        return {**{role: None if node is None else node.name for role, node in single.items()}, **lists}

    @property
    def debug_output_names(self) -> list[str]:
        """Names of the debug nodes, in the order of the values that ``trainingstep`` returns."""
        return [n.name for n in self.debug_outputs]

    @property
    def prediction_feature_names(self) -> tuple[str, ...] | None:
        """Feature names of the prediction node; None if it has none."""
        names: tuple[str, ...] | None = self._require("prediction_node").feature_names
        return names

    @property
    def loss_input_shapes(self) -> Any:
        """Shapes of the inputs of the loss, one list per source; just that list if there is a single source."""
        shapes = [None if n.shape is None else list(n.shape.shape) for n in self._require("loss_node").input_nodes]
        return shapes[0] if len(shapes) == 1 else shapes


def _error_of(extended: Sequence[GraphNode], loss: GraphNode | None, prediction: GraphNode | None) -> GraphNode | None:
    """Return the error of a triple (loss, error, prediction), unless it needs data that the loss does not get."""
    if loss is None or prediction is None or len(extended) != 3 or [extended[0], extended[2]] != [loss, prediction]:
        return None
    return extended[1] if all(source in loss.input_nodes for source in extended[1].input_nodes) else None
