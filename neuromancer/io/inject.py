"""Feeding a node of a saved graph from a new input node."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from neuromancer.casts import is_number, is_whole
from neuromancer.errors import ArgumentError, ShapeError
from neuromancer.utils import check_name

if TYPE_CHECKING:
    from neuromancer.nodes.node import Node
    from neuromancer.optim.trainable import TrainableGraph

ARGUMENTS = ("child_name", "shape", "tags", "strides", "fov", "dtype", "name", "parent_no")
FARTHEST = 1e100
"""Larger than any stride or field of view."""


def references(value: Any) -> Iterator[dict[str, Any]]:
    """Yield all references to nodes inside an argument, in order."""
    if isinstance(value, dict):
        if set(value) == {"node"}:
            yield value
        else:
            for v in value.values():
                yield from references(v)
    elif isinstance(value, list):
        for v in value:
            yield from references(v)


def entry_names(entry: dict[str, Any]) -> list[str]:
    """Return the names of the nodes that an entry of a document creates."""
    return list(entry["parts"] or []) if "split" in entry else [entry["name"]]


def inject(document: dict[str, Any], source: dict[str, Any], model: TrainableGraph) -> None:
    """Replace a parent of a node by a new input node, and remove nodes that become unused.

    Parameters
    ----------
    document : dict
        Modified in place.
    source : dict
        Argument `inject_source` of :func:`neuromancer.modelload`.
    model : TrainableGraph
        The model that the document describes.

    Raises
    ------
    ArgumentError, UnknownNameError, ShapeError
        For an unknown argument, node or parent.
    """
    unknown = [key for key in source if key not in ARGUMENTS]
    if unknown or "child_name" not in source:
        raise ArgumentError(
            "inject_source has wrong arguments",
            where="modelload",
            got=list(source),
            expected=f"child_name, and those of {ARGUMENTS[1:]} that differ from the replaced parent",
        )
    _check(source)
    child, number = source["child_name"], source.get("parent_no", 0)
    # A split is found by its own name or by that of any part.
    name = child if child in model.splits else model[child].name
    position = next(i for i, e in enumerate(document["nodes"]) if name in (e.get("split"), *entry_names(e)))
    entry = document["nodes"][position]
    is_split = "split" in entry
    found = [{"node": entry["node"]}] if is_split else list(references(entry["arguments"]))
    if not is_whole(number) or not 0 <= number < len(found):
        raise ArgumentError(
            "the node has no such parent", node=child, got=f"parent_no={number}", expected=f"0 to {len(found) - 1}"
        )
    parent = model[found[number]["node"]]
    name = model.unique_name(source.get("name") or "input")
    document["nodes"].insert(position, _input(name, parent, source))
    if is_split:
        entry["node"] = name
    else:
        found[number]["node"] = name
    _drop_unused(document, model)
    _designate(document, name)


def _check(source: dict[str, Any]) -> None:
    """Raise ArgumentError or InputTypeError for values that no input has, whatever the model."""
    for key in ("child_name", "name"):
        if source.get(key) is not None or key == "child_name":
            check_name(source[key], f"inject_source[{key!r}]")
    tests = {
        "shape": ("sizes or None", lambda v: v is None or (is_whole(v) and v >= 1)),
        "strides": ("numbers", lambda v: is_number(v) and -FARTHEST < v < FARTHEST),
        "fov": ("numbers", lambda v: is_number(v) and -FARTHEST < v < FARTHEST),
        "tags": ("tags", lambda v: isinstance(v, str)),
    }
    for key, (expected, fits) in tests.items():
        value = source.get(key)
        if value is None or (key == "tags" and isinstance(value, str)):
            continue
        is_sequence = isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim == 1)
        if not (is_sequence and all(map(fits, value))):
            raise ArgumentError(
                f"not {expected}", where=f"inject_source[{key!r}]", got=value, expected=f"a sequence of {expected}"
            )


def _input(name: str, parent: Node, source: dict[str, Any]) -> dict[str, Any]:
    shape = parent.shape
    if shape is None and not {"shape", "tags"} <= set(source):
        raise ShapeError("the replaced node has no shape", node=parent, expected="shape and tags in inject_source")
    like = source.get("shape") is None
    arguments: dict[str, Any] = {
        "shape": list(shape.shape) if like else [None if s is None else int(s) for s in source["shape"]],
        "tags": ",".join(shape.tags) if source.get("tags") is None else ",".join(_tags(source["tags"])),
        "dtype": source.get("dtype") or parent.output.dtype,
    }
    for key, default in (("strides", shape.strides.tolist() if like else None), ("fov", shape.fov if like else None)):
        value = source.get(key) if source.get(key) is not None else default
        arguments[key] = None if value is None else [float(v) if v != int(v) else int(v) for v in value]
    return {"name": name, "class": "Input", "arguments": arguments}


def _tags(tags: Any) -> list[str]:
    return tags.split(",") if isinstance(tags, str) else [str(t) for t in tags]


def _drop_unused(document: dict[str, Any], model: TrainableGraph) -> None:
    """Remove nodes that have lost all of their children."""
    roles = document["designations"]
    kept = {n.name for n in model.sinks} | {r for r in roles.values() if isinstance(r, str)}
    kept -= {roles.get("input_node")}
    kept |= {n for r in roles.values() if isinstance(r, list) for n in r}
    rest = []
    # Entries refer to earlier ones only.
    for entry in reversed(document["nodes"]):
        if kept.isdisjoint(entry_names(entry)):
            continue
        rest.append(entry)
        kept |= {ref["node"] for ref in references(entry.get("arguments"))}
        kept |= {entry["node"]} if "split" in entry else set()
        kept |= {place[0] for place in _shared(entry.get("arguments"))}
    document["nodes"] = rest[::-1]


def _shared(value: Any) -> Iterator[list[str]]:
    """Yield node and name of the parameters that an argument shares."""
    if isinstance(value, dict):
        if set(value) == {"parameter"}:
            yield value["parameter"]
        for v in value.values():
            yield from _shared(v)
    elif isinstance(value, list):
        for v in value:
            yield from _shared(v)


def _designate(document: dict[str, Any], name: str) -> None:
    """Designate the new input if the old one is gone."""
    exist = {n for e in document["nodes"] for n in entry_names(e)}
    roles = document["designations"]
    if roles.get("input_node") not in exist:
        roles["input_node"] = name
