"""Keras files: translation of the network, and sizes of images at which it is compared with Keras."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from math import prod
from typing import Any

import numpy as np

from neuromancer.errors import ArgumentError, InputTypeError, NeuromancerError, TranslationError, short
from neuromancer.graph.geometry import period
from neuromancer.graph.patches import patch_size_through
from neuromancer.graph.registry import model_manager
from neuromancer.interop.importing import Source, import_network, space_of
from neuromancer.interop.keras.call import Call, Context
from neuromancer.interop.keras.files import KerasFile, read_keras
from neuromancer.interop.keras.graph import Graph, Layer, Reference, parse_graph
from neuromancer.interop.keras.layers import LAYERS
from neuromancer.interop.keras.operations import OPERATIONS
from neuromancer.interop.keras.reference import Reference as KerasReference
from neuromancer.interop.keras.reference import reference_for
from neuromancer.interop.keras.weights import Place
from neuromancer.interop.layers import SizesNeeded
from neuromancer.interop.network import SPACE, Network, Value, new_model
from neuromancer.interop.verify import SourceError
from neuromancer.models.model import Model

LABEL = "from_keras"
TARGET = {0: 0, 1: 64, 2: 64, 3: 32}
"""Sizes of the images on which networks are compared, by the number of axes of space."""
TRIAL = 1 << 14
"""Size at which nothing is computed, but strides are found."""
MAX_GROWTH = 4096
MAX_CALLS = 20_000
MAX_ELEMENTS = 1 << 28
"""Largest array of the comparison."""


@dataclass
class Importer:
    """Builds the nodes of a Keras network.

    Attributes
    ----------
    file : KerasFile
    graph : Graph
    patterns : tuple of str
        Names of convolutions that are followed by instance normalisation.
    """

    file: KerasFile
    graph: Graph
    patterns: tuple[str, ...]

    def __post_init__(self) -> None:
        formats = [layer.options.values.get("data_format") for layer in self.graph.walk()]
        self.channels_last = "channels_first" not in formats
        shapes = self.graph.shapes()
        self.ndim = len(shapes[0]) - 2
        if any(len(shape) - 2 != self.ndim for shape in shapes):
            raise TranslationError("the inputs have different axes", where=LABEL, got=short(repr(shapes)))
        channels = [shape[-1] if self.channels_last else shape[1] for shape in shapes]
        if any(n is None for n in channels):
            raise TranslationError("the number of channels of an input is not known", where=LABEL, got=repr(shapes))
        self.channels = [int(n) for n in channels if n is not None]
        self.declared = [shape[1:-1] if self.channels_last else shape[2:] for shape in shapes]
        self.sizes = [tuple(min(n or TARGET[self.ndim], TARGET[self.ndim]) for n in own) for own in self.declared]

    def translate(self, net: Network, operations: Counter[str]) -> list[Value]:
        """Build the nodes and return the outputs."""
        sizes = self.fixed_sizes() if net.fixed else self.sizes
        context = Context(net, self.file.weights, self.file.major, self.channels_last, self.patterns)
        outputs = self._build(context, sizes, operations)
        if context.strided:
            found = list(dict.fromkeys(context.strided))
            names = ", ".join(map(repr, found[:3])) + (f" and {len(found) - 3} more" if len(found) > 3 else "")
            net.notes.append(
                f"padding 'same' of layers with strides ({names}) depends on the size of the image in Keras; it "
                "is that of sizes which the strides divide, others give other results"
            )
        net.notes.extend(self._remarks(context))
        return outputs

    def _build(self, context: Context, sizes: Sequence[tuple[int, ...]], operations: Counter[str]) -> list[Value]:
        inputs = []
        for reference, features, own in zip(self.graph.inputs, self.channels, sizes, strict=True):
            if context.limited and features * prod(own) > MAX_ELEMENTS:
                raise TranslationError("the images are too large to be compared", where=LABEL, got=(features, *own))
            with context.net.at(reference.layer):
                inputs.append(context.net.input(reference.layer, features, own))
        outputs = run_graph(context, self.graph, (), inputs, operations)
        for value in outputs:
            if value.view == "flat" or value.node.is_source:
                problem = "ends with a flattened image" if value.view == "flat" else "has an input as output"
                raise TranslationError(f"the network {problem}", where=LABEL, got=value.node.name)
        return outputs

    def _remarks(self, context: Context) -> list[str]:
        layers = [layer for layer in self.graph.walk() if layer.graph is None]
        notes = []
        suspects = [layer.name for layer in layers if layer.name.endswith("_gn") and layer.kind.startswith("Conv")]
        if suspects and not self.patterns:
            notes.append(
                f"layers such as {suspects[0]!r} may be meant to be followed by normalisation, of which the file says "
                "nothing else; if so, pass instance_norm='*_gn'"
            )
        if context.frozen is True:
            notes.append("all layers are frozen in the file, so all weights are constant")
        if any("float16" in repr(layer.options.values.get("dtype")) for layer in layers):
            notes.append("the network is computed in float32 rather than in mixed precision")
        return notes

    def fixed_sizes(self) -> list[tuple[int, ...]]:
        """Return the sizes of a network that takes only one."""
        sizes = []
        for declared, chosen in zip(self.declared, self.sizes, strict=True):
            sizes.append(tuple(n if n is not None else m for n, m in zip(declared, chosen, strict=True)))
        return sizes

    # ---- sizes
    def choose(self, example: Any) -> None:
        """Choose the sizes of the images to compare: those of an example, or small ones that the network takes."""
        if example is not None:
            self.sizes = _example(example, self)
        try:
            try:
                fitting = self._trial(self.sizes)
            except TranslationError:
                # Perhaps nothing is left of so small an image.
                fitting = self._trial([(TRIAL,) * self.ndim] * len(self.channels), limited=False)
            if fitting != self.sizes:
                self.sizes = fitting
                self._trial(fitting)
        except SizesNeeded:
            self.sizes = self.fixed_sizes()
            self._trial(self.sizes, fixed=True)

    def _trial(
        self, sizes: Sequence[tuple[int, ...]], limited: bool = True, fixed: bool = False
    ) -> list[tuple[int, ...]]:
        """Build the network once for some sizes, and return those that it takes, from the wanted ones up."""
        before, last = model_manager.current, model_manager.last
        with new_model(None) as scratch:
            net = Network(scratch, SPACE[self.ndim], fixed)
            context = Context(net, self.file.weights, self.file.major, self.channels_last, self.patterns, limited)
            outputs = self._build(context, sizes, Counter())
            fitting = list(sizes) if fixed else [self._fitting(outputs, own) for own in self.sizes]
        model_manager.delmodel(scratch.name)
        model_manager.current, model_manager.last = before, last
        return fitting

    def _fitting(self, outputs: Sequence[Value], sizes: tuple[int, ...]) -> tuple[int, ...]:
        nodes = [v.node for v in outputs if v.node.shape.ndim == self.ndim]
        fitting = []
        for k, size in enumerate(sizes):
            step = period(nodes, k) if nodes else 1
            high = max(size, *(int(n.shape.fov[k]) for n in nodes), 1) + 4 * step
            if high > size + MAX_GROWTH:
                raise TranslationError("the network needs images too large to be compared", where=LABEL, got=high)
            # Sizes that all strides divide come first.
            candidates = sorted(range(size, high + 1), key=lambda n: n % step != 0)
            usable = len(self.channels) == 1
            fits = (n for n in candidates if not usable or all(_fits(node, k, n) for node in nodes))
            fitting.append(next(fits, -(-size // step) * step))
        return tuple(fitting)


def _fits(node: Any, axis: int, size: int) -> bool:
    """Return whether images of a size lead to an output, as far as that can be told."""
    try:
        return patch_size_through(node, axis, size) is not None
    except NeuromancerError:
        return True


def _example(example: Any, importer: Importer) -> list[tuple[int, ...]]:
    """Return the spatial sizes of an example: arrays or shapes, one or one per input."""
    count, ndim = len(importer.channels), importer.ndim
    several = example if isinstance(example, (list, tuple)) and example and not _is_size(example[0]) else [example]
    sizes = []
    for each in several:
        shape = tuple(each.shape) if isinstance(each, np.ndarray) else each
        right = isinstance(shape, (list, tuple)) and all(_is_size(n) and n > 0 for n in shape)
        if not right or len(shape) not in (ndim, ndim + 2):
            raise ArgumentError(
                "the example must be an input or its shape", where=LABEL, got=short(repr(example)),
                expected=f"{ndim} sizes of space, or {ndim + 2} with batch and channels",
            )  # fmt: skip
        sizes.append(tuple(int(n) for n in (shape if len(shape) == ndim else shape[2:])))
    if len(sizes) not in (1, count):
        raise ArgumentError("one example is needed for every input", where=LABEL, got=len(sizes), expected=count)
    return sizes if len(sizes) == count else sizes * count


def _is_size(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


# ---- the graph
def run_graph(
    context: Context, graph: Graph, path: tuple[Place, ...], inputs: Sequence[Value], operations: Counter[str]
) -> list[Value]:
    """Translate all layers of a network, and return its outputs."""
    if len(inputs) != len(graph.inputs):
        raise TranslationError("a network is called with the wrong number of tensors", where=LABEL, got=len(inputs))
    given = {r.layer: value for r, value in zip(graph.inputs, inputs, strict=True)}
    values: dict[tuple[str, int], list[Value]] = {}

    def taken(argument: Any) -> Any:
        if not isinstance(argument, Reference):
            return argument
        outputs = values[argument.layer, argument.call]
        if argument.tensor >= len(outputs):
            raise TranslationError("a layer has too few outputs", where=argument.layer, got=argument.tensor)
        return outputs[argument.tensor]

    for layer, k in graph.order():
        context.calls += 1
        if context.calls > MAX_CALLS:
            raise TranslationError("the network has too many layers", where=LABEL, expected=f"at most {MAX_CALLS}")
        if layer.kind == "InputLayer":
            if layer.name not in given:
                raise TranslationError("an input is not among those of its network", where=layer.name)
            values[layer.name, k] = [given[layer.name]]
        else:
            arguments = [taken(a) for a in layer.calls[k]]
            values[layer.name, k] = _called(context, layer, path, arguments, operations)
    return [taken(r) for r in graph.outputs]


def _called(
    context: Context, layer: Layer, path: tuple[Place, ...], arguments: list[Any], operations: Counter[str]
) -> list[Value]:
    inside = (*path, Place(layer.name, layer.key))
    call = Call(context, layer, inside, arguments)
    context.net.place = f"{call.name} ({layer.kind})"
    if layer.graph is not None:
        return run_graph(context, layer.graph, inside, call.values, operations)
    # HDF5 files do not tell layers from functions of the same name, but only functions take numbers.
    numbers = any(not isinstance(a, Value) for a in arguments)
    function = layer.operation or numbers or layer.kind not in LAYERS
    handler = (OPERATIONS if function else LAYERS).get(layer.kind)
    if handler is None:
        code = "Lambda" in layer.kind
        raise call.options.refuse(
            "holds code, which is not executed" if code else "the layer cannot be translated",
            layer.kind,
            "a network of convolutions, pools, norms, activations, interpolation, sums and concatenations",
            next(iter(get_close_matches(layer.kind[:100], LAYERS, 1)), None),
        )
    out = handler(call)
    operations[layer.kind] += 1
    if context.limited and out.features * prod(out.sizes) > MAX_ELEMENTS:
        raise call.options.refuse("the result is too large to be compared", f"shape {out.shape}")
    return [out]


# ---- the import
def imported(
    path: Any,
    example: Any,
    tags: str | Sequence[str] | None,
    name: str | None,
    print_report: bool,
    instance_norm: str | Sequence[str] | None,
) -> Model:
    """Import a file; see :func:`neuromancer.from_keras`."""
    patterns = _patterns(instance_norm)
    file = read_keras(path)
    importer = Importer(file, parse_graph(file.config), patterns)
    space = space_of(tags, importer.ndim)
    _require_matches(importer)
    importer.choose(example)
    reference = reference_for(file, importer.graph, importer.channels_last, importer.sizes, bool(patterns))
    version = f" {file.version}" if file.version else ""
    source = Source(
        label=f"{file.path.name} (Keras{version})",
        ndim=importer.ndim,
        translate=importer.translate,
        run=reference.run if isinstance(reference, KerasReference) else None,
        reference=str(reference),
    )
    try:
        return import_network(source, space, name, print_report)
    except SourceError as error:
        raise TranslationError("Keras cannot run the network", where=LABEL, got=str(error)) from error


def _patterns(instance_norm: Any) -> tuple[str, ...]:
    given = (instance_norm,) if isinstance(instance_norm, str) else () if instance_norm is None else instance_norm
    if not isinstance(given, (list, tuple)) or not all(isinstance(p, str) for p in given):
        raise InputTypeError(
            "instance_norm must be names of layers", where=LABEL, got=short(repr(instance_norm)), expected="e.g. '*_gn'"
        )
    return tuple(given)


def _require_matches(importer: Importer) -> None:
    """Refuse a pattern that fits no convolution."""
    names = [layer.name for layer in importer.graph.walk() if "Conv" in layer.kind]
    for pattern in importer.patterns:
        if not any(fnmatchcase(name, pattern) or fnmatchcase(name, f"*.{pattern}") for name in names):
            raise ArgumentError(
                "no convolution has such a name", where="instance_norm", got=pattern, expected=short(repr(names))
            )
