"""Encoding of node arguments as JSON, and decoding.

JSON's own values represent themselves; everything else is an object with one key that names its kind: ``tuple``,
``dict``, ``float`` (those that JSON lacks), ``array``, ``scalar``, ``node``, ``parameter``, ``variable``, ``view``,
``shape``, ``functor``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from functools import partial
from hashlib import sha256
from typing import Any

import numpy as np

from neuromancer import engine as E
from neuromancer.errors import ArgumentError, FileError, short
from neuromancer.graph.demand import Demand
from neuromancer.graph.tagged_shape import TaggedShape
from neuromancer.io.limits import MAX_INTEGER, TEXT, Budget
from neuromancer.nodes.functors import find_functor, functor_name, is_functor
from neuromancer.nodes.node import Node
from neuromancer.variables import VariableParam

NUMERIC = "biuf"
MAX_DEPTH = 40


class Arrays:
    """Arrays of a file by their paths; equal constants are stored once.

    Attributes
    ----------
    by_path : dict of str to numpy.ndarray
    """

    def __init__(self) -> None:
        self.by_path: dict[str, np.ndarray] = {}
        self._known: dict[tuple[Any, ...], str] = {}

    def add(self, value: Any, path: str | None = None) -> dict[str, Any]:
        """Return a reference to an array: stored under `path`, or to an equal one if there is no `path`."""
        array = np.array(value, order="C")
        key = (array.dtype.str, array.shape, sha256(array.tobytes()).digest())
        if path is None and key in self._known:
            return {"array": self._known[key]}
        path = path or f"constants/{len(self.by_path)}"
        self.by_path[path] = array
        self._known.setdefault(key, path)
        return {"array": path}


class Encoder:
    """Encodes arguments of nodes as JSON.

    Parameters
    ----------
    nodes : iterable of Node
        All nodes of the model.
    arrays : Arrays
        Collects the arrays.

    Attributes
    ----------
    variables : list of VariableParam
        Shared variables that belong to no node; the JSON refers to them by index.
    """

    def __init__(self, nodes: Iterable[Node], arrays: Arrays) -> None:
        self.arrays, self.variables = arrays, list[Any]()
        self._names = {id(n): n.name for n in nodes}
        self._params = {id(p): [n.name, key] for n in nodes for key, p in n.params.items()}

    def is_param(self, variable: Any) -> bool:
        """Whether a variable is a parameter of one of the nodes."""
        return id(variable) in self._params

    def __call__(self, value: Any, node: Node, what: str) -> Any:
        """Return the JSON of an argument of `node`; raise ArgumentError if it cannot be stored in a file."""
        again = partial(self, node=node, what=what)
        if value is None or isinstance(value, (bool, str)):
            return value
        if isinstance(value, (np.ndarray, np.generic, int, float, Fraction)):
            return self._number(value, node, what)
        if isinstance(value, list):
            return [again(v) for v in value]
        if isinstance(value, tuple):
            return {"tuple": [again(v) for v in value]}
        if isinstance(value, dict) and all(isinstance(key, str) for key in value):
            return {"dict": {key: again(v) for key, v in value.items()}}
        if isinstance(value, Node):
            if id(value) not in self._names:
                raise ArgumentError("a node of another model is used", node=node, got=f"{what}: {value.name}")
            return {"node": value.name}
        if isinstance(value, TaggedShape):
            parts = (value.shape, value.tags, value.strides.tolist(), value.mfp_offsets.tolist(), value.fov)
            return {"shape": [*map(again, parts), again(value.centre)]}
        if isinstance(value, E.Variable):
            return self._variable(value, node, what)
        if is_functor(value):
            return {"functor": functor_name(value, node)}
        raise self._unknown(value, node, what)

    def _number(self, value: Any, node: Node, what: str) -> Any:
        """Return the JSON of a number or an array."""
        if isinstance(value, (np.ndarray, np.generic)):
            if value.dtype.kind not in NUMERIC:
                raise self._unknown(value, node, what)
            return {"scalar" if isinstance(value, np.generic) else "array": self.arrays.add(value)["array"]}
        if isinstance(value, Fraction):
            return {"fraction": [value.numerator, value.denominator]}
        if isinstance(value, int):
            if abs(value) >= MAX_INTEGER:
                raise self._unknown(value, node, what)
            return value
        return value if math.isfinite(value) else {"float": repr(value)}

    def _variable(self, value: Any, node: Node, what: str) -> Any:
        if id(value) in self._params:
            return {"parameter": self._params[id(value)]}
        if isinstance(value, VariableParam):
            if not any(v is value for v in self.variables):
                self.variables.append(value)
            return {"variable": next(i for i, v in enumerate(self.variables) if v is value)}
        if isinstance(value, E.Constant):
            return {"constant": self.arrays.add(value.data)["array"]}
        view = E.view_of(value)
        if view is None:
            raise self._unknown(value, node, what)
        base, steps = view
        return {"view": [self._variable(base, node, what), steps]}

    def _unknown(self, value: Any, node: Node, what: str) -> ArgumentError:
        return ArgumentError(
            f"argument {what!r} cannot be stored in a file",
            node=node,
            got=f"{type(value).__name__} {short(value)}",
            expected="numbers, strings, arrays, nodes, parameters and their views, functions of importable modules",
        )


class Decoder:
    """Decodes JSON to arguments.

    Parameters
    ----------
    arrays : mapping of str to numpy.ndarray
    nodes : mapping of str to Node
        The nodes built so far.
    functors : mapping of str to callable
        Functions passed by the caller.

    Attributes
    ----------
    variables : list
        Shared variables that belong to no node.
    budget : Budget
        Counts copies of arrays and symbolic views.
    """

    def __init__(
        self,
        arrays: Mapping[str, np.ndarray],
        nodes: Mapping[str, Node],
        functors: Mapping[str, Callable[..., Any]],
        budget: Budget,
    ) -> None:
        self.arrays, self.nodes, self.functors, self.budget = arrays, nodes, functors, budget
        self.variables: list[Any] = []

    def __call__(self, value: Any, depth: int = 0) -> Any:
        """Return the value; raise FileError for JSON that :class:`Encoder` does not produce."""
        if depth > MAX_DEPTH:
            raise FileError("values are nested too deeply", where="file", expected=f"at most {MAX_DEPTH} levels")
        if isinstance(value, list):
            return [self(v, depth + 1) for v in value]
        if not isinstance(value, dict):
            return _integer(value) if isinstance(value, int) else value
        if len(value) != 1:
            raise FileError("a value is damaged", where="file", got=repr(value)[:200])
        ((kind, content),) = value.items()
        if kind == "functor" and depth == 0:
            return find_functor(content, self.functors)
        make: Callable[[Any, int], Any] | None = self._MAKERS.get(kind)
        if make is None:
            raise FileError("a value is of an unknown kind", where="file", got=kind[:100])
        return make(self, content, depth + 1)  # type: ignore[call-arg]

    def array(self, path: Any) -> np.ndarray:
        """Return a stored array by its path."""
        if not isinstance(path, str) or path not in self.arrays:
            raise FileError("an array is missing", where="file", got=str(path)[:200])
        return self.arrays[path]

    def copied(self, path: Any) -> np.ndarray:
        """Return a copy of a stored array, counted, since one array may be copied many times."""
        array = self.array(path)
        self.budget.array(array)
        return array.copy()

    def _node(self, name: Any, depth: int) -> Node:
        if not isinstance(name, str) or name not in self.nodes:
            raise FileError("a node is used before it exists", where="file", got=str(name)[:200])
        return self.nodes[name]

    def _parameter(self, place: Any, depth: int) -> Any:
        name, key = place
        params = self._node(name, depth).params
        if key not in params:
            raise FileError("a shared parameter does not exist", where=str(name)[:200], got=str(key)[:200])
        return params[key]

    def _shape(self, parts: Any, depth: int) -> TaggedShape:
        shape, tags, strides, offsets, fov, centre = (self(p, depth) for p in parts)
        return TaggedShape(shape, tags, strides, offsets, fov, None if None in centre else centre)

    def _view(self, content: Any, depth: int) -> Any:
        base, steps = content
        self.budget.spend("view", Demand(4 * len(steps) + len(str(steps)) // TEXT))
        return E.apply_view(self(base, depth), steps)

    _MAKERS: dict[str, Any] = {  # noqa: RUF012
        "tuple": lambda self, v, d: tuple(self(x, d) for x in v),
        "dict": lambda self, v, d: {str(key): self(x, d) for key, x in v.items()},
        "float": lambda self, v, d: {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[v],
        "fraction": lambda self, v, d: _fraction(*v),
        "array": lambda self, v, d: self.copied(v),
        "scalar": lambda self, v, d: self.array(v)[()],
        "constant": lambda self, v, d: E.constant(self.copied(v)),
        "variable": lambda self, v, d: self.variables[_index(v)],
        "node": _node,
        "parameter": _parameter,
        "shape": _shape,
        "view": _view,
    }


def _integer(value: int) -> int:
    if abs(value) >= MAX_INTEGER:
        raise FileError("an integer is too large", where="file", got=short(value), expected="a magnitude below 2**128")
    return value


def _fraction(*parts: Any) -> Fraction:
    # Fraction also takes strings, and a short one can represent an integer of any length.
    if len(parts) != 2 or not all(type(p) is int for p in parts):
        raise FileError("a fraction is damaged", where="file", got=short(parts), expected="two integers")
    return Fraction(*map(_integer, parts))


def _index(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise FileError("a shared variable is damaged", where="file", got=short(value), expected="its number")
    return value
