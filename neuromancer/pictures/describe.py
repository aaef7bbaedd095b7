"""Description of a graph as plain data, from which all pictures are drawn."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from neuromancer import engine as E
from neuromancer.errors import GraphError
from neuromancer.graph.construction import bound_arguments, constructor
from neuromancer.graph.node import GraphNode, is_shaped
from neuromancer.graph.registry import model_manager
from neuromancer.pictures.info import EdgeInfo, GraphInfo, NodeInfo, ParamInfo

if TYPE_CHECKING:
    from neuromancer.graph.roles import DesignatedGraph

ROLES = {
    "input_node": "input",
    "target_node": "target",
    "loss_node": "loss",
    "prediction_node": "prediction",
    "error_node": "error",
}
HIDDEN_ARGUMENTS = ("name", "print_repr")
MAX_VALUE = 160
"""Maximum length of an argument's text."""


def describe_model(model: DesignatedGraph) -> GraphInfo:
    """Describe all nodes of a model.

    Parameters
    ----------
    model : Model
        Model to describe.

    Returns
    -------
    GraphInfo

    Raises
    ------
    GraphError
        If the model has no nodes.

    Examples
    --------
    >>> import neuromancer as nm
    >>> model = nm.model_manager.newmodel("described")
    >>> x = nm.Input((None, 3), "b,f", name="x", print_repr=False)
    >>> y = nm.Perceptron(x, 2, name="y", print_repr=False)
    >>> graph = describe_model(model)
    >>> [(n.name, n.kind, n.shape_text, n.param_count) for n in graph.nodes]
    [('x', 'source', 'b × 3f', 0), ('y', 'layer', 'b × 2f', 8)]
    >>> nm.model_manager.delmodel("described")
    """
    if not model.nodes:
        raise GraphError("there is nothing to draw", where=f"model {model.name}", expected="a model with nodes")
    reference = model.prediction_node
    if reference is None and len(model.sinks) == 1:
        reference = model.sinks[0]
    return _describe(f"model {model.name}", _in_order(model.nodes.values()), model, reference)


def describe_node(node: GraphNode) -> GraphInfo:
    """Describe a node and all nodes that it depends on.

    Parameters
    ----------
    node : GraphNode
        Node to describe.

    Returns
    -------
    GraphInfo
    """
    models = [m for m in list(model_manager.models.values()) if m.nodes.get(node.name) is node]
    return _describe(f"node {node.name}", list(node.sub_graph()), models[0] if models else None, node)


def _in_order(nodes: Iterable[GraphNode]) -> list[GraphNode]:
    order: dict[int, GraphNode] = {}
    for node in nodes:
        for n in node.sub_graph():
            order.setdefault(id(n), n)
    return list(order.values())


def _describe(
    title: str, nodes: list[GraphNode], model: DesignatedGraph | None, reference: GraphNode | None
) -> GraphInfo:
    position = {id(node): i for i, node in enumerate(nodes)}
    total = sum(_number(node.computational_cost) or 0.0 for node in nodes)
    infos = [_node_info(node, model, total) for node in nodes]
    pairs = [(position[id(p)], i, "data") for i, node in enumerate(nodes) for p in node.parents]
    pairs += [
        (position[id(end)], position[id(start)], "memory")
        for node in nodes
        for end, start in zip(getattr(node, "out_memory", ()), getattr(node, "in_memory", ()), strict=False)
        if id(end) in position and id(start) in position
    ]
    edges = [EdgeInfo(a, b, kind, infos[a].shape_text) for a, b, kind in dict.fromkeys(pairs)]
    distinct = {id(p): (p, info) for n, i in zip(nodes, infos, strict=True) for p, info in _with_params(n, i)}
    return GraphInfo(
        title,
        infos,
        edges,
        sum(info.count for _, info in distinct.values() if info.trainable),
        sum(info.count for _, info in distinct.values()),
        total,
        None if reference is None else reference.name,
    )


def _with_params(node: GraphNode, info: NodeInfo) -> Iterable[tuple[Any, ParamInfo]]:
    return zip(node.params.values(), info.params, strict=True)


