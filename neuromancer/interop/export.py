"""Networks leave for other libraries: ONNX files and PyTorch modules."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuromancer.errors import ArgumentError, GraphError, InputTypeError, MissingDependencyError
from neuromancer.graph.node import is_shaped
from neuromancer.models.exporters import EXPORTERS
from neuromancer.models.model import Model
from neuromancer.nodes.node import Node
from neuromancer.places import local_file

if TYPE_CHECKING:
    from torch.fx import GraphModule

Nodes = Node | str | Sequence[Node | str] | None

SUFFIX = ".onnx"


def export(network: Model | Node, path: str | os.PathLike[str], nodes: Nodes = None) -> None:
    """Write a network to an ONNX file, in its inference form.

    The file is checked by onnx and, if ONNX Runtime is installed, evaluated on random data of two sizes and compared
    with the network, before it appears under its name.

    Parameters
    ----------
    network : Model or Node
        A model; or a node, with all that it depends on.
    path : path
        Ending in ``.onnx``. An existing file is replaced only after the new one is completely written to disk.
    nodes : Node, str, or list of them, optional
        Outputs of the file, of a model by name or as nodes. Default: the prediction node of the model, or the node.

    Raises
    ------
    MissingDependencyError
        If onnx is not installed.
    ArgumentError
        If the path does not end in ``.onnx``, or a node is listed twice.
    InputTypeError, UnknownNameError
        If `network` or `nodes` are not models or nodes, or there is no node of a name.
    GraphError
        If there is no prediction node, or nodes have no counterpart in ONNX; all of them are listed, with the reasons.
    TranslationError
        If ONNX Runtime cannot evaluate the file, or differs by more than 1e-5 of the largest value of an output.
    FileError
        If the file cannot be written. In all cases, nothing is left behind.

    Notes
    -----
    Operator set 20. Inputs and outputs have the axis order and the names of the nodes. Sizes of the batch and of space
    are open, named ``batch``, ``z``, ``y``, ``x``, unless the network takes only those that were declared. Operations
    and weights are named after nodes and parameters; numbers are float32. Dropout is left out, and batch normalisation
    uses the running statistics. ``docs/export.md`` lists which nodes can leave.

    Examples
    --------
    >>> import tempfile
    >>> import neuromancer as nm
    >>> model = nm.model_manager.newmodel("leaving")
    >>> raw = nm.Input((1, 1, 16, 16), "b,f,y,x", name="raw", print_repr=False)
    >>> out = nm.Conv(raw, 2, (3, 3), (2, 2), name="conv", print_repr=False)
    >>> nm.export(out, Path(tempfile.mkdtemp()) / "net.onnx")
    >>> nm.model_manager.delmodel("leaving")
    """
    chosen, name = _chosen(network, nodes, "export")
    target = local_file(path, "export")
    if target.suffix.lower() != SUFFIX:
        raise ArgumentError(
            "unknown format of a network file",
            where="export",
            got=str(target),
            expected=f"a path ending in {SUFFIX}",
            nearest=str(target.with_suffix(SUFFIX)) if target.name else None,
        )
    if find_spec("onnx") is None:
        raise MissingDependencyError(
            "exporting an ONNX file requires onnx",
            where="export",
            expected="pip install onnx",
            nearest="pip install onnx onnxruntime, with ONNX Runtime to compare",
        )
    from neuromancer.interop.onnx.leaving.file import write

    write(chosen, target, name)


def _chosen(network: Any, nodes: Any, where: str) -> tuple[list[Node], str]:
    """Return the nodes that leave, and the name of the network."""
    if isinstance(network, Node):
        found = [network, *_listed(nodes)] if nodes is not None else [network]
        name = network.name
    elif isinstance(network, Model):
        if nodes is None:
            if network.prediction_node is None:
                raise GraphError(
                    "no prediction_node is designated",
                    where=f"model {network.name}",
                    expected="designate_nodes(prediction_node=...), or nodes=...",
                )
            nodes = [network.prediction_node]
        found = [network[n] if isinstance(n, str) else n for n in _listed(nodes)]
        name = network.name
    else:
        raise InputTypeError("only models and nodes can leave", where=where, got=type(network).__name__)
    for node in found:
        if not isinstance(node, Node):
            raise InputTypeError("nodes must be nodes or their names", where=where, got=repr(node)[:200])
        if isinstance(network, Model) and network.nodes.get(node.name) is not node:
            raise GraphError("not a node of this model", where=f"model {network.name}", got=node.name)
        if not is_shaped(node):
            raise InputTypeError("the node has no tensor output", node=node, got="no shape")
    if not found or len(set(found)) != len(found):
        raise ArgumentError(
            "nodes must be different nodes", where=where, got=[n.name for n in found], expected="each once"
        )
    return found, name


def _listed(nodes: Any) -> list[Any]:
    return list(nodes) if isinstance(nodes, (list, tuple)) else [nodes]


EXPORTERS["export"] = export
