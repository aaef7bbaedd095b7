"""Digests of networks and functions, by which a restart checks that it continues with the same ones."""

from __future__ import annotations

import dis
import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import CellType, CodeType
from typing import TYPE_CHECKING, Any

import numpy as np

from neuromancer import engine as E
from neuromancer.graph.construction import bound_arguments
from neuromancer.graph.geometry import ancestors

if TYPE_CHECKING:
    from neuromancer.graph.node import GraphNode


def model_fingerprint(nodes: Sequence[GraphNode]) -> str:
    """Return a digest of the graph of some nodes: classes, arguments, connections and all parameter values.

    Names do not count, so a model that was saved and loaded under another name has the same digest.

    Parameters
    ----------
    nodes : sequence of GraphNode

    Returns
    -------
    str
    """
    digest = hashlib.sha256()
    everyone = ancestors(nodes)
    numbers = {id(n): k for k, n in enumerate(everyone)}
    for n in everyone:
        kind = f"{type(n).__module__}.{type(n).__qualname__}"
        shape = None if n.shape is None else (list(n.shape.tags), n.shape.strides.tolist(), list(n.shape.offsets))
        parents = [numbers[id(p)] for p in n.parents]
        digest.update(repr((kind, parents, shape, str(getattr(n.output, "dtype", "")))).encode())
        if not n.is_source:  # the patch size of an input may differ
            digest.update(_arguments(bound_arguments(n), numbers).encode())
        for key, param in n.params.items():
            digest.update(key.encode())
            digest.update(_plain(param.get_value(), numbers).encode())
    digest.update(repr([numbers[id(n)] for n in nodes]).encode())
    return digest.hexdigest()


def function_text(function: Callable[..., Any]) -> str:
    """Return a text that identifies a function, the same in every process.

    It consists of the name and a digest of bytecode, constants, names used, defaults and values of the closure; of a
    callable object only the class counts.

    Examples
    --------
    >>> function_text(lambda v: v + 1) == function_text(lambda v: v + 2)
    False
    """
    return _function_text(function, {})


def _function_text(function: Any, numbers: Mapping[int, int]) -> str:
    if isinstance(function, partial):
        parts = (function.func, function.args, function.keywords)
        return "partial " + " ".join(_plain(part, numbers) for part in parts)
    known = next((name for name, value in vars(E.T).items() if value is function), None)
    if known is not None:  # operations of the engine are instances of a few classes
        return f"T:{known}"
    own = getattr(function, "__qualname__", None) or getattr(function, "__name__", type(function).__name__)
    name = f"{getattr(function, '__module__', '')}:{own}"
    code = getattr(function, "__code__", None)
    if code is None:
        return name
    # A recursive function is in its own closure.
    numbers = {**numbers, id(function): len(numbers)}
    bound = [getattr(function, key, None) for key in ("__defaults__", "__kwdefaults__")]
    bound += [_content(cell) for cell in getattr(function, "__closure__", None) or ()]
    return f"{name} {_code_digest(code)} {hashlib.sha256(_plain(bound, numbers).encode()).hexdigest()[:16]}"


def _content(cell: CellType) -> Any:
    """Value in a cell of a closure; None if it has not been assigned yet."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _code_digest(code: CodeType) -> str:
    # Python keeps the first constant even where it is not used: a docstring, or an element of what became a set.
    used = {step.arg for step in dis.get_instructions(code) if step.opcode in dis.hasconst}
    constants = tuple(value if k in used else None for k, value in enumerate(code.co_consts))
    text = repr((_constant(constants), code.co_names))
    return hashlib.sha256(code.co_code + text.encode()).hexdigest()[:16]


def _constant(value: Any) -> Any:
    """Return a constant in a form whose repr has neither addresses nor an order that depends on hashes of strings."""
    if isinstance(value, CodeType):
        return _code_digest(value)
    if isinstance(value, frozenset):
        return sorted(repr(_constant(v)) for v in value)
    return tuple(map(_constant, value)) if isinstance(value, tuple) else value


def _arguments(arguments: Mapping[str, Any], numbers: Mapping[int, int]) -> str:
    # Initial values are covered by those of the parameters; names and printing have no effect.
    relevant = {k: v for k, v in arguments.items() if k not in ("name", "print_repr", "w", "b", "mean", "std", "gamma")}
    return _plain(relevant, numbers)


def _plain(value: Any, numbers: Mapping[int, int]) -> str:
    """Text of an argument, the same in every process."""
    if id(value) in numbers:
        return f"node {numbers[id(value)]}"
    if isinstance(value, Mapping):
        return repr({k: _plain(v, numbers) for k, v in value.items()})
    if isinstance(value, (list, tuple)):
        return repr([_plain(v, numbers) for v in value])
    if isinstance(value, np.ndarray):
        data = np.ascontiguousarray(value)
        return f"{data.dtype.str} {data.shape} {hashlib.sha256(data.tobytes()).hexdigest()}"
    if callable(value):
        return _function_text(value, numbers)
    known = (str, int, float, bool, type(None), np.generic, slice)
    return repr(value) if isinstance(value, known) else type(value).__name__
