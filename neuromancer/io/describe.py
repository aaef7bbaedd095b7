"""Describing a model as a document: the JSON part of its file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from neuromancer import engine as E
from neuromancer.config import config
from neuromancer.errors import ArgumentError
from neuromancer.graph.construction import bound_arguments
from neuromancer.io.container import array_path
from neuromancer.io.names import class_name
from neuromancer.io.values import Arrays, Encoder
from neuromancer.nodes.functors import functor_name, is_functor, is_tensor_function
from neuromancer.nodes.node import Node
from neuromancer.variables import VariableParam
from neuromancer.version import __version__

if TYPE_CHECKING:
    from neuromancer.optim.trainable import TrainableGraph


def describe(model: TrainableGraph) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the document and arrays that a file stores about a model.

    Parameters
    ----------
    model : TrainableGraph

    Returns
    -------
    document : dict
        JSON values; arrays are referred to by their paths.
    arrays : dict of str to numpy.ndarray

    Raises
    ------
    ArgumentError
        If a node has an argument that cannot be stored in a file, such as a lambda.
    """
    arrays = Arrays()
    encode = Encoder(model.nodes.values(), arrays)
    parts = {part: label for label, split in model.splits.items() for part in split["parts"]}
    # Parameters first, so that arguments with equal values refer to them.
    state = {name: _state(node, arrays, encode) for name, node in model.nodes.items()}
    nodes: list[dict[str, Any]] = []
    done: set[str] = set()
    for name, node in model.nodes.items():
        label = parts.get(name)
        if label is None:
            arguments = {key: encode(value, node, key) for key, value in bound_arguments(node).items()}
            nodes.append({"name": name, "class": class_name(type(node)), "arguments": arguments, **state[name]})
        elif label not in done:
            done.add(label)
            split = {key: encode(value, node, key) for key, value in model.splits[label].items() if key != "parts"}
            features = {p: state[p]["features"] for p in model.splits[label]["parts"] if "features" in state[p]}
            nodes.append({"split": label, "parts": list(model.splits[label]["parts"]), **split, "features": features})
    states = {name: optimiser.get_state() for name, optimiser in model.optimisers.items()}
    states = {name: values for name, values in {**model.pending_states, **states}.items() if values}
    document = {
        "package": __version__,
        "floatX": config.floatX,
        "name": model.name,
        "nodes": nodes,
        "designations": model.designations,
        "meta": {key: float(p.get_value()) for key, p in model.meta.params.items()},
        "meta_given": sorted(model.meta.given),
        "optimisers": {name: _arrays(values, arrays, "optimisers", name) for name, values in states.items()},
        "recent": _arrays({"loss": list(model._losses), "seconds": list(model._seconds)}, arrays, "recent"),
        "history": _arrays(_history(model), arrays, "history"),
        "training": dict(model.training_state),
        "processing": {key: [step.stated for step in steps] for key, steps in model.processing.items() if steps},
        "variables": [],
    }
    for k, variable in enumerate(encode.variables):
        entry = {"name": variable.name, **_param(variable, arrays, array_path("variables", str(k)))}
        document["variables"].append(entry)  # type: ignore[attr-defined]
    return document, arrays.by_path


def own_functors(model: TrainableGraph) -> dict[str, Callable[..., Any]]:
    """Return a model's functions that are not the package's, by their names in its file; workers get them with it."""
    parts = {part for split in model.splits.values() for part in split["parts"]}
    nodes = [node for name, node in model.nodes.items() if name not in parts]
    values = [(v, node) for node in nodes for v in bound_arguments(node).values()]
    named = {functor_name(v, node): v for v, node in values if is_functor(v)}
    return {name: functor for name, functor in named.items() if not is_tensor_function(name)}


def _state(node: Node, arrays: Arrays, encode: Encoder) -> dict[str, Any]:
    """Return the parameters of a node, including those in plain attributes, and the state of its random streams."""
    entry: dict[str, Any] = {}
    place = ("parameters", node.name)
    entry["parameters"] = {key: _param(p, arrays, array_path(*place, key)) for key, p in node.params.items()}
    own = {key: v for key, v in vars(node).items() if isinstance(v, VariableParam) and not encode.is_param(v)}
    entry["attributes"] = {
        key: _param(p, arrays, array_path("attributes", node.name, key))
        for key, p in own.items()
        if not any(p is v for v in (node.output, *node.construction[0], *node.construction[1].values()))
    }
    entry["streams"] = {}
    for key, stream in vars(node).items():
        if isinstance(stream, E.RandomStream):
            seed, positions = stream.get_state()
            path = array_path("streams", node.name, key)
            entry["streams"][key] = {"seed": seed, **arrays.add(positions, path)}
    if node.feature_names is not None:
        entry["features"] = list(node.feature_names)
    return {key: value for key, value in entry.items() if value}


def _param(param: Any, arrays: Arrays, path: str) -> dict[str, Any]:
    entry = arrays.add(param.get_value(), path)
    if param.constant:
        return {**entry, "constant": True}
    flags = {"train": bool(param.trained), "decay": _plain(param.apply_reg)}
    return {**entry, **flags, **({"frozen": True} if param.frozen else {})}


def _plain(value: Any) -> bool | float:
    return bool(value) if isinstance(value, (bool, np.bool_)) else float(value)


def _arrays(values: Mapping[str, Any], arrays: Arrays, *place: str) -> dict[str, Any]:
    return {key: arrays.add(np.asarray(value), array_path(*place, key)) for key, value in values.items()}


def _history(model: TrainableGraph) -> dict[str, Any]:
    history = {key: np.asarray(value) for key, value in model.history.items()}
    bad = {key: value.dtype for key, value in history.items() if value.dtype.kind not in "biuf"}
    if bad:
        raise ArgumentError("the history must hold numbers", where=f"model {model.name}", got=bad)
    return history
