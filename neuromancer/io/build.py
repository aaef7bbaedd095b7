"""Building a model from a document. Nothing in the document is executed: only known node classes are constructed."""

from __future__ import annotations

import inspect
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from neuromancer import engine as E
from neuromancer.casts import exact_cast
from neuromancer.dense.processing.steps import Step, steps_of
from neuromancer.errors import FileError, NeuromancerError, short
from neuromancer.graph.construction import constructor
from neuromancer.graph.demand import ENOUGH
from neuromancer.graph.geometry import asking
from neuromancer.graph.registry import model_manager
from neuromancer.io.limits import MAX_NODES, Budget
from neuromancer.io.names import find_class
from neuromancer.io.values import Decoder
from neuromancer.nodes.neural_layer import NeuralLayer
from neuromancer.nodes.split import split
from neuromancer.nodes.value import ValueNode
from neuromancer.optim.optimisers import OPTIMISERS
from neuromancer.utils import check_name, rng
from neuromancer.variables import VariableParam

if TYPE_CHECKING:
    from neuromancer.nodes.node import Node
    from neuromancer.optim.trainable import TrainableGraph

STATISTICS = ("mean", "std")
LAYER_PARAMS = ("w", "b", "gamma", *STATISTICS)


@contextmanager
def new_model(name: str | None) -> Iterator[TrainableGraph]:
    """Create a current model; if the block raises, delete it and make the previous model current again."""
    before = model_manager.current, model_manager.last
    # Values drawn by constructors are overwritten, so the state of the package's generator is restored.
    generator, state = rng(), rng().bit_generator.state
    model = model_manager.newmodel(name)
    try:
        yield model
    except BaseException:
        del model_manager.models[model.name]
        model_manager.current, model_manager.last = before
        raise
    finally:
        generator.bit_generator.state = state


@contextmanager
def damaged(where: str, user_errors: bool = False) -> Iterator[None]:
    """Turn errors in a document's contents into FileError; with `user_errors`, let the package's own errors pass."""
    try:
        yield
    except FileError:
        raise
    except (MemoryError, RecursionError) as error:
        raise FileError("the file is damaged", where=where, got=type(error).__name__) from error
    except Exception as error:  # from any library that gets values from the file
        if user_errors and isinstance(error, NeuromancerError):
            raise
        raise FileError(
            "the model cannot be built from the file", where=where, got=f"{type(error).__name__}: {error}"[:1000]
        ) from error


def build(
    model: TrainableGraph,
    document: dict[str, Any],
    arrays: Mapping[str, np.ndarray],
    where: str,
    functors: Mapping[str, Callable[..., Any]],
    user_errors: bool = False,
) -> None:
    """Fill an empty current model.

    Parameters
    ----------
    model : TrainableGraph
    document : dict
        As returned by :func:`neuromancer.io.describe.describe`.
    arrays : mapping of str to numpy.ndarray
    where : str
        Name of the file, for messages.
    functors : mapping of str to callable
        Functions that the document may name besides the package's.
    user_errors : bool
        Let the package's own errors pass unchanged, because the caller's options cause them.

    Raises
    ------
    FileError
        If the document does not describe a model.
    """
    with damaged(where, user_errors):
        budget = Budget(document, arrays)
        decode = Decoder(arrays, model.nodes, functors, budget)
        for entry in document["variables"]:
            value = decode({"array": entry["array"]})
            train, decay = _training(entry)
            variable = VariableParam(value, apply_train=train, apply_reg=decay)
            variable.name = entry["name"]
            decode.variables.append(variable)
        if not isinstance(document["nodes"], list) or len(document["nodes"]) > MAX_NODES:
            raise FileError("too many nodes", where=where, got=len(document["nodes"]), expected=f"up to {MAX_NODES}")
        for entry in document["nodes"]:
            if "split" in entry:
                _split(model, entry, decode)
            else:
                _node(model, entry, decode, lenient=document.get("lenient", False))
        model.designate_nodes(**document["designations"])
        model.meta.restore(document["meta"], document.get("meta_given"))
        model.pending_states.update(_optimisers(document["optimisers"], decode))
        for values, kept in _recent(document["recent"], model, decode):
            kept.extend(values.tolist())
        model.history = _history(document["history"], decode)
        model.training_state = _training_state(document.get("training", {}))
        model.processing = _processing(document.get("processing", {}))


def _optimisers(document: dict[str, Any], decode: Decoder) -> dict[str, dict[str, np.ndarray]]:
    """Return the state of the optimisers by name; it is checked against the parameters when they are created."""
    states = {}
    for name, state in document.items():
        if name not in OPTIMISERS:
            raise FileError("state of an unknown optimiser", where="file", got=short(name), expected=[*OPTIMISERS])
        states[name] = {key: decode.array(ref["array"]) for key, ref in state.items()}
    return states


