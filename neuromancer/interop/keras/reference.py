"""Networks as Keras itself computes them, to compare the imported ones with."""

from __future__ import annotations

import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import numpy as np

from neuromancer.errors import reason, short
from neuromancer.interop.keras.files import KerasFile
from neuromancer.interop.keras.graph import MODELS, Graph, Layer
from neuromancer.interop.keras.layers import LAYERS
from neuromancer.interop.keras.operations import OPERATIONS
from neuromancer.interop.keras.weights import Place
from neuromancer.interop.verify import SourceError

DROPPED = ("_initializer", "_regularizer", "_constraint", "build_config", "compile_config", "build_input_shape",
           "shared_object_id")  # fmt: skip
"""Options without influence on the result."""
KNOWN = {*LAYERS, *OPERATIONS, *MODELS, "InputLayer", "DTypePolicy", "function", "__keras_tensor__", "__tuple__",
         "__numpy__", "__tensor__"}  # fmt: skip
"""Classes of objects in descriptions."""
ALIASES = {"kernel": ["kernel", "depthwise_kernel"]}
"""Names of weights that were different in Keras 2."""


def reference_for(
    file: KerasFile, graph: Graph, channels_last: bool, sizes: Sequence[tuple[int, ...]], changed: bool
) -> Reference | str:
    """Return the network as Keras computes it, or why it cannot."""
    if changed:
        return "the file says nothing of the normalisation that was asked for"
    if find_spec("keras") is None:
        return "Keras is not installed"
    reference = Reference(file, graph, channels_last)
    try:
        differs = _difference(file, graph)
        if differs is not None:
            return differs
        reference.model(sizes)
    except SourceError as error:
        return f"Keras cannot load it ({error})"
    return reference


def _difference(file: KerasFile, graph: Graph) -> str | None:
    """Return in what the installed Keras is known to differ from the one that wrote the file, if in anything."""
    layers = list(graph.walk())
    if file.major < 3 and any(_uses(layer.options.values.get("activation"), "hard_sigmoid") for layer in layers):
        return "Keras 3 has another hard_sigmoid than Keras 2, which wrote the file"
    with _quiet():
        import keras

        torch = keras.backend.backend() == "torch"
    if torch and any(_pads_unevenly(layer) for layer in layers):
        return "Keras with PyTorch averages over padding on one side, unlike TensorFlow and the imported network"
    return None


def _uses(activation: Any, name: str) -> bool:
    spec = activation.get("config") if isinstance(activation, dict) else activation
    return isinstance(spec, str) and spec.rpartition(">")[2] == name


def _pads_unevenly(layer: Layer) -> bool:
    """Return whether an average pool has more padding at one end, where Keras 3.15 with PyTorch repeats values."""
    options = layer.options
    if not layer.kind.startswith(("AveragePooling", "AvgPool")) or options.values.get("padding") != "same":
        return False
    size = options.ints("pool_size", 2)
    stride = size if options.values.get("strides") is None else options.ints("strides")
    return any(k > 2 and k > s and (k - s) % 2 for k, s in zip(size, stride, strict=True))


