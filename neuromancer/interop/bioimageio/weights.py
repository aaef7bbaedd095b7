"""Weights of a package: which kinds can be read, and how."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from neuromancer.errors import ArgumentError, FileError, MissingDependencyError, TranslationError, short
from neuromancer.interop.bioimageio.description import Description, Tensor
from neuromancer.interop.bioimageio.package import Package, entry_of
from neuromancer.interop.from_keras import from_keras
from neuromancer.interop.from_onnx import from_onnx
from neuromancer.models.model import Model

REFUSED = {
    "torchscript": "TorchScript is code, which is not run; export it once to ONNX (docs/importing.md)",
    "tensorflow_saved_model_bundle": "a SavedModel holds functions of TensorFlow instead of layers",
    "tensorflow_js": "an archive of TensorFlow.js; unpack it, and import its model.json by from_keras",
    "pytorch_state_dict": "names and values without a network; pass the network as module=...",
}
"""Kinds that cannot be read from the package alone, and why."""

Read = Callable[[Any, str, str], Model]
"""Imports the weights: example, tags and name of the model."""


@dataclass(frozen=True)
class Choice:
    """Weights to import.

    Attributes
    ----------
    kind : str
    read : callable
    notes : tuple of str
        For the report.
    """

    kind: str
    read: Read
    notes: tuple[str, ...] = ()


def choose(package: Package, description: Description, wanted: str | None, module: Any) -> Choice:
    """Return the weights to import: those wanted, else the first that can be read, in the order of `READERS`.

    With `module`, they are the state of that module.

    Raises
    ------
    FileError
        If weights are damaged, or the wanted ones missing or elsewhere.
    ArgumentError
        If there are none of the wanted kind.
    TranslationError
        If none can be read; says why for each.
    """
    label, found = package.label, description.weights
    if module is not None:
        if wanted not in (None, "pytorch_state_dict"):
            raise ArgumentError("belongs to weights 'pytorch_state_dict'", where="module", got=f"weights={wanted!r}")
        wanted = "pytorch_state_dict"
    if wanted is not None:
        if wanted not in found:
            raise ArgumentError(
                "the package has no such weights", where="weights", got=wanted, expected=f"one of {', '.join(found)}"
            )
        return READERS[wanted](package, description, found[wanted], module)
    reasons = {}
    for kind in READERS:
        if kind not in found:
            continue
        if kind == "pytorch_state_dict":
            reasons[kind] = REFUSED[kind]
            continue
        entry = entry_of(found[kind], f"{label}, weights {kind}")
        if entry is None or entry.is_remote:
            reasons[kind] = f"not in the package, but at {short(None if entry is None else entry.source)}"
            continue
        try:
            return READERS[kind](package, description, found[kind], None)
        except MissingDependencyError as error:
            reasons[kind] = f"{error.problem} ({error.expected})"
        except FileError as error:
            if error.problem != MISSING:
                raise
            reasons[kind] = "missing in the package"
    reasons |= {kind: REFUSED.get(kind, "unknown") for kind in found if kind not in reasons}
    raise TranslationError(
        "none of the weights can be imported",
        where=label,
        got="; ".join(f"{kind}: {reason}" for kind, reason in reasons.items()) or "no weights",
        expected=f"one of {', '.join(READERS)}, in the package",
    )


MISSING = "the file is missing in the package"


def _onnx(package: Package, description: Description, entry: Mapping[str, Any], module: Any) -> Choice:
    where = f"{package.label}, weights onnx"
    path = _file(package, entry, where)
    data = entry_of(entry.get("external_data"), f"{where}, external data")
    if data is not None:
        package.find(data, f"{where}, external data")
    if not find_spec("onnx"):
        raise MissingDependencyError(
            "importing an ONNX file requires onnx", where=where, expected="pip install 'neuromancer-graph[onnx]'"
        )
    tensor = description.inputs[0]
    proto: Any = path
    if "f" not in tensor.tags:
        from neuromancer.interop.onnx.channels import with_channels

        proto = with_channels(path, ["f" in output.tags for output in description.outputs])
    elif tensor.tags not in (f"bf{tensor.space}", f"b{tensor.space}f"):
        raise _order(tensor, where)

    def read(example: Any, tags: str, name: str) -> Model:
        if example is not None and tensor.tags.endswith("f"):
            example = (example[0], *example[2:], example[1])
        return from_onnx(proto, example, tags, name, print_report=False)

    return Choice("onnx", read)


def _keras(kind: str) -> Callable[[Package, Description, Mapping[str, Any], Any], Choice]:
    def choice(package: Package, description: Description, entry: Mapping[str, Any], module: Any) -> Choice:
        where, tensor = f"{package.label}, weights {kind}", description.inputs[0]
        path = _file(package, entry, where)
        if tensor.tags not in (f"bf{tensor.space}", f"b{tensor.space}f"):
            raise _order(tensor, where)

        def read(example: Any, tags: str, name: str) -> Model:
            shape = None if example is None else tuple(example[2:])
            return from_keras(path, shape, tags, name, print_report=False)

        return Choice(kind, read)

    return choice


def _state_dict(package: Package, description: Description, entry: Mapping[str, Any], module: Any) -> Choice:
    where, tensor = f"{package.label}, weights pytorch_state_dict", description.inputs[0]
    if module is None:
        raise ArgumentError(
            "a state_dict holds no network, and code of a package is never run", where="module", got=None,
            expected="the torch.nn.Module it belongs to, or a function that returns it",
        )  # fmt: skip
    path = _file(package, entry, where)
    if tensor.tags != f"bf{tensor.space}":
        raise _order(tensor, where)
    from neuromancer.interop.from_torch import from_torch
    from neuromancer.interop.pytorch.state_dict import with_state

    architecture = entry.get("architecture")
    kwargs = (architecture if isinstance(architecture, Mapping) else entry).get("kwargs")
    kwargs = {str(key): v for key, v in kwargs.items()} if isinstance(kwargs, Mapping) else {}
    network = with_state(module, path, kwargs, where, bool(entry.get("strict", True)))
    guess = (1, _channels(tensor, where), *(64 if len(tensor.space) < 3 else 32 for _ in tensor.space))

    def read(example: Any, tags: str, name: str) -> Model:
        return from_torch(network, guess if example is None else example, tags, name, print_report=False)

    return Choice("pytorch_state_dict", read)


def _channels(tensor: Tensor, where: str) -> int:
    size = tensor.axis("f").size
    if size is None:
        raise TranslationError("the number of channels is open", where=where, got=tensor.name, expected="a fixed size")
    return size


def _file(package: Package, entry: Mapping[str, Any], where: str) -> Path:
    found = entry_of(entry, where)
    if found is None:
        raise FileError("the description names no file", where=where, expected="a source")
    return package.find(found, where)


def _order(tensor: Tensor, where: str) -> TranslationError:
    return TranslationError(
        "axes in this order have no counterpart",
        where=f"{where}, input {tensor.name}",
        got=", ".join(axis.name for axis in tensor.axes),
        expected="batch, channel, space; or batch, space, channel",
    )


READERS: dict[str, Callable[[Package, Description, Mapping[str, Any], Any], Choice]] = {
    "onnx": _onnx,
    "keras_v3": _keras("keras_v3"),
    "keras_hdf5": _keras("keras_hdf5"),
    "pytorch_state_dict": _state_dict,
}
"""Kinds of weights that can be read, in the order in which they are chosen."""
