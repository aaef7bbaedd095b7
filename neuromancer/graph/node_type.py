"""Construction of nodes: check arguments, run hooks, register the node, or leave no trace on failure."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from neuromancer import engine as E
from neuromancer.errors import GraphError, InputTypeError, blame, nearest_name
from neuromancer.graph.registry import model_manager
from neuromancer.progress import say


class NodeType(type):
    """Metaclass of nodes: runs the hooks after the constructor and registers the node if everything succeeded."""

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> None:
        super().__init__(name, bases, namespace)
        if bases and "__init__" in namespace:
            cls.__init__ = _finalising(namespace["__init__"])  # type: ignore[misc]

    @property
    def __signature__(cls) -> inspect.Signature:
        """Signature of the constructor; help() and editors would otherwise show ``(*args, **kwargs)``."""
        signature = inspect.signature(cls.__init__)  # type: ignore[misc]
        return signature.replace(parameters=list(signature.parameters.values())[1:])

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        _check_arguments(cls, args, kwargs)
        node: Any = cls.__new__(cls)  # type: ignore[call-overload]
        with model_manager.all_or_nothing() as model:
            count = len(model.nodes)
            with E.building(), blame(node):
                node.__init__(*args, **kwargs)
                node._finalise_init()
            if len(model.nodes) > count:
                raise GraphError(
                    "a constructor must not create other nodes; use a factory function",
                    node=node,
                    got=list(model.nodes)[count:],
                )
            model.register(node)
            node.construction = (args, kwargs)
            for parent in node.parents:
                parent.children[node.name] = node
        if node._print_repr:
            say(repr(node))
        return node


def _check_arguments(cls: NodeType, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Raise InputTypeError, suggesting the most similar argument, if the arguments do not match the constructor."""
    try:
        cls.__signature__.bind(*args, **kwargs)
    except TypeError as error:
        known = cls.__signature__.parameters
        unknown = [key for key in kwargs if key not in known]
        raise InputTypeError(
            str(error),
            where=cls.__name__,
            expected=f"{cls.__name__}({', '.join(str(p.replace(annotation=p.empty)) for p in known.values())})",
            nearest=nearest_name(unknown[0], known) if unknown else None,
        ) from None


def _finalising(init: Callable[..., None]) -> Callable[..., None]:
    """Wrap a constructor so that it ends by running the hooks; derived constructors then see a finished base."""

    @functools.wraps(init)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        self._finalise_init()

    return wrapped
