"""Table of the operations of PyTorch (ATen), by name without overload, and their arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from neuromancer.errors import TranslationError
from neuromancer.interop.network import Network, Weight

Handler = Callable[[Network, str, "Arguments"], Any]

OPERATIONS: dict[str, Handler] = {}
"""Operations that become nodes. In-place variants, with an underscore behind, are the same."""

PLAIN: dict[str, Handler] = {}
"""Operations that change nothing but how the source sees a tensor."""


class Arguments:
    """Arguments of an operation by name.

    Attributes
    ----------
    bound : dict
    layer : bool
        Whether the operation is that of a layer, so that its arguments do not depend on the size of the image.
    """

    def __init__(self, bound: dict[str, Any], layer: bool = False) -> None:
        self.bound, self.layer = bound, layer

    def __getitem__(self, name: str) -> Any:
        return self.bound.get(name)

    @property
    def x(self) -> Any:
        """The tensor that is operated on."""
        return self.bound.get("input", self.bound.get("self", self.bound.get("x")))

    def ints(self, name: str, ndim: int, default: int | None = None) -> tuple[int, ...]:
        """Return one integer per spatial axis; a single one stands for all."""
        given = self.bound.get(name)
        given = default if given in (None, []) else given
        values = [given] if isinstance(given, int) else list(given or ())
        return tuple(int(n) for n in values) * (ndim if len(values) == 1 else 1)

    def pairs(self, name: str, ndim: int) -> tuple[tuple[int, int], ...]:
        """Return a symmetrical padding as pairs."""
        return tuple((n, n) for n in self.ints(name, ndim, 0))


def operation(*names: str, table: dict[str, Handler] = OPERATIONS) -> Callable[[Handler], Handler]:
    """Register a handler for operations."""

    def register(handler: Handler) -> Handler:
        for name in names:
            table[name] = handler
        return handler

    return register


def refuse(place: str, problem: str, got: Any, expected: str) -> TranslationError:
    """Return the error for an operation that has no counterpart."""
    return TranslationError(problem, where=place, got=got, expected=expected)


def weight_of(value: Any, place: str) -> Weight | None:
    """Return a weight; TranslationError if it is computed from the input."""
    if value is None or isinstance(value, Weight):
        return value
    raise refuse(place, "the weights depend on the input", "a tensor computed from it", "constant weights")
