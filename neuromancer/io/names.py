"""Names under which files keep node classes and functions, and how they are found again.

A file never makes anything be imported: classes are those that exist as subclasses of Node, functions those of the
engine's tensor namespace and of modules that are already imported, none of them from the standard library.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

from neuromancer import engine as E
from neuromancer.errors import ArgumentError, FileError, nearest_name
from neuromancer.graph.node import Node

PACKAGE = __name__.partition(".")[0]
TENSOR = "T"
"""Stands for the engine's tensor namespace, so that files do not depend on the engine."""

MAIN = "__main__"


def _all_classes(cls: type[Node] = Node) -> Iterator[type[Node]]:
    yield cls
    for derived in cls.__subclasses__():
        yield from _all_classes(derived)


def _in_package(cls: type) -> bool:
    return cls.__module__.partition(".")[0] == PACKAGE


def package_classes() -> dict[str, type[Node]]:
    """The package's own node classes by the names that files give them."""
    return {cls.__name__: cls for cls in _all_classes() if _in_package(cls)}


def class_name(cls: type[Node]) -> str:
    """Name of a node class in files: its own name, or ``module:qualname`` for a user's class.

    Examples
    --------
    >>> from neuromancer import Conv
    >>> class_name(Conv)
    'Conv'
    """
    return cls.__name__ if _in_package(cls) else f"{cls.__module__}:{cls.__qualname__}"


def find_class(name: str) -> type[Node]:
    """The node class of this name among those that exist; FileError if there is none.

    Of classes that were defined again under one name the last is taken. A class of a script that ran as the main
    program is also found under the script's module name, and the other way round, if the class's name is unique.
    """
    table = package_classes()
    if name in table:
        return table[name]
    own = [cls for cls in _all_classes() if not _in_package(cls)]
    exact = [cls for cls in own if class_name(cls) == name]
    if exact:
        return exact[-1]
    module, _, qualname = name.partition(":")
    alike = [c for c in own if c.__qualname__ == qualname and MAIN in (module, c.__module__)]
    if len({c.__module__ for c in alike}) == 1:
        return alike[-1]
    known = [*table, *(class_name(c) for c in own)]
    same = [class_name(c) for c in own if c.__qualname__ == qualname]
    raise FileError(
        "the file needs a node class that does not exist here",
        node=name[:200],
        expected=f"the class to be defined before loading, e.g. by 'import {module}'" if qualname else "a known class",
        nearest=same[-1] if same else nearest_name(name[:200], known),
    )


def functor_name(functor: Callable[..., Any], node: Any) -> str:
    """``module:name`` of a function, ``T:name`` for the engine's; ArgumentError if it cannot be found by a name.

    Examples
    --------
    >>> from neuromancer import T
    >>> functor_name(T.tanh, "node")
    'T:tanh'
    """
    for name, value in vars(E.T).items():
        if value is functor:
            return f"{TENSOR}:{name}"
    module, name = getattr(functor, "__module__", None), getattr(functor, "__qualname__", "")
    if module and vars(sys.modules.get(module, object)).get(name) is functor and not _is_standard(functor):
        return f"{module}:{name}"
    raise ArgumentError(
        "a function cannot be stored by name",
        node=node,
        got=repr(functor)[:200],
        expected="one of neuromancer.T, or a function at the top level of an importable module",
    )


def find_functor(path: str) -> Callable[..., Any]:
    """The function of this name, as :func:`functor_name` gives it; FileError if it is not there."""
    module, _, name = path.partition(":")
    found: Any = None
    if module == TENSOR:
        found = vars(E.T).get(name)
    elif module in sys.modules and not name.startswith("__"):
        found = vars(sys.modules[module]).get(name)
        # Only what the module itself defines: not what it happens to have imported.
        if getattr(found, "__module__", None) != module or isinstance(found, type) or _is_standard(found):
            found = None
    if not callable(found) or isinstance(found, type):
        raise FileError(
            "the file needs a function that does not exist here",
            node=path[:200],
            expected=f"module {module[:100]!r} to be imported before loading, with the function at its top level",
            nearest=nearest_name(name[:200], vars(E.T)) if module == TENSOR else None,
        )
    return found


def _is_standard(functor: Any) -> bool:
    root = str(getattr(functor, "__module__", "")).partition(".")[0]
    return root != MAIN and root in sys.stdlib_module_names
