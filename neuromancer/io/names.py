"""Names of node classes in files, and their lookup.

Loading a file imports the nodes of this package and nothing else: users' classes must exist as subclasses of Node. For
functions see
`neuromancer.nodes.functors`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pkgutil import walk_packages

from neuromancer import nodes
from neuromancer.errors import FileError, nearest_name
from neuromancer.nodes.node import Node

PACKAGE = __name__.partition(".")[0]
MAIN = "__main__"


def _all_classes(cls: type[Node] = Node) -> Iterator[type[Node]]:
    yield cls
    for derived in cls.__subclasses__():
        yield from _all_classes(derived)


def _in_package(cls: type) -> bool:
    """Whether a module of the package holds the class; a user's class may claim so in its `__module__`."""
    module = sys.modules.get(cls.__module__) if cls.__module__.partition(".")[0] == PACKAGE else None
    return getattr(module, cls.__qualname__, None) is cls


@cache
def _import_nodes() -> None:
    """Import all node classes of the package: a program that only loads a model has not done so."""
    for module in walk_packages(nodes.__path__, f"{nodes.__name__}."):
        import_module(module.name)


def package_classes() -> dict[str, type[Node]]:
    """Return the package's own node classes by their names in files."""
    _import_nodes()
    return {cls.__name__: cls for cls in _all_classes() if _in_package(cls)}


def class_name(cls: type[Node]) -> str:
    """Return the name of a node class in files: its own name, or ``module:qualname`` for a user's class.

    Examples
    --------
    >>> from neuromancer import Conv
    >>> class_name(Conv)
    'Conv'
    """
    return cls.__name__ if _in_package(cls) else f"{cls.__module__}:{cls.__qualname__}"


def find_class(name: str) -> type[Node]:
    """Return the existing node class of this name; raise FileError if there is none.

    If classes have been redefined under the same name, the last one is returned. A class of a script that ran as the
    main program is also found under the script's module name, and vice versa, if the class's name is unique.
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
        expected=f"a class defined before loading, e.g. by 'import {module}'" if qualname else "a known class",
        nearest=same[-1] if same else nearest_name(name[:200], known),
    )
