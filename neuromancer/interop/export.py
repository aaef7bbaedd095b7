"""Networks leave for other libraries: ONNX files and PyTorch modules."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

from neuromancer.errors import ArgumentError, FileError, GraphError, InputTypeError, MissingDependencyError
from neuromancer.graph.node import is_shaped
from neuromancer.models.exportable import Outputs
from neuromancer.models.model import Model
from neuromancer.nodes.node import Node
from neuromancer.places import kind_at, local_file

SUFFIX = ".onnx"


def export(network: Model | Node, path: str | os.PathLike[str], nodes: Outputs = None) -> None:
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
        Outputs of the file, nodes of the model or their names. Default: the prediction node.

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
    >>> import pathlib, tempfile
    >>> import neuromancer as nm
    >>> model = nm.model_manager.newmodel("leaving")
    >>> raw = nm.Input((1, 1, 16, 16), "b,f,y,x", name="raw", print_repr=False)
    >>> out = nm.Conv(raw, 2, (3, 3), (2, 2), name="conv", print_repr=False)
    >>> nm.export(out, pathlib.Path(tempfile.mkdtemp()) / "net.onnx")
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
    if kind_at(target.absolute().parent) != "a folder":
        raise FileError("cannot be written", where=str(target), got="no such folder", expected="an existing folder")
    if find_spec("onnx") is None:
        raise MissingDependencyError(
            "exporting an ONNX file requires onnx",
            where="export",
            expected="pip install 'neuromancer-graph[onnx]'",
            nearest="pip install onnx onnxruntime, with ONNX Runtime to compare",
        )
    from neuromancer.interop.onnx.leaving.file import write

    write(chosen, target, name)


def to_torch(network: Model | Node, nodes: Outputs = None) -> Any:
    """Turn a network into a PyTorch module with the same results and gradients, and parameters of its own.

    Layers become modules of ``torch.nn`` named after their nodes, so that keys of the ``state_dict`` are
    ``<node>.weight`` and ``<node>.bias``; dots in names of nodes are levels. The module is evaluated on random data of
    two sizes and compared.

    Parameters
    ----------
    network : Model or Node
        A model; or a node, with all that it depends on.
    nodes : Node, str, or list of them, optional
        Outputs of the module, nodes of the model or their names; several are returned as a tuple. Default: the
        prediction node.

    Returns
    -------
    torch.fx.GraphModule
        On the CPU, in the evaluation form: ``eval()`` is what ``predict`` computes, ``train()`` what training
        computes, with dropout and statistics of the batch, by which the running ones are updated. Arguments are the
        sources, in calling order. ``module.code`` shows the code of ``forward``.

    Raises
    ------
    MissingDependencyError
        If torch is not installed.
    InputTypeError, UnknownNameError, ArgumentError
        If `network` or `nodes` are not models or nodes, there is no node of a name, or one is listed twice.
    GraphError
        If there is no prediction node, or nodes have no counterpart in PyTorch; all of them are listed, with the
        reasons.
    TranslationError
        If the module differs by more than 1e-5 of the largest value of an output.

    Notes
    -----
    Kernels of :class:`Conv` are flipped, since PyTorch does not flip them; those of linear layers are transposed.
    Parameters that nodes share are the same parameter. Those that are not trained do not require gradients.

    Examples
    --------
    >>> import neuromancer as nm
    >>> model = nm.model_manager.newmodel("leaving")
    >>> raw = nm.Input((None, 1, None, None), "b,f,y,x", name="raw", print_repr=False)
    >>> out = nm.Conv(raw, 2, (3, 3), (2, 2), name="conv", print_repr=False)
    >>> module = nm.to_torch(out)
    >>> list(module.state_dict())
    ['conv.weight', 'conv.bias']
    >>> nm.model_manager.delmodel("leaving")
    """
    chosen, name = _chosen(network, nodes, "to_torch")
    if find_spec("torch") is None:
        raise MissingDependencyError("a PyTorch module requires torch", where="to_torch", expected="pip install torch")
    from neuromancer.interop.pytorch.leaving.source import module_of

    return module_of(chosen, name)


def _chosen(network: Any, nodes: Any, where: str) -> tuple[list[Node], str]:
    """Return the nodes that leave, and the name of the network."""
    if isinstance(network, Node):
        if nodes is not None:
            raise ArgumentError(
                "nodes are outputs of a model", where=where, got=f"node {network.name!r} and nodes", expected="a model"
            )
        found, name = [network], network.name
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
