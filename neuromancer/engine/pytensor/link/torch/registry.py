"""The table of torch forms: how each symbolic operation is computed on tensors.

A form is looked up by the class of the operation in a registry of this package, separate from PyTensor's global PyTorch
conversion. An operation without a form runs on the host through its `perform`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import singledispatch
from typing import Any

import numpy as np
import torch
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.op import Op

DEVICE, HOST, ANY = "device", "host", "any"

TORCH_DTYPES: dict[str, torch.dtype] = {
    name: getattr(torch, name)
    for name in ("bool", "int8", "int16", "int32", "int64", "uint8", "float16", "float32", "float64")
}
"""dtypes for which torch has the full set of functions; all others are computed on the host."""


@dataclass
class Form:
    """How one node is computed.

    Attributes
    ----------
    run : callable
        Takes the inputs named in `takes`; returns the output, or a tuple if the node has several.
    takes : sequence
        Per input: 'device' (a tensor on the device), 'host' (a numpy or Python value), 'any' (wherever it is), or None
        (not passed).
    gives : sequence
        Per output: 'device' or 'host'.
    fresh : bool
        The outputs are known to be new tensors, not views.
    """

    run: Callable[..., Any]
    takes: Sequence[str | None]
    gives: Sequence[str]
    fresh: bool = False


@dataclass
class Context:
    """Facts about a node that its form may use while the program is built.

    Attributes
    ----------
    device : torch.device
    places : dict
        'device' or 'host' per variable computed so far.
    used : tuple of bool
        Per output of the node: whether anything reads it.
    reusable : set
        Inputs of the node that it may overwrite.
    lasting : set
        Inputs of the node that change only when a parameter is set.
    layouts : set
        Graph inputs that should have the channels-last memory format; forms add to it.
    counters : Counters
        Passed to the programs of inner graphs.
    precision : {'f32', 'tf32', 'bf16', 'f16'}
        Precision of convolutions; always 'f32' on the CPU.
    """

    device: torch.device
    places: dict[Variable, str]
    used: tuple[bool, ...] = (True,)
    reusable: set[Variable] = field(default_factory=set)
    lasting: set[Variable] = field(default_factory=set)
    layouts: set[Variable] = field(default_factory=set)
    counters: Any = None
    precision: str = "f32"

    def on_host(self, variable: Variable) -> bool:
        """Return True if the value of `variable` lives on the host."""
        return self.places[variable] == HOST


@singledispatch
def torch_form(op: Op, node: Apply, context: Context) -> Form | Callable[..., Any] | None:
    """Return the form of `node`, or None if it runs on the host through `perform`.

    A bare callable takes and returns only tensors on the device.
    """
    return None


OWN_PLACE: set[type] = set()
"""Operations that use their torch form even if all inputs are on the host: those that create tensors from sizes, and
those with inner graphs."""


NEW: set[type] = set()
"""Operations with bare forms whose results are always new tensors, never views."""


def has_own_place(op: Op) -> bool:
    """Return True if `op` uses its torch form even if all inputs are on the host."""
    return isinstance(op, tuple(OWN_PLACE))


def simple(*classes: type) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that registers a function of tensors as the form of operations without parameters."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        for cls in classes:
            torch_form.register(cls)(lambda op, node, context: function)
        return function

    return register


def supported(variable: Variable) -> bool:
    """Return True if `variable` is a tensor (or scalar) of a dtype in `TORCH_DTYPES`."""
    return getattr(variable.type, "dtype", None) in TORCH_DTYPES


def constant_value(variable: Variable) -> Any:
    """Return the value of a constant, None for any other variable."""
    return variable.data if isinstance(variable, Constant) else None


def is_size_one(variable: Variable) -> bool:
    """Return True if `variable` is known to have exactly one element."""
    return all(s == 1 for s in getattr(variable.type, "shape", ()))


def as_scalar(value: Any) -> bool | int | float:
    """Return a one-element array as a Python number."""
    return value.item() if isinstance(value, np.ndarray | np.generic | torch.Tensor) else value
