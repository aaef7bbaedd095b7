"""Options of ``modelload`` that change a model before it is built: parameters, batch normalisation, sizes, inputs."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from neuromancer.errors import ArgumentError, InputTypeError, UnknownNameError, nearest_name
from neuromancer.io.build import LAYER_PARAMS, STATISTICS
from neuromancer.io.inject import inject
from neuromancer.io.resize import resize

if TYPE_CHECKING:
    from neuromancer.optim.trainable import TrainableGraph

REPLACEMENTS = ("remove", "predict", "const")
NORMS, NORM_PARAMS = ("BatchNorm", "GroupNorm", "InstanceNorm", "LayerNorm"), ("gamma", "beta", "mean", "var")
Entry = dict[str, Any]


@dataclass(frozen=True)
class LoadOptions:
    """Options of :func:`neuromancer.modelload`, which describes them."""

    override_mfp_to_active: bool = False
    imposed_patch_size: Sequence[int] | None = None
    imposed_batch_size: int | None = None
    make_weights_constant: bool = False
    replace_bn: str | None = None
    lock_trainable_params: int | Sequence[str] | None = None
    unlock_all_params: bool = False
    inject_source: dict[str, Any] | None = None

    def any(self) -> bool:
        """Whether any option is set."""
        return any(value is not None and value is not False for value in vars(self).values())

    def check(self) -> None:
        """Raise ArgumentError or InputTypeError for options that are invalid for any model."""
        if self.replace_bn is not None and not (isinstance(self.replace_bn, str) and self.replace_bn in REPLACEMENTS):
            raise _bad("unknown replace_bn", self.replace_bn, f"one of {REPLACEMENTS}")
        if self.unlock_all_params and (self.make_weights_constant or self.lock_trainable_params is not None):
            raise _bad("parameters cannot be both constant and variable", "unlock_all_params=True", None)
        size, batch = self.imposed_patch_size, self.imposed_batch_size
        is_sequence = isinstance(size, (list, tuple)) or (isinstance(size, np.ndarray) and size.ndim == 1)
        if size is not None and not (is_sequence and all(map(_positive, size))):
            raise _bad("imposed_patch_size must be a sequence of sizes", size, "one int >= 1 per spatial axis")
        if batch is not None and not _positive(batch):
            raise _bad("imposed_batch_size must be a size", batch, "an int >= 1")
        lock = self.lock_trainable_params
        number = isinstance(lock, (int, np.integer)) and not isinstance(lock, bool) and lock >= 0
        if lock is not None and not number and not isinstance(lock, (list, tuple)):
            raise _bad("lock_trainable_params must be a number or a list of names", lock, "an int >= 0, or names")
        if self.inject_source is not None and not isinstance(self.inject_source, dict):
            raise InputTypeError("inject_source must be a dict", where="modelload", got=repr(self.inject_source)[:200])


def _bad(problem: str, got: Any, expected: str | None) -> ArgumentError:
    return ArgumentError(problem, where="modelload", got=got, expected=expected)


def _positive(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and bool(value >= 1)


def apply_options(
    document: dict[str, Any], arrays: Mapping[str, np.ndarray], options: LoadOptions, model: TrainableGraph
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Apply options to a document.

    Parameters
    ----------
    document : dict
    arrays : mapping of str to numpy.ndarray
    options : LoadOptions
    model : TrainableGraph
        The model that the document describes.

    Returns
    -------
    tuple of dict and dict
        A modified copy of the document, and its arrays.

    Raises
    ------
    ShapeError, ArgumentError, UnknownNameError
        For options that do not suit this model.
    """
    document, new_arrays = copy.deepcopy(document), dict(arrays)
    entries = {e["name"]: e for e in document["nodes"] if "split" not in e}
    if options.unlock_all_params:
        for entry in entries.values():
            _unlock(entry)
    if options.replace_bn is not None:
        for entry in entries.values():
            _replace_bn(entry, options.replace_bn, new_arrays)
    if options.make_weights_constant:
        for entry in entries.values():
            _lock(entry)
    elif options.lock_trainable_params is not None:
        for name in _names_to_lock(options.lock_trainable_params, entries, model):
            _lock(entries[name])
    if options.inject_source is not None:
        inject(document, options.inject_source, model)
    if options.override_mfp_to_active or options.imposed_patch_size is not None or options.imposed_batch_size:
        size = options.imposed_patch_size
        patch = None if size is None else [int(s) for s in size]
        resize(document, model, patch, options.imposed_batch_size, options.override_mfp_to_active)
    same_training = (
        not (options.make_weights_constant or options.unlock_all_params or options.replace_bn)
        and options.lock_trainable_params is None
        and options.inject_source is None
    )
    if not same_training:
        document["optimisers"] = {}
    return document, new_arrays


