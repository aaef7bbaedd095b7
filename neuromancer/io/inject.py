"""Feeding a node of a saved graph from a new input."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from neuromancer.errors import ArgumentError, ShapeError

if TYPE_CHECKING:
    from neuromancer.nodes.node import Node
    from neuromancer.optim.trainable import TrainableGraph

ARGUMENTS = ("child_name", "shape", "tags", "strides", "fov", "dtype", "name", "parent_no")


def references(value: Any) -> Iterator[dict[str, Any]]:
    """All references to nodes inside an argument, in order."""
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
    """Names of the nodes that an entry of a document makes."""
    return list(entry["parts"] or []) if "split" in entry else [entry["name"]]


def inject(document: dict[str, Any], wish: dict[str, Any], model: TrainableGraph) -> None:
    """Replace a parent of a node by a new input, and leave out what nothing uses any more.

    Parameters
    ----------
    document : dict
        Is changed.
    wish : dict
        See :func:`neuromancer.modelload`.
    model : TrainableGraph
        What the document describes.

    Raises
    ------
    ArgumentError, UnknownNameError, ShapeError
        For unknown arguments, node or parent.
    """
    unknown = [key for key in wish if key not in ARGUMENTS]
    if unknown or "child_name" not in wish:
        raise ArgumentError(
            "inject_source has wrong arguments",
            where="modelload",
            got=list(wish),
            expected=f"child_name, and of {ARGUMENTS[1:]} what shall differ from the replaced parent",
        )
    child, number = wish["child_name"], wish.get("parent_no", 0)
    # A split goes by its own name or by that of any of its parts.
    name = child if child in model.splits else model[child].name
    position = next(i for i, e in enumerate(document["nodes"]) if name in (e.get("split"), *entry_names(e)))
    entry = document["nodes"][position]
    is_split = "split" in entry
    found = [{"node": entry["node"]}] if is_split else list(references(entry["arguments"]))
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < len(found):
        raise ArgumentError(
            "the node has no such parent", node=child, got=f"parent_no={number}", expected=f"0 to {len(found) - 1}"
        )
    parent = model[found[number]["node"]]
    name = model.unique_name(wish.get("name") or "input")
    document["nodes"].insert(position, _input(name, parent, wish))
    if is_split:
        entry["node"] = name
    else:
        found[number]["node"] = name
    _drop_unused(document, model)
    _designate(document, name)


def _input(name: str, parent: Node, wish: dict[str, Any]) -> dict[str, Any]:
    shape = parent.shape
    if shape is None and not {"shape", "tags"} <= set(wish):
        raise ShapeError("the replaced node has no shape", node=parent, expected="shape and tags in inject_source")
    like = wish.get("shape") is None
    arguments: dict[str, Any] = {
        "shape": list(shape.shape) if like else [None if s is None else int(s) for s in wish["shape"]],
        "tags": ",".join(shape.tags) if wish.get("tags") is None else ",".join(_tags(wish["tags"])),
        "dtype": wish.get("dtype") or parent.output.dtype,
    }
    for key, default in (("strides", shape.strides.tolist() if like else None), ("fov", shape.fov if like else None)):
        value = wish.get(key) if wish.get(key) is not None else default
        arguments[key] = None if value is None else [float(v) if v != int(v) else int(v) for v in value]
    return {"name": name, "class": "Input", "arguments": arguments}


def _tags(tags: Any) -> list[str]:
    return tags.split(",") if isinstance(tags, str) else [str(t) for t in tags]


def _drop_unused(document: dict[str, Any], model: TrainableGraph) -> None:
    """Leave out nodes that had children and have none any more."""
    roles = document["designations"]
    kept = {n.name for n in model.sinks} | {r for r in roles.values() if isinstance(r, str)}
    kept -= {roles.get("input_node")}
    kept |= {n for r in roles.values() if isinstance(r, list) for n in r}
    rest = []
    # Entries use earlier ones only.
    for entry in reversed(document["nodes"]):
        if kept.isdisjoint(entry_names(entry)):
            continue
        rest.append(entry)
        kept |= {ref["node"] for ref in references(entry.get("arguments"))}
        kept |= {entry["node"]} if "split" in entry else set()
        kept |= {place[0] for place in _shared(entry.get("arguments"))}
    document["nodes"] = rest[::-1]


def _shared(value: Any) -> Iterator[list[str]]:
    """Places of the parameters that an argument shares."""
    if isinstance(value, dict):
        if set(value) == {"parameter"}:
            yield value["parameter"]
        for v in value.values():
            yield from _shared(v)
    elif isinstance(value, list):
        for v in value:
            yield from _shared(v)


def _designate(document: dict[str, Any], name: str) -> None:
    """Make the new input the designated one if the old is gone."""
    exist = {n for e in document["nodes"] for n in entry_names(e)}
    roles = document["designations"]
    if roles.get("input_node") not in exist:
        roles["input_node"] = name
