"""ONNX files, translated operation by operation; needs onnx."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from neuromancer.errors import NeuromancerError, TranslationError, reason, short
from neuromancer.interop.importing import Source, import_network
from neuromancer.interop.layers import SizesNeeded
from neuromancer.interop.network import Network, Value, Weight
from neuromancer.interop.onnx import elementwise as onnx_elementwise
from neuromancer.interop.onnx import layers as onnx_layers
from neuromancer.interop.onnx import spatial as onnx_spatial
from neuromancer.interop.onnx import views as onnx_views
from neuromancer.interop.onnx.arguments import OPERATIONS, PLAIN, Arguments, Follower
from neuromancer.interop.onnx.constants import Constants, fold
from neuromancer.interop.onnx.file import OnnxGraph, Step, read
from neuromancer.interop.onnx.run import Runner
from neuromancer.interop.onnx.sizes import Layout, choose_sizes
from neuromancer.models.model import Model
from neuromancer.progress import say

TABLES = (onnx_elementwise, onnx_layers, onnx_spatial, onnx_views)
"""Modules that fill the tables of operations."""

NEEDED = {
    **dict.fromkeys(
        ("ArgMax", "ArgMin", "TopK", "Hardmax"),
        "the scores as output; predict_dense(..., reduce='argmax') then takes the best class",
    ),
    **dict.fromkeys(
        "QLinearConv QLinearMatMul ConvInteger MatMulInteger QuantizeLinear DequantizeLinear "
        "DynamicQuantizeLinear".split(),
        "the network of floats from which it was quantised",
    ),
    **dict.fromkeys(("If", "Loop", "Scan"), "a network without control flow, exported for one case"),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), "a network without recurrent layers"),
    **dict.fromkeys(("Attention", "Einsum"), "a network without products of two computed tensors"),
}
"""What is needed instead of operations that have no counterpart."""
GROUPED = ("InstanceNormalization", "Reshape")
"""Operations on images that are reshaped to groups."""
LARGEST = 1 << 30
"""Size of the largest value in the evaluation of the example."""
ORDINARY = "a network of convolutions, pools, norms, activations, interpolation, sums and concatenations"


def imported(path: Any, example: Any, tags: str | Sequence[str] | None, name: str | None, print_report: bool) -> Model:
    """Import a file; see :func:`neuromancer.from_onnx`."""
    graph = read(path)
    constants = fold(graph)

    def translate_at(sizes: Sequence[Layout]) -> Any:
        return lambda net, operations: Translation(graph, constants, net, operations).run(sizes)

    layouts = choose_sizes(graph, example, translate_at)
    runner = Runner(graph, layouts)
    source = Source(
        label=f"{graph.label} (ONNX file)",
        ndim=len(layouts[0].space),
        translate=translate_at(layouts),
        run=runner.run,
        reference=runner.name,
    )
    tags = tags if tags is None or isinstance(tags, str) else ",".join(tags)
    model = import_network(source, tags, name, print_report=False)
    # Only the comparison shows whether ONNX Runtime reads the file.
    report = model.import_report
    assert report is not None
    model.import_report = replace(report, reference=runner.name)
    if print_report:
        say(str(model.import_report))
    return model


class Translation:
    """One translation of a file into a network.

    Parameters
    ----------
    graph : OnnxGraph
        Without the steps that depend on constants only.
    constants : Constants
    net : Network
    operations : Counter
    """

    def __init__(self, graph: OnnxGraph, constants: Constants, net: Network, operations: Counter[str]) -> None:
        self.graph, self.constants, self.net, self.operations = graph, constants, net, operations
        self.values: dict[str, Any] = dict(graph.constants)
        self._derived: set[str] = set()
        self._absorbed: set[str] = set()
        self._result_for: list[str] = []
        self._readers: dict[str, list[Step]] = defaultdict(list)
        for step in graph.steps:
            for name in step.inputs:
                self._readers[name].append(step)

    def run(self, layouts: Sequence[Layout]) -> list[Value]:
        """Build the nodes and return the outputs."""
        for layout in layouts:
            name, sizes = "input" if len(layouts) == 1 else layout.name, [int(n or 0) for n in layout.space]
            with self.net.at(name):
                value = self.net.input(name, layout.features, sizes)
            self._check_size(value, layout.name)
            self.values[layout.name] = Value(value.node, value.sizes, "last") if layout.last else value
        for step in self.graph.steps:
            if not any(name in self._absorbed for name in step.outputs):
                self._take(step)
        outputs = [self.values.get(name) for name in self.graph.outputs]
        for name, output in zip(self.graph.outputs, outputs, strict=True):
            if not isinstance(output, Value) or output.node.is_source or output.view == "flat":
                raise TranslationError(
                    "an output is not computed from the image",
                    where=f"{self.graph.label}, output {short(name)}",
                    got="an input, a constant, or a part of a layer",
                )
        return [output for output in outputs if isinstance(output, Value)]

    def _take(self, step: Step) -> None:
        inputs = [self.values.get(name) if name else None for name in step.inputs]
        self.net.place = f"{step.place} ({step.op})"
        if any(name and value is None for name, value in zip(step.inputs, inputs, strict=True)):
            raise TranslationError(
                "an operand has no counterpart", where=self.net.place, got="e.g. positions of maxima, a sequence"
            )
        handler = OPERATIONS.get(step.op) or PLAIN.get(step.op)
        if handler is None:
            raise TranslationError(
                "the operation cannot be translated",
                where=self.net.place,
                got=f"{step.op} on {[v.shape for v in inputs if isinstance(v, Value)]}",
                expected=NEEDED.get(step.op, ORDINARY),
            )
        if any(isinstance(value, onnx_layers.Grouped) for value in inputs) and step.op not in GROUPED:
            raise TranslationError(
                "only the normalisation of groups has a counterpart",
                where=self.net.place,
                got="an image reshaped to (batch, groups, rest)",
                expected=f"one of {GROUPED}",
            )
        if not any(isinstance(value, (Value, onnx_layers.Grouped)) for value in inputs):
            self._constant(step)
            return
        a = Arguments(step.op, step.place, self.graph.opset, step.inputs, inputs, step.attributes, step.outputs, self)
        self._result_for = []
        result = self._called(handler, a, step)
        if step.op not in PLAIN:
            self.operations[step.op] += 1
        results = result if isinstance(result, list) else [result]
        for value in results:
            self._check_size(value, self.net.place)
        self.values |= {name: value for name, value in zip(step.outputs, results, strict=False) if name}
        self.values |= {name: results[0] for name in self._result_for}
        if isinstance(result, np.ndarray):
            self._derived.add(step.outputs[0])

    def _check_size(self, value: Any, where: str) -> None:
        if isinstance(value, Value) and prod(value.shape) > LARGEST:
            raise TranslationError(
                "the value is too large to be compared",
                where=where,
                got=f"shape {value.shape}",
                expected=f"at most {LARGEST} numbers; a smaller example",
            )

    def _called(self, handler: Any, a: Arguments, step: Step) -> Any:
        try:
            return handler(self.net, step.place, a)
        except (NeuromancerError, SizesNeeded):
            raise
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise TranslationError(
                "the operation is malformed", where=self.net.place, got=reason(error), expected="valid attributes"
            ) from error

    def _constant(self, step: Step) -> None:
        self.values |= self.constants.evaluate(step, self.values)
        self._derived.update(step.outputs)

    # ---- what operations may ask
    def weight(self, name: str) -> Weight:
        """Return a constant as a weight: trainable and shared if it is an initialiser."""
        key = self.graph.weights.get(name)
        array = np.asarray(self.values[name], "float32")
        return Weight(array, key, key is not None)

    def derived(self, name: str) -> bool:
        """Return whether a constant follows from the size of the image."""
        return name in self._derived

    def note_size(self, derived: bool) -> None:
        """Take notice of a size of the example, and whether the file derives it from the size of the image.

        In a file for one size only, exporters write all sizes as numbers, so it says nothing of other sizes. In a file
        for all sizes, a number stands for this size alone.
        """
        if not self.graph.is_open:
            self.graph.sizes_written = True
        elif not derived and not self.net.fixed:
            raise SizesNeeded

    def follower(self, output: str, op: str) -> Follower | None:
        """Return the operation `op` with a constant that alone reads `output`."""
        readers = self._readers[output]
        if self.graph.uses[output] != 1 or len(readers) != 1 or readers[0].op != op or len(readers[0].inputs) != 2:
            return None
        other = next(name for name in readers[0].inputs if name != output)
        array = self.values.get(other)
        if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
            return None
        return Follower(readers[0].outputs[0], self.weight(other))

    def absorb(self, output: str) -> None:
        """Let the operation that computes `output` have the result of the current one."""
        self._absorbed.add(output)
        self._result_for.append(output)