def _layer_params(entry: Entry) -> list[str]:
    """Return the stored parameters of a node that its constructor also takes as arguments."""
    params = NORM_PARAMS if entry["class"] in NORMS else LAYER_PARAMS
    return [key for key in params if key in entry.get("parameters", {})]


def _lock(entry: Entry) -> None:
    arguments, stored = entry["arguments"], entry.get("parameters", {})
    keys = _layer_params(entry)
    if arguments.get("batch_normalisation") in ("train", "fadeout"):
        raise ArgumentError(
            "batch normalisation in training mode cannot be made constant",
            node=entry["name"],
            got=f"batch_normalisation={arguments['batch_normalisation']!r}",
            nearest="replace_bn='const'",
        )
    for key in [*keys, *(["value"] if entry["class"] == "ValueNode" and "value" in stored else [])]:
        array = stored[key]["array"]
        arguments[key] = [{"array": array}, "const"]
        stored[key] = {"array": array, "constant": True}
    if entry["class"] == "ValueNode":
        arguments.pop("init_kwargs", None)


def _unlock(entry: Entry) -> None:
    for key in _layer_params(entry):
        entry["parameters"][key] = {"array": entry["parameters"][key]["array"]}
        if isinstance(entry["arguments"].get(key), list):
            entry["arguments"][key] = {"array": entry["parameters"][key]["array"]}


def _names_to_lock(lock: Any, entries: dict[str, Entry], model: TrainableGraph) -> list[str]:
    layers = [name for name, entry in entries.items() if _layer_params(entry)]
    if not isinstance(lock, (list, tuple)):
        return layers[: int(lock)]
    for name in lock:
        if name not in layers:
            raise UnknownNameError(
                "no layer of this name has parameters that can be locked",
                where=f"model {model.name}",
                got=name,
                expected=f"among {layers}",
                nearest=nearest_name(name, layers),
            )
    return list(lock)


def _replace_bn(entry: Entry, how: str, arrays: dict[str, np.ndarray]) -> None:
    arguments, stored = entry["arguments"], entry.get("parameters", {})
    mode = arguments.get("batch_normalisation")
    if not mode:
        return
    if how == "remove":
        arguments["batch_normalisation"] = False
        for key in ("gamma", *STATISTICS):
            arguments.pop(key, None)
            stored.pop(key, None)
    else:
        arguments["batch_normalisation"] = "predict"
        if mode == "fadeout":
            _finish_fading(entry, arrays)
        for key in STATISTICS:
            array = stored[key]["array"]
            stored[key] = {"array": array, "constant": True} if how == "const" else {"array": array}
            arguments[key] = [{"array": array}, "const"] if how == "const" else {"array": array}
        if "gamma" in stored:
            stored["gamma"] = {k: v for k, v in stored["gamma"].items() if k in ("array", "constant")}
    if not arguments.get("gradnet_mode"):
        stored.pop("gradnet_rate", None)


def _finish_fading(entry: Entry, arrays: dict[str, np.ndarray]) -> None:
    """Fold the current rate of a fading normalisation into its statistics and scale."""
    stored = entry["parameters"]
    rate = float(arrays[stored["gradnet_rate"]["array"]])
    for key, rest in (("gamma", 1 - rate), ("mean", 0.0), ("std", 1 - rate)):
        if key in stored:
            path = f"{stored[key]['array']} faded"
            old = arrays[stored[key]["array"]]
            arrays[path] = (rate * old + rest).astype(old.dtype)
            stored[key] = {**stored[key], "array": path}
            entry["arguments"].pop(key, None)
