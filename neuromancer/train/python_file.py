"""Execution of a Python file as a module."""

from __future__ import annotations

import sys
import types
from pathlib import Path

from neuromancer.errors import FileError


def require_python(path: Path) -> None:
    """Raise FileError for another kind of file."""
    if path.suffix != ".py":
        raise FileError("not a Python file", where=str(path), expected="a name that ends in .py")


def executed(path: Path) -> types.ModuleType:
    """Execute a Python file and return it as the module named like the file.

    Nothing is written beside the file, and bytecode that an import may have left there is not used: it would be that of
    an older file, if this one has changed within a second.

    Raises
    ------
    FileError
        If it is not a Python file.
    Exception
        Whatever the file raises.
    """
    require_python(path)
    module = types.ModuleType(path.stem)
    module.__file__ = str(path)
    # Other processes, and model files, find classes that are defined here by their module's name.
    sys.modules[path.stem] = module
    exec(compile(path.read_bytes(), str(path), "exec"), vars(module))
    return module
