"""Translation of the original library's node descriptions to a document of this package."""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import Any

import numpy as np

from neuromancer.errors import FileError, short
from neuromancer.graph.construction import constructor
from neuromancer.io.container import HEAD, array_path
from neuromancer.io.legacy.pickles import EXPANSION, SPARE, Name, Record, finished, read_pickle
from neuromancer.io.names import find_class, package_classes
from neuromancer.io.values import NUMERIC, Arrays
from neuromancer.nodes.functors import tensor_functions
from neuromancer.nodes.split import split
from neuromancer.utils import NAME_LENGTH

MAX_VALUES, TEXT = 100_000, 64
"""Maximum number of values in all descriptions, and characters of a string that count as one."""
MAX_DEPTH = 30
FACTORIES = {"Dot": "Perceptron", "Errors": "ErrorRate", "_Errors": "ErrorRate"}
ROLES = (
    "input_node", "target_node", "loss_node", "prediction_node", "error_node", "prediction_ext", "debug_outputs",
)  # fmt: skip
FUNCTIONS = {"scalarsigmoid": "sigmoid", "scalarsoftplus": "softplus"}


def read_legacy(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read document and arrays of a model file of the original library.

    Parameters
    ----------
    path : path

    Returns
    -------
    document : dict
    arrays : dict of str to numpy.ndarray

    Raises
    ------
    FileError
        If the file is damaged or malicious, or describes something that this package lacks.
    """
    content = read_pickle(path)
    try:
        return _Translation(content, EXPANSION * Path(path).stat().st_size + SPARE).result()
    except FileError as error:
        error.node = error.node or str(path)
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        raise FileError(
            "the file does not describe a model", where=str(path), got=f"{type(error).__name__}: {error}"[:300]
        ) from error


class _Translation:
    """Translates the contents of a pickle. Every reference counts, as anything may be referenced many times.

    Parameters
    ----------
    content : object
    n_bytes : int
        Maximum size of all arrays.
    """

    def __init__(self, content: Any, n_bytes: int) -> None:
        self.descriptors, designations = content
        if not isinstance(self.descriptors, dict) or not isinstance(designations, dict):
            raise FileError("the file does not describe a model", where="", got=type(self.descriptors).__name__)
        self.roles = {key: finished(v) for key, v in designations.items() if key in ROLES}
        self.arrays = Arrays()
        self.bytes_left, self.values_left = n_bytes, MAX_VALUES

    def result(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        nodes = []
        for name, descriptor in self.descriptors.items():
            if not isinstance(name, str) or len(name) > NAME_LENGTH:
                raise FileError("a node's name is not a string, or too long", where="", got=short(name, 100))
            if isinstance(descriptor, Record):
                nodes.append(self.split(name, descriptor))
            else:
                nodes.append(self.node(name, *descriptor))
        parts = {part for entry in nodes for part in entry.get("parts") or ()}
        document = {
            "name": "",
            "lenient": True,
            "nodes": [entry for entry in nodes if entry.get("name") not in parts or "split" in entry],
            "designations": {key: _role(value) for key, value in self.roles.items()},
            "meta": {},
            "optimisers": {},
            "recent": {},
            "history": {},
            "variables": [],
        }
        return document, self.arrays.by_path

    # ---- entries
    def node(self, name: str, description: Record, values: Any) -> dict[str, Any]:
        state = description.state
        cls_name = state["cls"].name
        cls_name = FACTORIES.get(cls_name, cls_name)
        if cls_name not in package_classes():
            raise FileError("a node's class is unknown", node=name[:200], got=cls_name[:100])
        signature = constructor(find_class(cls_name))
        arguments = self.arguments(name, signature, state["args"], state["kwargs"])
        stored = {}
        for key, value in (values or {}).items():
            stored[key] = self.array(self.numbers(value, name, key), name, array_path("parameters", name, key))
            if _constant(arguments.get(key)):
                stored[key]["constant"] = True
        return {"name": name, "class": cls_name, "arguments": arguments, "parameters": stored}

    def split(self, name: str, description: Record) -> dict[str, Any]:
        signature = inspect.signature(split)
        arguments = self.arguments(name, signature, description.state["args"], description.state["kwargs"])
        arguments.setdefault("node", {"node": self.value(description.state.get("node_id"), name, "node_id")})
        entry: dict[str, Any] = {"axis": "f", "index": None, "n_out": None, "strip_singleton_dims": False}
        entry |= {**arguments, "node": arguments["node"]["node"], "split": name}
        entry.setdefault("name", "split")
        names = entry["name"]
        entry["parts"] = names if isinstance(names, list) and names else None
        return entry

    def arguments(self, name: str, signature: inspect.Signature, args: Any, kwargs: Any) -> dict[str, Any]:
        """Return the arguments by name, without empty lists that the original library wrote for defaults."""
        bound = signature.bind_partial(*args, **kwargs).arguments
        result = {}
        for key, value in bound.items():
            default = signature.parameters[key].default
            if isinstance(value, list) and not value and isinstance(default, (str, tuple)):
                continue
            result[key] = self.value(value, name, key)
        return result

    # ---- values
    def spend(self, node: str, what: str, n_values: int = 1, n_bytes: int = 0, depth: int = 0) -> None:
        """Count the cost of a reference."""
        self.values_left -= n_values
        self.bytes_left -= n_bytes
        if min(self.values_left, self.bytes_left) < 0 or depth > MAX_DEPTH:
            raise FileError("the description of a node is too large", node=node[:200], got=what[:100])

    def array(self, array: np.ndarray, node: str, path: str | None = None) -> dict[str, Any]:
        """Return a reference to a copy of an array, counted."""
        self.spend(node, path or "an array", n_bytes=array.nbytes + HEAD)
        return self.arrays.add(array, path)

    def numbers(self, value: Any, node: str, what: str, depth: int = 0) -> np.ndarray:
        """Return the value of a parameter (an array, a number, or lists of numbers) as an array."""
        value = finished(value)
        self.spend(node, what, 1, value.nbytes if depth and isinstance(value, np.ndarray) else 0, depth)
        if isinstance(value, (list, tuple)):
            value = np.array([self.numbers(v, node, what, depth + 1) for v in value])
        array = np.asarray(value) if isinstance(value, (np.ndarray, np.generic, int, float)) else None
        if array is None or array.dtype.kind not in NUMERIC:
            raise FileError("the value of a parameter is not an array of numbers", node=node[:200], got=what[:100])
        return array

    def value(self, value: Any, node: str, what: str, depth: int = 0) -> Any:
        value = finished(value)
        self.spend(node, what, 1 + len(value) // TEXT if isinstance(value, str) else 1, depth=depth)
        if isinstance(value, np.generic):
            value = value.item()
        if value is None or isinstance(value, (bool, int, str)):
            return value
        if isinstance(value, float):
            return value if np.isfinite(value) else {"float": repr(value)}
        if isinstance(value, np.ndarray):
            # Vectors of integers are sizes and strides.
            if value.dtype.kind not in "iu" or value.ndim != 1:
                return self.array(value, node)
            self.spend(node, what, value.size)
            return value.tolist()
        if isinstance(value, list):
            return [self.value(v, node, what, depth + 1) for v in value]
        if isinstance(value, tuple):
            return {"tuple": [self.value(v, node, what, depth + 1) for v in value]}
        if isinstance(value, dict):
            self.spend(node, what, sum(len(key) // TEXT for key in value if isinstance(key, (str, bytes))))
            return {"dict": {str(key): self.value(v, node, what, depth + 1) for key, v in value.items()}}
        found = self.reference(value, node) if isinstance(value, Record) else self.function(value)
        if found is None:
            raise FileError("an argument cannot be understood", node=node[:200], got=f"{what[:100]} = {short(value)}")
        return found

    def reference(self, record: Record, node: str) -> dict[str, Any] | None:
        """Return a reference to a node, to a parameter of one, or to a function of the old engine."""
        self.spend(node, record.cls.name, len(record.state))
        texts = [v for v in record.state.values() if isinstance(v, str)]
        nodes = [t for t in texts if t in self.descriptors]
        if "Param" in record.cls.name and nodes:
            owned = [t for t in texts if t != nodes[0]]
            return {"parameter": [nodes[0], owned[0]]} if owned else None
        target = record.state.get("target_id", record.state.get("name"))
        if record.cls.module.startswith("elektronn2") and isinstance(target, str) and target in self.descriptors:
            return {"node": target}
        inner = record.state.get("scalar_op")
        return self.function(inner.cls) if isinstance(inner, Record) else None

    def function(self, name: Any) -> dict[str, Any] | None:
        """Return the elementwise function of the same name in the present engine, or None."""
        if not isinstance(name, Name) or not name.module.startswith("theano"):
            return None
        low = name.name.lower()
        for key in (name.name, FUNCTIONS.get(low, low)):
            if key in tensor_functions():
                return {"functor": f"T:{key}"}
        return None


def _constant(argument: Any) -> bool:
    return isinstance(argument, list) and len(argument) == 2 and argument[1] == "const"


def _role(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [v for v in value if isinstance(v, str)] or None
    return value if isinstance(value, str) else None