def _node_info(node: GraphNode, model: DesignatedGraph | None, total: float) -> NodeInfo:
    params = [_param_info(key, param) for key, param in node.params.items()]
    shape = node.shape if is_shaped(node) else None
    cost = _number(node.computational_cost)
    arguments, defaults = _arguments(node)
    return NodeInfo(
        name=node.name,
        class_name=type(node).__name__,
        kind=_kind(node),
        roles=_roles(node, model),
        summary=(inspect.getdoc(type(node)) or "").strip().split("\n")[0],
        tags=None if shape is None else list(shape.tags),
        sizes=None if shape is None else [None if s is None else int(s) for s in shape.shape],
        dtype=getattr(node.output, "dtype", None),
        strides=[] if shape is None else [_number(s) or 0 for s in shape.strides],
        fov=[] if shape is None else [None if f < 0 else int(f) for f in shape.fov],
        offsets=[]
        if shape is None
        else [None if f < 0 else int(o) for o, f in zip(shape.offsets, shape.fov, strict=True)],
        fragments=1 if shape is None else len(shape.mfp_offsets),
        params=params,
        param_count=sum(p.count for p in params if p.trainable),
        cost=cost,
        cost_share=(cost or 0.0) / total if total else 0.0,
        arguments=arguments,
        defaults=defaults,
        features=list(node.feature_names or ()),
    )


def _kind(node: GraphNode) -> str:
    if node.is_source:
        return "source"
    if not node.parents:
        return "value"
    if ".losses." in type(node).__module__:
        return "loss"
    return "layer" if node.params else "operation"


def _roles(node: GraphNode, model: DesignatedGraph | None) -> list[str]:
    if model is None:
        return []
    roles = [label for role, label in ROLES.items() if getattr(model, role) is node]
    return [*roles, "debug"] if any(n is node for n in model.debug_outputs) else roles


def _param_info(name: str, param: Any) -> ParamInfo:
    # Taken from the variable: reading the value would copy it from the device.
    shape = [n for n in E.known_shape(param) or () if n is not None]
    return ParamInfo(
        name,
        shape,
        str(param.dtype),
        math.prod(shape),
        bool(param.apply_train),
        bool(param.constant),
    )


def _arguments(node: GraphNode) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    bound = bound_arguments(node)
    signature = constructor(type(node)).parameters
    arguments = [(key, value_text(value)) for key, value in bound.items() if key not in HIDDEN_ARGUMENTS]
    defaults = [
        (key, value_text(p.default))
        for key, p in signature.items()
        if key not in bound and key not in HIDDEN_ARGUMENTS and p.default is not p.empty
    ]
    return arguments, defaults


def value_text(value: Any) -> str:
    """Format an argument for display: nodes and functions by name, arrays by shape and dtype, others by ``repr``.

    Examples
    --------
    >>> import numpy as np
    >>> value_text(np.zeros((2, 3))), value_text(abs), value_text((1, np.int64(2)))
    ('array (2, 3) float64', 'abs', '(1, 2)')
    """
    if isinstance(value, GraphNode):
        text = value.name
    elif isinstance(value, np.generic):
        text = repr(value.item())
    elif isinstance(value, np.ndarray):
        text = f"array {value.shape} {value.dtype}"
    elif isinstance(value, (list, tuple)):
        inner = ", ".join(value_text(v) for v in value[:20]) + (", …" if len(value) > 20 else "")
        single = "," if isinstance(value, tuple) and len(value) == 1 else ""
        text = f"[{inner}]" if isinstance(value, list) else f"({inner}{single})"
    elif hasattr(value, "apply_train"):
        text = f"parameter {value.name or ''}".strip()
    elif callable(value):
        text = getattr(value, "__qualname__", type(value).__name__)
    else:
        text = repr(value)
    return text if len(text) <= MAX_VALUE else text[: MAX_VALUE - 1] + "…"


def _number(value: Any) -> float | int | None:
    """Return a cost or stride as a Python number, None if it is not a finite number."""
    if isinstance(value, Fraction):
        value = float(value)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return value
