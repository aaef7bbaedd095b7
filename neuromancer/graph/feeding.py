"""Input arrays for the sources of a graph: checking and converting those of a caller, and drawing random ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from neuromancer.casts import exact_cast, fits_kind
from neuromancer.errors import ArgumentError, InputTypeError, NeuromancerError, ShapeError
from neuromancer.graph.node import GraphNode
from neuromancer.masked import unmasked
from neuromancer.printable import Lines, printable
from neuromancer.utils import as_array, rng


def check_arrays(
    node: GraphNode, sources: Sequence[GraphNode], arrays: Sequence[Any], evaluated: Sequence[GraphNode] | None = None
) -> list[Any]:
    """Convert the arrays that a node is called with to the dtypes of its sources.

    If they do not fit, the error shows a table of required and given arrays. Conversion preserves values: one that the
    dtype cannot represent is refused, and so are labels that are invalid for a loss among the evaluated nodes and
    their ancestors.

    Parameters
    ----------
    node : Node
        The node being called.
    sources : sequence of Node
        The sources that need data, in calling order.
    arrays : sequence of array
        One per source.
    evaluated : sequence of Node, optional
        The nodes to be evaluated; default: `node`.

    Returns
    -------
    list

    Raises
    ------
    InputTypeError, ShapeError, ArgumentError
    """
    if len(arrays) != len(sources):
        raise InputTypeError(
            f"{len(sources)} inputs required, {len(arrays)} given",
            node=node,
            got=_table(sources, arrays),
            expected="one array per source, in this order",
        )
    checked = [_check_array(node, s, a, sources, arrays) for s, a in zip(sources, arrays, strict=True)]
    fed = dict(zip(map(id, sources), checked, strict=True))
    for parent, check in _input_checks([node] if evaluated is None else evaluated):
        values = _rearranged(parent, fed)
        if values is not None:
            check(values)
    return [
        a if s.shape is None else exact_cast(a, s.output.dtype, node, f"input {s.name!r}")
        for s, a in zip(sources, checked, strict=True)
    ]


def _input_checks(nodes: Iterable[GraphNode]) -> Iterator[tuple[GraphNode, Callable[[Any], None]]]:
    """Yield the input checks of the nodes and their ancestors, each once."""
    known = {id(n): n for node in nodes for n in node.sub_graph()}
    for node in known.values():
        yield from node.input_checks()


def _rearranged(node: GraphNode, fed: dict[int, Any]) -> Any:
    """Return the output of a node if its ancestors only select and rearrange the values that are fed, else None.

    Parameters
    ----------
    node : Node
    fed : dict of int to array or None
        Arrays keyed by the ``id`` of their nodes; those of intermediate nodes are added.
    """
    if id(node) not in fed:
        for each in node.sub_graph():
            if id(each) not in fed:
                arrays = [fed[id(p)] for p in each.parents]
                known = arrays and all(array is not None for array in arrays)
                fed[id(each)] = each.rearranged(arrays) if known else None
    return fed[id(node)]


def _check_array(
    node: GraphNode, source: GraphNode, value: Any, sources: Sequence[GraphNode], arrays: Sequence[Any]
) -> Any:
    if source.shape is None:
        return value
    dtype = source.output.dtype
    try:
        array = as_array(unmasked(value, node))
    except ValueError as error:
        raise ShapeError(
            f"input {source.name!r} is not an array", node=node, got=str(error), expected=repr(source.shape)
        ) from None
    if not fits_kind(array.dtype, dtype):
        raise InputTypeError(
            f"input {source.name!r} has the wrong dtype",
            node=node,
            got=_table(sources, arrays),
            expected=str(dtype),
        )
    declared = source.shape.shape
    if array.ndim != len(declared) or any(d is not None and d != n for d, n in zip(declared, array.shape, strict=True)):
        raise ShapeError(
            f"input {source.name!r} has the wrong shape",
            node=node,
            got=_table(sources, arrays),
            expected=repr(source.shape),
        )
    return array


def _table(sources: Sequence[GraphNode], arrays: Sequence[Any]) -> str:
    rows = [f"\n  {'source':<20}{'required':<43} given"]
    for i in range(max(len(sources), len(arrays))):
        name = sources[i].name if i < len(sources) else "-"
        need = "-"
        if i < len(sources):
            need = "any object" if sources[i].shape is None else f"{sources[i].shape!r} {sources[i].output.dtype}"
        given = "-"
        if i < len(arrays):
            given = _described(arrays[i])
        rows.append(f"  {name:<19} {need:<43} {given}")
    return Lines("\n".join([rows[0], *map(printable, rows[1:])]) + "\n")


def _described(value: Any) -> str:
    if not isinstance(value, (str, dict, set)):
        with suppress(ValueError):  # lists of different lengths
            array = as_array(value)
            return f"{array.shape} {array.dtype}"
    return type(value).__name__


def random_inputs(node: GraphNode) -> list[Any]:
    """Return random data in [0, 1) for every source of a node, and zeros for labels.

    An unknown size is that of an axis with the same tag in another source (for the batch size: in any node), else 1.
    """
    data: list[Any] = []
    sizes: dict[str, int] = {}
    for n in node.sub_graph():
        if n.shape is not None:
            known = {tag: size for tag, size in zip(n.shape.tags, n.shape, strict=True) if size}
            sizes.update((tag, size) for tag, size in known.items() if n.is_source or tag == "b")
    for source in node.input_nodes:
        if source.shape is None:
            raise ArgumentError(
                "cannot generate random data for a generic input",
                node=node,
                got=source.name,
                expected="only tensor sources",
            )
        shape = [s or sizes.get(tag, 1) for tag, s in zip(source.shape.tags, source.shape, strict=True)]
        data.append(rng().random(shape).astype(source.output.dtype))
    fed = dict(zip(map(id, node.input_nodes), data, strict=True))
    for parent, check in _input_checks([node]):
        values = _rearranged(parent, fed)
        try:
            if values is not None:
                check(values)
        except NeuromancerError:  # fractions are not valid labels; 0 always is
            for source in parent.input_nodes:
                fed[id(source)][...] = 0
            fed = {id(source): fed[id(source)] for source in node.input_nodes}
    return data
