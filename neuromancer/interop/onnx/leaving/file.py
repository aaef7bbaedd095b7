"""ONNX files of networks of nodes: built, checked, compared, written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper

from neuromancer.errors import ArgumentError, TranslationError, reason, short
from neuromancer.files import followed, write_whole
from neuromancer.graph.geometry import ancestors
from neuromancer.interop.leaving.layout import dtype_of
from neuromancer.interop.leaving.probe import Probe
from neuromancer.interop.leaving.translation import translate
from neuromancer.interop.onnx.leaving.graph import element_type
from neuromancer.interop.onnx.leaving.target import OnnxTarget
from neuromancer.nodes.node import Node
from neuromancer.places import require_replaceable
from neuromancer.version import __version__

OPSET, IR_VERSION = 20, 9
"""Version of the operators, and the oldest version of the format that has them."""
NAMES = {"b": "batch", "r": "time", "f": "features", "s": "samples"}
"""Names of open sizes; those of spatial axes are their tags."""
LARGEST = 2**31 - 2**20
"""Bytes of weights in one file, whose format ends at 2 GB."""


def write(nodes: Sequence[Node], path: Path, name: str) -> None:
    """Translate nodes, check and compare the result, and write it to a file."""
    require_replaceable(followed(path))
    write_whole(path, proto(nodes, name).SerializeToString())


def proto(nodes: Sequence[Node], name: str) -> Any:
    """Return nodes as an ONNX model that is checked and compared.

    Raises
    ------
    GraphError
        If nodes have no counterpart.
    TranslationError
        If ONNX Runtime computes something else.
    """
    target = OnnxTarget(name, [n.name for n in ancestors(nodes)])
    found = translate(target, nodes)
    outputs = [_named(target, node, value, k, found) for k, (node, value) in enumerate(zip(nodes, found, strict=True))]
    total = sum(a.nbytes for a in target.graph.constants.values())
    if total > LARGEST:
        raise ArgumentError(
            "the weights do not fit into one ONNX file", where=name, got=f"{total} bytes", expected="less than 2 GB"
        )
    probe = Probe(nodes, name)
    model = _model(target, outputs, probe, name)
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:
        raise TranslationError(
            "the check of onnx fails", where=name, got=short(reason(error), 300), expected="a valid ONNX graph"
        ) from error
    if find_spec("onnxruntime"):
        probe.compare(_Runtime(model, [target.inputs[s] for s in probe.sources], name), "ONNX Runtime")
    return model


def _named(target: OnnxTarget, node: Node, value: Any, k: int, found: list[Any]) -> str:
    """Return the name of an output, which must be the result of an operation, and of one output only."""
    if isinstance(value, list):
        value = value[0]
    if value in target.inputs.values() or value in target.graph.constants or value in found[:k]:
        target.begin(node)
        return target.graph.end(target.graph.add("Identity", [value]), f"{node.name}/output")
    return str(value)


def _model(target: OnnxTarget, outputs: list[str], probe: Probe, name: str) -> Any:
    """Return the graph with its inputs and outputs, and where it comes from."""
    names = _dimensions(probe)
    inputs = [
        helper.make_tensor_value_info(target.inputs[s], element_type(dtype_of(s)), names[s]) for s in probe.sources
    ]
    results = [
        helper.make_tensor_value_info(value, element_type(dtype_of(node)), names[node])
        for node, value in zip(probe.nodes, outputs, strict=True)
    ]
    graph = helper.make_graph(target.graph.operations, name, inputs, results, target.graph.initialisers())
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="neuromancer",
        producer_version=__version__,
    )
    ends = [*target.inputs.items(), *zip(probe.nodes, outputs, strict=True)]
    tags = {value: ",".join(node.shape.tags) for node, value in ends}
    helper.set_model_props(model, {f"axes of {value}": text for value, text in tags.items()})
    return model


def _dimensions(probe: Probe) -> dict[Node, list[int | str]]:
    """Return the sizes of sources and outputs: numbers, or names of those that are open; equal ones share a name."""
    shapes: dict[Node, list[tuple[int, ...]]] = {
        s: [sample.arrays[k].shape for sample in probe.samples] for k, s in enumerate(probe.sources)
    }
    for k, node in enumerate(probe.nodes):
        shapes.setdefault(node, [sample.results[k].shape for sample in probe.samples])
    first: dict[str, tuple[int, ...]] = {}
    named: dict[Node, list[int | str]] = {}
    for node, sizes in shapes.items():
        named[node] = []
        for axis, tag in enumerate(node.shape.tags):
            column = tuple(shape[axis] for shape in sizes)
            is_open = node.is_source and tag in probe.open_tags
            if not is_open and len(set(column)) == 1:
                named[node].append(column[0])
                continue
            plain = NAMES.get(tag, tag)
            named[node].append(plain if first.setdefault(tag, column) == column else f"{node.name}_{plain}")
    return named


class _Runtime:
    """Evaluates a model by ONNX Runtime."""

    def __init__(self, model: Any, inputs: list[str], label: str) -> None:
        import onnxruntime

        self._label, self._inputs = label, inputs
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        with _explaining(self._label):
            self._session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )

    def __call__(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        feed = {
            name: array.astype("float32") if array.dtype.kind == "f" else array
            for name, array in zip(self._inputs, arrays, strict=True)
        }
        with _explaining(self._label):
            return [np.asarray(r) for r in self._session.run(None, feed)]


@contextmanager
def _explaining(label: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise TranslationError(
            "ONNX Runtime cannot evaluate the translation",
            where=label,
            got=short(reason(error), 300),
            expected="nodes whose operations it has",
        ) from error
