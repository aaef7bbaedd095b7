"""Changing patch and batch size of a saved graph, with or without max-fragment pooling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from neuromancer.errors import ArgumentError, GraphError, ShapeError
from neuromancer.graph.patches import nearest_patch_sizes, patch_size_through, patch_source, require_patch_size
from neuromancer.io.inject import entry_names, references

if TYPE_CHECKING:
    from neuromancer.nodes.node import Node
    from neuromancer.optim.trainable import TrainableGraph


def resize(
    document: dict[str, Any], model: TrainableGraph, patch: list[int] | None, batch: int | None, mfp: bool
) -> None:
    """Change the sizes of the sources in a document.

    Parameters
    ----------
    document : dict
        Modified in place.
    model : TrainableGraph
        The model that the document describes.
    patch : list of int or None
        Spatial size of the input.
    batch : int or None
        Batch size of the input.
    mfp : bool
        Enable max-fragment pooling, and reassemble the fragments before the prediction node.

    Raises
    ------
    GraphError
        If the model has no input or no prediction node.
    ShapeError
        If the graph cannot take this size.
    ArgumentError
        If the graph does not support max-fragment pooling.
    """
    source = model.input_node or (patch_source(model.prediction_node) if model.prediction_node is not None else None)
    if source is None or source.shape is None:
        raise GraphError(
            "sizes can only be imposed on a designated input node",
            where=f"model {document.get('name', '')}",
            expected="designate_nodes(input_node=...) before saving",
        )
    target = model.prediction_node or model.loss_node or next(n for n in model.sinks if source in n.input_nodes)
    if mfp:
        batch = _check_mfp(model, source, target, batch)
    if patch is not None:
        require_patch_size(target, patch, mfp)
    elif mfp:
        patch = [_larger(target, axis, size) for axis, size in enumerate(source.shape.spatial_shape)]
    dense = _switch_on(document, model, target) if mfp else set()
    new = {} if patch is None else _new_sizes(model, source, target, patch, mfp, dense)
    for entry in document["nodes"]:
        node = model.nodes.get(entry.get("name", ""))
        if node is not None and node.is_source and node.shape is not None:
            _set_sizes(entry, node, new.get(node.name), batch, source, bool(dense))


def _larger(node: Node, axis: int, size: int | None) -> int:
    """Return the nearest valid size that is not smaller."""
    if size is None:
        raise ShapeError("the input's size is unknown", node=node, expected="imposed_patch_size")
    return nearest_patch_sizes(node, axis, size, mfp=True)[-1]


# ---- max-fragment pooling
def _check_mfp(model: TrainableGraph, source: Node, target: Node, batch: int | None) -> int:
    if model.prediction_node is None:
        raise GraphError("max-fragment pooling needs a prediction node", where=f"model {model.name}")
    if target.shape is None or target.shape.ndim != source.shape.ndim:
        raise ArgumentError(
            "max-fragment pooling needs a prediction with the spatial axes of the input",
            node=target,
            got=repr(target.shape),
            expected=f"the spatial axes of {source.shape!r}",
        )
    if batch not in (None, 1):
        raise ArgumentError(
            "max-fragment pooling needs batch size 1", node=target, got=f"imposed_batch_size={batch}", nearest="1"
        )
    bad = [n.name for n in target.sub_graph() if n.windows and any(w.up > 1 for w in n.windows)]
    if bad:
        raise ArgumentError("max-fragment pooling is not possible above up-convolutions", node=target, got=bad)
    return 1


def _pools(node: Node) -> bool:
    return hasattr(node, "mfp") and any(w.down > 1 for w in node.windows or ())


def _switch_on(document: dict[str, Any], model: TrainableGraph, target: Node) -> set[str]:
    """Set ``mfp`` on all pooling nodes, and insert FragmentsToDense before the prediction node.

    Returns
    -------
    set of str
        Names of the nodes that become dense.
    """
    for entry in document["nodes"]:
        node = model.nodes.get(entry.get("name", ""))
        if node is not None and _pools(node):
            entry["arguments"]["mfp"] = True
    position = next(i for i, e in enumerate(document["nodes"]) if target.name in entry_names(e))
    entry = document["nodes"][position]
    if "split" in entry:
        raise ArgumentError(
            "max-fragment pooling is not possible if the prediction node is a part of a split", node=target
        )
    inserted: dict[str, str] = {}
    if _pools(target):
        name = model.unique_name("to_dense")
        made = {"name": name, "class": "FragmentsToDense", "arguments": {"parent": {"node": target.name}}}
        document["nodes"].insert(position + 1, made)
        roles = document["designations"]
        roles["prediction_node"] = name
        return {name}
    for reference in references(entry["arguments"]):
        parent = model[reference["node"]]
        if parent.shape is None or all(s == 1 for s in parent.shape.strides) or _joined(parent):
            continue
        if parent.name not in inserted:
            name = model.unique_name(f"to_dense{len(inserted) or ''}")
            inserted[parent.name] = name
            made = {"name": name, "class": "FragmentsToDense", "arguments": {"parent": {"node": parent.name}}}
            document["nodes"].insert(position, made)
            position += 1
        reference["node"] = inserted[parent.name]
    return {target.name, *target.all_children} if inserted else set()


def _joined(node: Node) -> bool:
    return any(type(n).__name__ == "FragmentsToDense" for n in node.sub_graph())


# ---- sizes
def _new_sizes(
    model: TrainableGraph, source: Node, target: Node, patch: list[int], mfp: bool, dense: set[str]
) -> dict[str, list[int]]:
    """Return the spatial sizes of the input and of all sources that follow it."""
    sizes: list[dict[str, int]] = []
    for axis, size in enumerate(patch):
        through = patch_size_through(target, axis, size, mfp, source) or {}
        named = {n.name: s for n, s in through.items()}
        if dense:
            named[target.name] = named[target.name] * int(target.shape.strides[axis])
        sizes.append(named)
    new = {source.name: list(patch)}
    for other in model.sources:
        if other is source or other.shape is None or other.shape.ndim != len(patch):
            continue
        for node in _counterparts(other, target):
            if node.shape.spatial_shape == other.shape.spatial_shape and all(node.name in s for s in sizes):
                new[other.name] = [s[node.name] for s in sizes]
                break
    return new


def _counterparts(source: Node, target: Node) -> list[Node]:
    """Return the nodes whose size a source may have to match: those it is combined with, and the prediction."""
    met = [p for child in source.children.values() for p in child.parents if p is not source]
    return [n for n in (*met, target) if n.shape is not None]


def _set_sizes(
    entry: dict[str, Any], node: Node, sizes: list[int] | None, batch: int | None, source: Node, dense: bool
) -> None:
    shape = list(node.shape.shape)
    if sizes is not None:
        for axis, size in zip(node.shape.spatial_axes, sizes, strict=True):
            shape[axis] = size
        if dense and node is not source:
            entry["arguments"]["strides"] = [1] * len(sizes)
    if batch is not None and node.shape.hastag("b"):
        axis = node.shape.tag2index("b")
        same = source.shape.hastag("b") and node.shape["b"] == source.shape["b"]
        shape[axis] = batch if node is source or same else shape[axis]
    entry["arguments"]["shape"] = shape