class Reference:
    """A network of Keras, built from a description without code, for images of given sizes.

    Parameters
    ----------
    file : KerasFile
    graph : Graph
        The network, of which all layers are known to be translated.
    channels_last : bool
    """

    def __init__(self, file: KerasFile, graph: Graph, channels_last: bool) -> None:
        self.file, self.graph, self.channels_last = file, graph, channels_last
        self._models: dict[tuple[tuple[int, ...], ...], Any] = {}

    def __str__(self) -> str:
        import keras

        return f"Keras {keras.__version__}"

    def run(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """Evaluate the network on arrays (b, f, *space)."""
        sizes = [array.shape[2:] for array in arrays]
        model = self.model(sizes)
        given = [np.moveaxis(a, 1, -1) if self.channels_last else a for a in arrays]
        with _quiet():
            import keras

            result = model(given if len(given) > 1 else given[0], training=False)
            leaves = [keras.ops.convert_to_numpy(r) for r in keras.tree.flatten(result)]
        return [np.moveaxis(a, -1, 1) if self.channels_last and a.ndim > 2 else a for a in leaves]

    def model(self, sizes: Sequence[tuple[int, ...]]) -> Any:
        """Return the network for images of some sizes."""
        key = tuple(tuple(own) for own in sizes)
        if key not in self._models:
            with _quiet():
                self._models[key] = self._build(key)
        return self._models[key]

    def _build(self, sizes: Sequence[tuple[int, ...]]) -> Any:
        import keras

        names = dict(zip((r.layer for r in self.graph.inputs), sizes, strict=True))
        kind = keras.Sequential if self.file.config["class_name"] == "Sequential" else keras.Model
        try:
            model = kind.from_config(self._described(names, opened=True))
        except Exception:
            # Layers that need the size of the image, such as Dense on a flattened one.
            model = kind.from_config(self._described(names, opened=False))
        if self.file.kind == "tfjs":
            self._fill(model, ())
        else:
            model.load_weights(str(self.file.path))
        return model

    def _described(self, sizes: Mapping[str, tuple[int, ...]], opened: bool) -> Any:
        """Return the description for images of some sizes; with `opened`, inner networks take all sizes."""
        config = plain(self.file.config["config"])
        if isinstance(config, list):
            config = {"name": "network", "layers": config}
        for layer in config["layers"]:
            options = layer["config"]
            name = layer.get("name") or (options.get("name") if isinstance(options, dict) else None)
            wanted = sizes.get(str(name), sizes.get(f"{name}_input"))
            if layer["class_name"] in MODELS and opened:
                self._open(layer)
            if wanted is not None and isinstance(options, dict):
                self._resize(options, wanted)
        return config

    def _open(self, value: Any) -> None:
        """Make the inputs of inner networks open."""
        for inner in value.values() if isinstance(value, dict) else value:
            if isinstance(inner, (dict, list)):
                self._open(inner)
        if isinstance(value, dict):
            self._resize(value, ())

    def _resize(self, options: dict[str, Any], sizes: Sequence[int]) -> None:
        """Change the input shape among the options of a layer; without sizes, leave them open."""
        for key in ("batch_shape", "batch_input_shape"):
            shape = options.get(key)
            if isinstance(shape, list) and len(shape) >= 2:
                space = list(sizes) if sizes else [None] * (len(shape) - 2)
                options[key] = [None, *space, shape[-1]] if self.channels_last else [None, shape[1], *space]

    def _fill(self, network: Any, path: tuple[Place, ...]) -> None:
        for layer in network.layers:
            inner = (*path, Place(layer.name, ""))
            if hasattr(layer, "layers"):
                self._fill(layer, inner)
                continue
            for variable in layer.weights:
                entry = self.file.weights.find(inner, ALIASES.get(variable.name, [variable.name]), 0)
                if entry is None:
                    raise SourceError(f"no {variable.name!r} of {layer.name!r}")
                variable.assign(entry.read())


def plain(value: Any) -> Any:
    """Return a copy of a description without what does not matter to the result, and in float32.

    Objects that the translation does not know are refused: Keras would look for their code.
    """
    if isinstance(value, list):
        return [plain(v) for v in value]
    if not isinstance(value, dict):
        return value
    module, kind = value.get("module"), value.get("class_name")
    home = module is None or str(module).partition(".")[0] in ("keras", "builtins")
    if not home or (kind is not None and kind not in KNOWN):
        raise SourceError(f"the description holds an object of another kind, {short(f'{module}: {kind}')}")
    kept = {key: plain(v) for key, v in value.items() if not key.endswith(DROPPED)}
    if isinstance(kept.get("dtype"), (str, dict)) and "name" in kept:
        kept["dtype"] = "float32"
    return kept


@contextmanager
def _quiet() -> Iterator[None]:
    """Make Keras run with PyTorch unless another backend is chosen, without messages; convert its errors."""
    if "keras" not in sys.modules:
        os.environ.setdefault("KERAS_BACKEND", "torch")
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except SourceError:
        raise
    except Exception as error:
        raise SourceError(short(re.sub("\x1b\\[[0-9;]*m", "", reason(error)), 200)) from error
    finally:
        logger.setLevel(level)
