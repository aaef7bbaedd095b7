"""Names under which files keep node classes, and how they are found again.

A file never makes anything be imported: its classes are those that exist as subclasses of Node. For functions see
`neuromancer.nodes.functors`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from neuromancer.errors import FileError, nearest_name
from neuromancer.nodes.node import Node

PACKAGE = __name__.partition(".")[0]
MAIN = "__main__"


def _all_classes(cls: type[Node] = Node) -> Iterator[type[Node]]:
    yield cls
    for derived in cls.__subclasses__():
        yield from _all_classes(derived)


def _in_package(cls: type) -> bool:
    """Whether one of our modules holds this class: `__module__` alone can say so of a user's class, too."""
    module = sys.modules.get(cls.__module__) if cls.__module__.partition(".")[0] == PACKAGE else None
    return getattr(module, cls.__qualname__, None) is cls


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