def _recent(
    document: dict[str, Any], model: TrainableGraph, decode: Decoder
) -> Iterator[tuple[np.ndarray, deque[float]]]:
    """Yield the values of the last steps, and the queue that holds them."""
    places = {"loss": model._losses, "seconds": model._seconds}
    for key, ref in document.items():
        if key not in places:
            raise FileError("unknown numbers of the last steps", where="file", got=short(key), expected=[*places])
        values, most = decode.array(ref["array"]), places[key].maxlen or 0
        if values.ndim != 1 or len(values) > most or values.dtype.kind not in "iuf":
            raise FileError(
                f"the {key} of the last steps is damaged", where="file", got=f"{values.dtype} {values.shape}",
                expected=f"at most {most} numbers in a row",
            )  # fmt: skip
        if key == "seconds" and not (np.isfinite(values).all() and (values >= 0).all()):
            shown = short(values[:4].tolist())
            raise FileError("the seconds of the last steps are not durations", where="file", got=shown)
        yield values, places[key]


def _processing(document: Any) -> dict[str, tuple[Step, ...]]:
    if not isinstance(document, dict) or not set(document) <= {"preprocess", "postprocess"}:
        raise FileError("the steps of processing are damaged", where="file", got=short(document))
    return {key: steps_of(steps, key) for key, steps in document.items()}


def _training_state(state: Any) -> dict[str, Any]:
    if not isinstance(state, dict):
        raise FileError("the state of the training is not a table", got=type(state).__name__)
    return state


def _split(model: TrainableGraph, entry: dict[str, Any], decode: Decoder) -> None:
    node = decode({"node": entry["node"]})
    names = entry.get("parts") or entry["name"]
    index, n_out = decode(entry["index"]), entry["n_out"]
    decode.budget.parts(str(entry["split"]), index, n_out)
    if n_out is not None and not isinstance(names, str) and n_out != len(names):
        raise FileError("the parts of a split do not match it", where=str(entry["split"])[:200], got=len(names))
    parts = split(node, entry["axis"], index, n_out, bool(entry["strip_singleton_dims"]), names)
    label, record = model.splits.popitem()
    label = check_name(entry["split"], "split")
    model.splits[label] = {**record, "name": decode(entry["name"])}
    for part, name in zip(parts, model.splits[label]["parts"], strict=True):
        if entry.get("parts") and part.name != name:
            raise FileError("two nodes have the same name", where=str(name)[:200])
        part.feature_names = entry.get("features", {}).get(name)


def _node(model: TrainableGraph, entry: dict[str, Any], decode: Decoder, lenient: bool) -> None:
    name, cls = entry["name"], find_class(entry["class"])
    if not isinstance(name, str) or name in model.nodes:
        raise FileError("two nodes have the same name", where=str(name)[:200])
    signature = constructor(cls)
    arguments = {key: decode(value) for key, value in entry["arguments"].items()}
    unknown = [key for key in arguments if key not in signature.parameters]
    if unknown:
        raise FileError(
            "the class has no such argument", where=f"{entry['class']} {name}"[:200], got=str(unknown)[:200],
            expected=f"among {list(signature.parameters)}",
        )  # fmt: skip
    stored = entry.get("parameters", {})
    values = {key: decode.array(spec["array"]) for key, spec in stored.items()}
    original = _bind(signature, arguments)
    given = {**arguments, **_values_as_arguments(cls, signature, arguments, values, stored)}
    if "name" in signature.parameters:
        given["name"] = name
    if "print_repr" in signature.parameters:
        given["print_repr"] = False
    bound = _bind(signature, given)
    demand = decode.budget.node(cls, name, _complete(bound), values)
    with asking(decode.budget.walks):
        node = cls(*bound.args, **bound.kwargs)
    node.demanded = demand
    _rename(model, node, name)
    node.construction = original.args, original.kwargs
    _restore(node, stored, values, lenient)
    for key, spec in entry.get("attributes", {}).items():
        _set(node, key, vars(node)[key], spec, decode.array(spec["array"]))
    for key, spec in entry.get("streams", {}).items():
        stream = vars(node)[key]
        if not isinstance(stream, E.RandomStream):
            raise FileError("not a random stream", node=node, got=str(key)[:200])
        stream.set_state(spec["seed"], _positions(decode.copied(spec["array"]), node))
    if "features" in entry:
        node.feature_names = entry["features"]


