"""Which function translates the nodes of a class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from neuromancer.nodes.node import Node

Handler = Callable[..., Any]
"""``handler(target, node, *values)``: emits the operations of a node on the values of its parents, and returns its own
value."""

F = TypeVar("F", bound=Handler)

HANDLERS: dict[type[Node], Handler] = {}
REASONS: dict[type[Node], str] = {}
"""Why nodes of a class cannot leave."""

LOSSES = "neuromancer.nodes.losses."
HARMLESS = {"__init__", "__module__", "__doc__", "__qualname__", "__annotations__", "demand"} | {
    # set by Python 3.13 and 3.14
    "__firstlineno__", "__static_attributes__", "__annotate__", "__annotate_func__", "__annotations_cache__",
    "__classdictcell__",
}  # fmt: skip
"""What a derived class may define and still compute the same."""


class Unsupported(Exception):
    """A node cannot be translated; the reason, as a clause."""


def leaves(*classes: type[Node]) -> Callable[[F], F]:
    """Return a decorator that registers a handler for classes of nodes."""

    def register(handler: F) -> F:
        HANDLERS.update(dict.fromkeys(classes, handler))
        return handler

    return register


def stays(reason: str, *classes: type[Node]) -> None:
    """Register why nodes of some classes cannot be translated."""
    REASONS.update(dict.fromkeys(classes, reason))


def find(node: Node) -> Handler:
    """Return the handler of a node.

    A class derived from one of the package computes the same if only its constructor differs.

    Raises
    ------
    Unsupported
        If there is none.
    """
    cls = type(node)
    for base in cls.__mro__:
        if base in HANDLERS or base in REASONS or base.__module__.startswith(LOSSES):
            break
    else:
        raise Unsupported("no counterpart is known for its class")
    own = {name for each in cls.__mro__[: cls.__mro__.index(base)] for name in vars(each)} - HARMLESS
    if own & set(dir(base)):
        raise Unsupported(f"its class changes {base.__name__}, from which it is derived")
    if base in REASONS:
        raise Unsupported(REASONS[base])
    if base not in HANDLERS:
        raise Unsupported("it belongs to the training, not to the prediction")
    return HANDLERS[base]
