"""Descriptions of Keras networks, checked and brought to one form: layers, and which call takes what from which."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import Any

from neuromancer.errors import TranslationError, short
from neuromancer.interop.keras.options import Options, is_number

MODELS = ("Sequential", "Functional", "Model")
MAX_LAYERS, MAX_MODELS = 4096, 16
"""Largest number of layers, and depth of networks within networks."""
ROOTS = ("keras", "tf_keras", "tensorflow", "tensorflow_addons")
"""Packages whose layers are meant by the names of their classes."""


@dataclass(frozen=True)
class Reference:
    """An output of a call of a layer."""

    layer: str
    call: int
    tensor: int


@dataclass
class Layer:
    """A layer, or a network used as one.

    Attributes
    ----------
    name, kind : str
        Name, and class.
    options : Options
    key : str
        Name in archives of Keras 3.
    trainable : bool
    operation : bool
        Whether it is a function of Keras rather than a layer.
    calls : list of list
        Arguments of every call: references and constants.
    graph : Graph, optional
    """

    name: str
    kind: str
    options: Options
    key: str
    trainable: bool = True
    operation: bool = False
    calls: list[list[Any]] = field(default_factory=list)
    graph: Graph | None = None
    first_call: int = 0


@dataclass
class Graph:
    """A network: its layers by name, inputs and outputs."""

    layers: dict[str, Layer]
    inputs: list[Reference]
    outputs: list[Reference]

    def order(self) -> list[tuple[Layer, int]]:
        """Return all calls, each after those that it depends on."""
        needs: dict[tuple[str, int], list[tuple[str, int]]] = {}
        for layer in self.layers.values():
            for k, call in enumerate(layer.calls):
                needs[layer.name, k] = [(r.layer, r.call) for r in call if isinstance(r, Reference)]
        try:
            order = list(TopologicalSorter(needs).static_order())
        except CycleError as error:
            names = ", ".join(dict.fromkeys(str(name) for name, _ in error.args[1]))
            raise TranslationError("the layers form a circle", where="layers", got=short(names)) from error
        return [(self.layers[name], k) for name, k in order]

    def walk(self) -> Iterator[Layer]:
        """Yield all layers, those of inner networks too."""
        for layer in self.layers.values():
            yield layer
            if layer.graph is not None:
                yield from layer.graph.walk()

    def shapes(self) -> list[list[int | None]]:
        """Return the shapes of the inputs, as far as they are known."""
        return [self._shape(reference) for reference in self.inputs]

    def _shape(self, reference: Reference) -> list[int | None]:
        return input_shape(self.layers[reference.layer])


def input_shape(layer: Layer) -> list[int | None]:
    """Return the shape of an input, with the batch."""
    options = layer.options
    given = options.values.get("batch_shape", options.values.get("batch_input_shape"))
    known = isinstance(given, list) and all(n is None or (type(n) is int and 0 < n < 1 << 31) for n in given)
    if not known or not 2 <= len(given) <= 5:
        raise TranslationError(
            "the shape of the input is not known", where=layer.name, got=short(repr(given)),
            expected="batch, up to three axes of space, and channels",
        )  # fmt: skip
    return list(given)


def parse_graph(config: Mapping[str, Any]) -> Graph:
    """Return the network that a file describes.

    Raises
    ------
    TranslationError
        If the description contradicts itself, or the network is not a Sequential or Functional one.
    """
    if config["class_name"] not in MODELS:
        raise TranslationError(
            "the network is defined by code that the file does not hold", where="from_keras",
            got=f"class {short(repr(config['class_name']))}", expected="a Sequential or a Functional model",
        )  # fmt: skip
    graph = _graph(config["class_name"], _lists(config["config"]), "the network", 0, None)
    if not graph.inputs or not graph.outputs:
        raise TranslationError("the network has no inputs or outputs", where="from_keras")
    return graph


def _lists(value: Any) -> Any:
    """Return a copy of a description in which tuples are lists."""
    if isinstance(value, dict):
        if value.get("class_name") == "__tuple__" and isinstance(value.get("items"), list):
            return [_lists(v) for v in value["items"]]
        return {key: _lists(v) for key, v in value.items()}
    return [_lists(v) for v in value] if isinstance(value, list) else value


def _refuse(problem: str, where: str, got: Any = None) -> TranslationError:
    return TranslationError(problem, where=where, got=None if got is None else short(repr(got)))


def _graph(kind: str, config: Any, where: str, depth: int, trainable: bool | None) -> Graph:
    if depth > MAX_MODELS:
        raise _refuse("networks are nested too deeply", where)
    entries = config if isinstance(config, list) else config.get("layers") if isinstance(config, dict) else None
    chain = kind == "Sequential" or isinstance(config, dict)
    if not isinstance(entries, list) or not entries or len(entries) > MAX_LAYERS or not chain:
        raise _refuse("has no list of layers, or too long a one", where)
    frozen = trainable is False or (isinstance(config, dict) and config.get("trainable") is False)
    counts: Counter[str] = Counter()
    layers: dict[str, Layer] = {}
    for entry in entries:
        layer = _layer(entry, where, depth, counts, frozen)
        if layer.name in layers:
            raise _refuse("two layers have the same name", where, layer.name)
        layers[layer.name] = layer
    if kind == "Sequential":
        return _chain(layers)
    return _functional(layers, entries, config, where)


def _layer(entry: Any, where: str, depth: int, counts: Counter[str], frozen: bool) -> Layer:
    if not isinstance(entry, dict) or not isinstance(entry.get("class_name"), str):
        raise _refuse("a layer is not described by an object with class_name", where, entry)
    kind, config, module = entry["class_name"], entry.get("config"), entry.get("module")
    registered = entry.get("registered_name")
    name = entry.get("name") or (config.get("name") if isinstance(config, dict) else None)
    foreign = isinstance(module, str) and module.partition(".")[0] not in ROOTS
    custom = isinstance(registered, str) and ">" in registered and not registered.startswith("Addons>")
    if foreign or custom:
        raise TranslationError(
            "a class of another package has no counterpart", where=short(repr(name)), got=short(f"{module}: {kind}"),
            expected="layers of Keras",
        )  # fmt: skip
    if kind == "Sequential" and isinstance(config, list):
        # Before Keras 2.2.3, the network itself had no name.
        config, name = {"layers": config}, name or f"sequential_{sum(counts.values())}"
    if not isinstance(config, dict) or not isinstance(name, str) or not 0 < len(name) <= 200:
        raise _refuse("a layer is not described by a name and options", where, entry.get("name"))
    key = _snake(kind)
    number = counts[key]
    counts[key] += 1
    trainable = not frozen and config.get("trainable") is not False
    operation = isinstance(module, str) and ".ops." in module
    key = f"{key}_{number}" if number else key
    layer = Layer(name, kind, Options(name, kind, config), key, trainable, operation)
    if kind in MODELS:
        layer.graph = _graph(kind, config, name, depth + 1, trainable)
    return layer


def _snake(kind: str) -> str:
    """Return the name that Keras gives to the first layer of a class."""
    kind = re.sub(r"\W+", "", kind.rpartition(">")[2])
    kind = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", kind)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", kind).lower()


# ---- Sequential
def _chain(layers: dict[str, Layer]) -> Graph:
    first = next(iter(layers.values()))
    if first.kind != "InputLayer":
        shape = first.options.values.get("batch_input_shape")
        if shape is None and first.graph is not None and len(first.graph.inputs) == 1:
            reference = first.graph.inputs[0]
            inner = first.graph.layers[reference.layer].options.values
            shape = inner.get("batch_shape", inner.get("batch_input_shape"))
        name = f"{first.name}_input"
        options = Options(name, "InputLayer", {"batch_input_shape": shape})
        layers = {name: Layer(name, "InputLayer", options, "input_layer"), **layers}
    names = list(layers)
    for before, name in pairwise(names):
        if layers[name].kind == "InputLayer":
            raise _refuse("an input follows a layer", name)
        layers[name].calls = [[Reference(before, 0, 0)]]
    layers[names[0]].calls = [[]]
    return Graph(layers, [Reference(names[0], 0, 0)], [Reference(names[-1], 0, 0)])


# ---- Functional
def _functional(layers: dict[str, Layer], entries: Sequence[Any], config: Any, where: str) -> Graph:
    for entry, layer in zip(entries, layers.values(), strict=True):
        nodes = entry.get("inbound_nodes", [])
        if not isinstance(nodes, list) or len(nodes) > MAX_LAYERS:
            raise _refuse("the calls of a layer are not a list", layer.name, nodes)
        layer.calls = [_arguments(node, layer.name) for node in nodes]
        if layer.kind == "InputLayer" and not layer.calls:
            layer.calls = [[]]
    inputs, outputs = (_references(config.get(key), where) for key in ("input_layers", "output_layers"))
    used = [r for layer in layers.values() for call in layer.calls for r in call if isinstance(r, Reference)]
    _number_calls(layers, [*used, *outputs])
    shift = {name: layer.first_call for name, layer in layers.items()}

    def fitted(reference: Reference) -> Reference:
        layer = layers.get(reference.layer)
        if layer is None:
            raise _refuse("a layer is missing", where, reference.layer)
        call = reference.call - shift[layer.name]
        if not 0 <= call < len(layer.calls):
            raise _refuse("a layer is not called so often", layer.name, f"call {reference.call}")
        return Reference(layer.name, call, reference.tensor)

    for layer in layers.values():
        layer.calls = [[fitted(a) if isinstance(a, Reference) else a for a in call] for call in layer.calls]
    return Graph(layers, [fitted(r) for r in inputs], [fitted(r) for r in outputs])


def _number_calls(layers: dict[str, Layer], used: Sequence[Reference]) -> None:
    """Find the number of the first call: networks count their own making as a call, in some versions."""
    numbers: dict[str, list[int]] = {}
    for reference in used:
        numbers.setdefault(reference.layer, []).append(reference.call)
    for name, layer in layers.items():
        if layer.graph is not None and numbers.get(name):
            layer.first_call = 1 if max(numbers[name]) >= len(layer.calls) and min(numbers[name]) > 0 else 0


def _arguments(node: Any, where: str) -> list[Any]:
    """Return the arguments of a call: references and numbers."""
    if isinstance(node, dict):
        keywords = node.get("kwargs") or {}
        if not isinstance(keywords, dict) or keywords.get("training") is True:
            raise _refuse("a layer is called with options", where, keywords)
        if any(_tensors(value) for value in keywords.values()):
            raise _refuse("a layer takes tensors by name", where, sorted(keywords))
        return [_argument(a, where) for a in _flat(node.get("args", []))]
    if isinstance(node, list) and node and isinstance(node[0], str):
        node = [node]
    if not isinstance(node, list):
        raise _refuse("a call is not a list", where, node)
    for each in node:
        keywords = each[3] if isinstance(each, list) and len(each) > 3 else {}
        plain = isinstance(keywords, dict) and all(value in (None, False) for value in keywords.values())
        if keywords and not plain:
            raise _refuse("a layer is called with options", where, keywords)
    return [_reference(each, where) for each in node]


def _tensors(value: Any) -> bool:
    return any(isinstance(v, dict) and v.get("class_name") == "__keras_tensor__" for v in _flat([value]))


def _flat(values: Any) -> Iterator[Any]:
    for value in values if isinstance(values, list) else [values]:
        if isinstance(value, list):
            yield from _flat(value)
        else:
            yield value


def _argument(value: Any, where: str) -> Any:
    if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        config = value.get("config")
        return _reference(config.get("keras_history") if isinstance(config, dict) else None, where)
    if value is None or isinstance(value, bool) or is_number(value):
        return value
    raise _refuse("an argument is neither a tensor nor a number", where, value)


def _references(value: Any, where: str) -> list[Reference]:
    if isinstance(value, dict):
        return [r for key in sorted(value) for r in _references(value[key], where)]
    if isinstance(value, list) and value and not isinstance(value[0], str):
        return [r for each in value for r in _references(each, where)]
    return [_reference(value, where)]


def _reference(value: Any, where: str) -> Reference:
    if isinstance(value, list) and len(value) >= 3 and isinstance(value[0], str):
        call, tensor = value[1:3]
        if type(call) is int and type(tensor) is int and call >= 0 and tensor >= 0:
            return Reference(value[0], call, tensor)
    raise _refuse("what a layer takes is not described by a layer, a call and a tensor", where, value)