def _history(document: dict[str, Any], decode: Decoder) -> dict[str, np.ndarray]:
    """Return copies of the columns, each of which has its own array."""
    left = sum(array.nbytes for array in decode.arrays.values())
    history = {}
    for key, ref in document.items():
        array = decode.array(ref["array"])
        left -= array.nbytes
        if left < 0:
            raise FileError("the history is larger than its arrays", where="file", got=short(key))
        history[key] = array.copy()
    return history


def _positions(values: np.ndarray, node: Node) -> np.ndarray:
    """Check the position of a random stream: keys, and counters that leave room for further draws."""
    if values.dtype != np.int64 or values.ndim != 2 or (values < 0).any() or (values[:, 1:] >= ENOUGH).any():
        raise FileError(
            "the position of a random stream is damaged", node=node,
            got=f"{values.dtype} of shape {values.shape}, {short(values[:4].tolist())}",
            expected="int64, two numbers per draw, the second below 2**62",
        )  # fmt: skip
    return values


def _bind(signature: inspect.Signature, arguments: dict[str, Any]) -> inspect.BoundArguments:
    ordered = {key: arguments[key] for key in signature.parameters if key in arguments}
    return inspect.BoundArguments(signature, ordered)


def _complete(bound: inspect.BoundArguments) -> dict[str, Any]:
    """Return the arguments by name, including defaults."""
    defaults = {key: p.default for key, p in bound.signature.parameters.items() if p.default is not p.empty}
    return {**defaults, **bound.arguments}


def _rename(model: TrainableGraph, node: Node, name: str) -> None:
    """Restore the name of a node whose constructor takes none."""
    if node.name != name:
        check_name(name, type(node).__name__)
        model.forget(node.name)
        node.name = name
        model.nodes[name] = node
        for parent in node.parents:
            parent.children[name] = node


def _values_as_arguments(
    cls: type,
    signature: inspect.Signature,
    arguments: dict[str, Any],
    values: dict[str, np.ndarray],
    stored: dict[str, Any],
) -> dict[str, Any]:
    """Return the stored values that the constructor takes, so that it draws none and constants get their values."""
    given: dict[str, Any] = {}
    if issubclass(cls, ValueNode) and "value" in values:
        constant = stored["value"].get("constant")
        given["value"] = [values["value"], "const"] if constant else values["value"]
        given["init_kwargs"] = None
    elif issubclass(cls, NeuralLayer):
        mode = arguments.get("batch_normalisation") or False
        usable = LAYER_PARAMS[: 2 if mode is False else 5 if mode == "predict" else 3]
        for key in usable:
            old = arguments.get(key)
            if key in values and key in signature.parameters and not isinstance(old, E.Variable):
                # Layers refuse values that are not finite; those are restored afterwards.
                value = values[key] if np.isfinite(values[key]).all() else np.zeros_like(values[key])
                marked = isinstance(old, (list, tuple)) and len(old) == 2
                given[key] = [value, old[1]] if marked else value  # type: ignore[index]
    return given


def _restore(node: Node, stored: dict[str, Any], values: dict[str, np.ndarray], lenient: bool) -> None:
    missing, extra = set(node.params) - set(stored), set(stored) - set(node.params)
    if (missing or extra) and not lenient:
        raise FileError(
            "the node has other parameters than the file", node=node, got=sorted(stored), expected=sorted(node.params)
        )
    for key, param in node.params.items():
        if key not in stored:
            continue
        if param.constant:
            saved = values[key].astype(param.get_value().dtype)
            if saved.shape != param.get_value().shape or not np.array_equal(param.get_value(), saved, equal_nan=True):
                if lenient:
                    continue
                raise FileError("a constant has another value than the one saved", node=node, got=key)
        else:
            _set(node, key, param, stored[key], values[key])


def _set(node: Node, key: str, param: Any, spec: dict[str, Any], value: np.ndarray) -> None:
    if not isinstance(param, VariableParam):
        raise FileError("not a parameter", node=node, got=str(key)[:200])
    old = param.get_value()
    # The original library writes scalars as vectors of length 1.
    if value.shape != old.shape and not prod(value.shape) == prod(old.shape) == 1:
        raise FileError(f"parameter {key!r} has another shape", node=node, got=value.shape, expected=old.shape)
    param.set_value(exact_cast(value.reshape(old.shape), param.dtype, node, f"parameter {key!r}"))
    if "train" in spec:
        param.apply_train, param.apply_reg = _training(spec)
        param.frozen = spec.get("frozen", False) is True


def _training(spec: dict[str, Any]) -> tuple[bool, bool | float]:
    """Return whether a parameter is trained, and its weight decay."""
    train, decay = spec["train"], spec["decay"]
    if type(train) is not bool or type(decay) not in (bool, int, float) or not abs(decay) <= sys.float_info.max:
        raise FileError("the training flags of a parameter are damaged", where="file", got=short((train, decay)))
    return train, decay
