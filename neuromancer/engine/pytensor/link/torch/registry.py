"""The table of torch forms: how each symbolic operation is computed on tensors.

A form is looked up by the class of the operation in a registry of our own, so that nothing here changes what PyTensor's
global PyTorch conversion does. An operation without a form runs through its `perform` on the host.
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
"""dtypes on which torch has the full set of functions; anything else is computed on the host."""


@dataclass
class Form:
    """How one node is computed.

    Attributes
    ----------
    run : callable
        Takes the inputs named in `takes`; returns the output, or a tuple if the node has several.
    takes : sequence
        Per input: 'device' (a tensor on the device), 'host' (numpy or Python value), 'any' (whichever the input is), or
        None: not passed at all.
    gives : sequence
        Per output: 'device' or 'host'.
    fresh : bool
        The outputs are surely new tensors, not views of something.
    """

    run: Callable[..., Any]
    takes: Sequence[str | None]
    gives: Sequence[str]
    fresh: bool = False


@dataclass
class Context:
    """What a form may ask about its node while the program is built.

    Attributes
    ----------
    device : torch.device
    places : dict
        'device' or 'host' per variable computed so far.
    used : tuple of bool
        Per output of the node: does anything read it?
    reusable : set
        Inputs of the node that it may overwrite.
    lasting : set
        Inputs of the node that stay the same from call to call until a parameter is set.
    layouts : set
        Graph inputs that a form wants in the channels-last memory format; forms add to it.
    counters : Counters
        Transfer counters, for the programs of inner graphs.
    precision : {'f32', 'tf32', 'bf16', 'f16'}
        Of convolutions; other than 'f32' only away from the CPU.
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
        """True if the value of `variable` lives on the host."""
        return self.places[variable] == HOST


@singledispatch
def torch_form(op: Op, node: Apply, context: Context) -> Form | Callable[..., Any] | None:
    """Return how `node` is computed with torch, or None for `perform` on the host.

    A bare callable means: all inputs and outputs are tensors on the device.
    """
    return None


OWN_PLACE: set[type] = set()
"""Operations that keep their torch form even if all their inputs are on the host: those that make tensors out of sizes,
and those with inner graphs."""


NEW: set[type] = set()
"""Operations with bare forms whose results are surely new tensors, never views."""


def has_own_place(op: Op) -> bool:
    """True if `op` is not computed on the host just because its inputs are there."""
    return isinstance(op, tuple(OWN_PLACE))


def simple(*classes: type) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register one function on tensors as the form of operations without parameters."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        for cls in classes:
            torch_form.register(cls)(lambda op, node, context: function)
        return function

    return register


def supported(variable: Variable) -> bool:
    """True if `variable` is a tensor (or scalar) of a dtype that torch handles."""
    return getattr(variable.type, "dtype", None) in TORCH_DTYPES


def constant_value(variable: Variable) -> Any:
    """Value of a constant, None for anything else."""
    return variable.data if isinstance(variable, Constant) else None


def is_size_one(variable: Variable) -> bool:
    """True if `variable` is known to have exactly one element."""
    return all(s == 1 for s in getattr(variable.type, "shape", ()))


def as_scalar(value: Any) -> bool | int | float:
    """Return a one-element array as a Python number."""
    return value.item() if isinstance(value, np.ndarray | np.generic | torch.Tensor) else value
