"""The symbolic engine behind a small interface: the only part of the package that imports PyTensor, torch and Theano.

The environment variable ``NEUROMANCER_ENGINE`` selects the engine before the first import; default: ``pytensor``. The
interface of an engine is defined in `neuromancer.engine.interface`.
"""

from __future__ import annotations

import os
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from neuromancer.engine.common.home import some_home
from neuromancer.engine.interface import NAMES
from neuromancer.errors import EngineError, nearest_name

ENGINES = {"pytensor": ("pytensor", "torch"), "theano": ("theano",)}
"""Engine -> libraries that it needs."""
DEFAULT = "pytensor"


def _select(name: str) -> None:
    """Import the engine called `name` and export its names from this package.

    Raises
    ------
    EngineError
        If there is no such engine, or libraries that it needs are not installed.
    """
    if name not in ENGINES:
        raise EngineError(
            "unknown engine in NEUROMANCER_ENGINE",
            where="engine",
            got=name,
            expected=f"one of {tuple(ENGINES)}",
            nearest=nearest_name(name, list(ENGINES)) or DEFAULT,
        )
    missing = [library for library in ENGINES[name] if find_spec(library) is None]
    if missing:
        raise EngineError(
            f"engine {name!r} cannot be imported",
            where="engine",
            got=f"{missing} not installed",
            expected=f"pip install {' '.join(missing)}",
        )
    with some_home():
        module = import_module(f"neuromancer.engine.{name}")
    for attribute in NAMES:
        globals()[attribute] = getattr(module, attribute)


_select(os.environ.get("NEUROMANCER_ENGINE", DEFAULT))

if TYPE_CHECKING:
    from neuromancer.engine import pytensor, theano
    from neuromancer.engine.interface import Engine
    from neuromancer.engine.pytensor import *  # noqa: F403 (the interface, for type checkers)

    one: Engine = pytensor
    other: Engine = theano

__all__ = ["DEFAULT", "ENGINES", *NAMES]
