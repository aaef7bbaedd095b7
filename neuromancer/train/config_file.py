"""Trainings described by Python files: ``create_model()``, data, and the arguments of a Trainer as variables."""

from __future__ import annotations

import inspect
import sys
import traceback
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from neuromancer.errors import ArgumentError, FileError, NeuromancerError, UnknownNameError, nearest_name, shown_cause
from neuromancer.places import kind_at, local_file
from neuromancer.printable import described
from neuromancer.train.trainer import Trainer

FUNCTIONS = ("create_model", "create_data")
SETTINGS = (*(name for name in inspect.signature(Trainer).parameters if name not in ("model", "name")), "data")


@dataclass
class Config:
    """What a configuration file says.

    Attributes
    ----------
    path : Path
    module : module
        The executed file.
    settings : dict
        Arguments of the Trainer.
    """

    path: Path
    module: types.ModuleType
    settings: dict[str, Any] = field(default_factory=dict)

    def data(self, model: Any) -> tuple[Any, Any]:
        """Training data and validation data or None, for a model."""
        with _explaining(self.path, (NeuromancerError,)):
            made = self.module.create_data(model) if hasattr(self.module, "create_data") else self.settings.get("data")
        if isinstance(made, tuple) and len(made) == 2 and not all(hasattr(part, "shape") for part in made):
            return made[0], made[1]
        return made, self.settings.get("validation")

    def trainer(self, folder: Path, resume: bool) -> Trainer:
        """A trainer that begins, or goes on with what is in a folder."""
        options = {k: v for k, v in self.settings.items() if k not in ("data", "validation", "folder")}
        if resume:
            made: list[Any] = []

            def data(model: Any) -> Any:
                made[:] = self.data(model)
                return made[0]

            def validation(model: Any) -> Any:
                return made[1]

            return Trainer.resume(folder, data, validation=validation, **options)
        with _explaining(self.path, (NeuromancerError,)):
            model = self.module.create_model()
        if not hasattr(model, "loss_node"):
            raise ArgumentError("create_model() returns no model", node=str(self.path), got=described(model))
        train, validate = self.data(model)
        return Trainer(model, train, validation=validate, folder=folder, **options)


def load_config(path: str | Path, changes: Mapping[str, Any] | None = None) -> Config:
    """Execute a configuration file and check what it defines.

    It must define ``create_model()`` and either ``create_data(model)``, which returns training data or a pair of
    training and validation data, or a variable ``data``. Variables with the names of the Trainer's arguments are its
    settings. Names in capitals, names that begin with an underscore, functions, classes and modules are its own.

    Parameters
    ----------
    path : path
        Modules beside it can be imported by it.
    changes : dict, optional
        Settings that replace those of the file.

    Raises
    ------
    FileError
        If the file is not there, or fails.
    UnknownNameError
        For a variable that is no setting; the nearest one is named.
    ArgumentError
        Without a model or data.
    """
    path = local_file(path, "configuration file")
    if kind_at(path) != "a file":
        raise FileError("no such configuration file", node=str(path), got=kind_at(path), expected="a Python file")
    module = _execute(path)
    settings = {name: value for name, value in vars(module).items() if _is_setting(name, value)}
    settings.update(changes or {})
    unknown = [name for name in settings if name not in SETTINGS]
    if unknown:
        raise UnknownNameError(
            "no such setting",
            node=str(path),
            got=unknown[0],
            expected=f"one of {sorted(SETTINGS)}; names of your own in CAPITALS or with _",
            nearest=nearest_name(unknown[0], SETTINGS),
        )
    if not callable(getattr(module, "create_model", None)):
        raise ArgumentError("no model", node=str(path), expected="a function create_model()")
    if not callable(getattr(module, "create_data", None)) and "data" not in settings:
        raise ArgumentError("no data", node=str(path), expected="a function create_data(model), or a variable data")
    return Config(path, module, settings)


def _execute(path: Path) -> types.ModuleType:
    spec = spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise FileError("no Python file", node=str(path), expected="a name that ends in .py")
    module = module_from_spec(spec)
    folder = str(path.parent.resolve())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    # Classes that it defines must be found again by their module's name, when a model file is loaded.
    sys.modules[path.stem] = module
    with _explaining(path):
        spec.loader.exec_module(module)
    return module


@contextmanager
def _explaining(path: Path, own: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Turn an error of a configuration file's code into one that names file and line; errors of classes `own` stay."""
    try:
        yield
    except own:
        raise
    except Exception as error:
        raise FileError(
            "the configuration file fails", node=f"{path}{_line(error, path)}", got=f"{type(error).__name__}: {error}"
        ) from shown_cause(error)


def _line(error: Exception, path: Path) -> str:
    """Where in a file an error arose, as ``:<line>``; empty if it did not arise there."""
    if isinstance(error, SyntaxError):
        return f":{error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f":{lines[-1]}" if lines else ""


def _is_setting(name: str, value: Any) -> bool:
    own = name.startswith("_") or name.isupper() or isinstance(value, (types.ModuleType, type))
    imported = type(value).__module__ == "__future__"
    return not (own or imported or (inspect.isroutine(value) and name not in SETTINGS))
