"""Training configured by a Python file: ``create_model()``, data, and the arguments of a Trainer as variables."""

from __future__ import annotations

import inspect
import sys
import traceback
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neuromancer.errors import (
    ArgumentError,
    FileError,
    InputTypeError,
    NeuromancerError,
    UnknownNameError,
    nearest_name,
)
from neuromancer.graph.registry import ModelRegistry
from neuromancer.models.model import Model
from neuromancer.places import kind_at, local_file
from neuromancer.train.old_config import OLD, Translation, is_old
from neuromancer.train.old_config.cubes import located
from neuromancer.train.python_file import executed, require_python
from neuromancer.train.resume import STARTING, checkpoint_of, load_checkpoint, require_options
from neuromancer.train.sources import is_arrays, made
from neuromancer.train.trainer import OPTIONS, Trainer
from neuromancer.utils import safe_file_name

FUNCTIONS = ("create_model", "create_data")
DATA = "a function create_data(model), a variable data, or a data_class with getbatch(batch_size, source)"
IMPORTS = {
    "elektronn2": "import neuromancer, see docs/from-elektronn2.md",
    "theano": "from neuromancer import T instead of theano.tensor, see docs/from-elektronn2.md",
}
"""What to import instead of modules that old configurations import."""
SETTINGS = (*(name for name in OPTIONS if name != "name"), "data")


@dataclass
class Config:
    """Contents of a configuration file.

    Attributes
    ----------
    path : Path
    module : module
        The executed file.
    settings : dict
        Arguments of the Trainer.
    old : Translation, optional
        The translation of a file with settings of the original library.
    """

    path: Path
    module: types.ModuleType
    settings: dict[str, Any] = field(default_factory=dict)
    old: Translation | None = None

    @property
    def folder(self) -> Path:
        """Output folder: as set, else beside the file, called like `save_name` or the file."""
        given, name = self.settings.get("folder"), self.settings.get("save_name")
        beside = self.path.parent / safe_file_name(name) if isinstance(name, str) else self.path.with_suffix("")
        return local_file(beside if given is None else given, "folder")

    @property
    def remarks(self) -> list[str]:
        """What settings of the original library mean here, where that differs."""
        return [] if self.old is None else self.old.remarks

    def model(self) -> Model:
        """Return a new model."""
        create = getattr(self.module, "create_model", None)
        with failing(self.path, "create_model()"):
            model = create() if self.old is None and create is not None else self.old.model(create)  # type: ignore[union-attr]
        if not isinstance(model, Model):
            raise InputTypeError(
                "create_model() returned no model", where=str(self.path), got=repr(model)[:100],
                expected="return model, as of nm.model_manager.newmodel(...)",
            )  # fmt: skip
        return model

    def data(self, model: Any) -> tuple[Any, Any]:
        """Return training data, and validation data or None, for a model."""
        data, validation = self.settings.get("data"), self.settings.get("validation")
        if self.old is not None and self.old.makes_data:
            with failing(self.path, "data_class"):
                data = self.old.data(model)
        elif hasattr(self.module, "create_data"):
            with failing(self.path, "create_data()"):
                data = self.module.create_data(model)
        if isinstance(data, tuple) and len(data) == 2 and not all(hasattr(part, "shape") for part in data):
            data, second = data
            if second is not None and validation is not None:
                raise ArgumentError(
                    "validation data is given twice", where=str(self.path), got="that of create_data(), and validation",
                    expected="one of them",
                )  # fmt: skip
            validation = validation if second is None else second
        with failing(self.path, "a function that makes data"):
            return made(data, model), made(validation, model)

    def trainer(self, folder: Path, resume: bool) -> Trainer:
        """Return a trainer that starts, or resumes from a folder."""
        options = {k: v for k, v in self.settings.items() if k not in ("data", "validation", "folder")}
        path = checkpoint_of(folder) if resume else None
        if isinstance(options.get("pretrained"), (str, Path)) and options["pretrained"]:
            options["pretrained"] = located(Path(options["pretrained"]).expanduser(), self.path.parent)
        if path is not None:
            options = {name: value for name, value in options.items() if name not in STARTING}
            if self.old is not None:
                options.pop("overwrite", None)  # the original library's only way to continue
            require_options(options, OPTIONS)
            model = load_checkpoint(path)
        else:
            model = self.model()
        data, options["validation"] = self.data(model)
        if self.old is not None:
            options = self.old.fitted(options, model, data)
        if not is_arrays(data) and not is_arrays(options["validation"]):
            options.pop("seed", None)  # It then seeds only the weights.
        if path is not None:
            return Trainer.from_checkpoint(model, path, folder, data, options)
        return Trainer(model, data, folder=folder, **options)


def load_config(path: str | Path, changes: Mapping[str, Any] | None = None) -> Config:
    """Execute a configuration file and check what it defines.

    It must define ``create_model()`` and either ``create_data(model)``, which returns training data or a pair of
    training and validation data, or a variable ``data``. Variables with the names of the Trainer's arguments are its
    settings. Names in capitals or with a leading underscore, functions, classes and modules are ignored. A file with
    settings of the original library is translated, see ``docs/from-elektronn2.md``.

    Parameters
    ----------
    path : path
        The file can import modules in its folder.
    changes : dict, optional
        Settings that replace those of the file.

    Raises
    ------
    FileError
        If the file is missing, or fails.
    UnknownNameError
        For a variable that is not a setting; the message suggests the nearest one.
    ArgumentError
        If the file defines no model or no data, or settings of the original library that cannot be translated; the
        latter are listed in notes.
    """
    path = local_file(path, "configuration file")
    if kind_at(path) != "a file":
        raise FileError("no such configuration file", where=str(path), got=kind_at(path), expected="a Python file")
    module = _execute(path)
    old = _translated(path, module, dict(changes or {}))
    settings = _settings(path, module, changes or {}) if old is None else old.settings
    makes_data = callable(getattr(module, "create_data", None)) or (old is not None and old.makes_data)
    has_model = callable(getattr(module, "create_model", None)) or (old is not None and old.load is not None)
    if not has_model:
        raise ArgumentError("no model", where=str(path), expected="a function create_model()")
    if not makes_data and "data" not in settings:
        raise ArgumentError("no data", where=str(path), expected=DATA)
    if callable(getattr(module, "create_data", None)) and "data" in settings:
        raise ArgumentError(
            "data is given twice", where=str(path), got="create_data(), and data", expected="one of them"
        )
    return Config(path, module, settings, old)


def _settings(path: Path, module: types.ModuleType, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a file and those that replace them; raise UnknownNameError for any other variable."""
    settings = {name: value for name, value in vars(module).items() if _is_setting(name, value)} | dict(changes)
    unknown = [name for name in settings if name not in SETTINGS]
    if unknown:
        raise UnknownNameError(
            "no such setting",
            where=str(path),
            got=unknown[0],
            expected=f"one of {sorted(SETTINGS)}; names of your own in CAPITALS or with _",
            nearest=nearest_name(unknown[0], SETTINGS),
        )
    return settings


def _translated(path: Path, module: types.ModuleType, changes: dict[str, Any]) -> Translation | None:
    """Return the translation of a file with settings of the original library, which `changes` may set, too."""
    names = vars(module) | {name: value for name, value in changes.items() if name in OLD}
    if not is_old(names):
        return None
    new = {name: value for name, value in changes.items() if name not in OLD}
    unknown = [name for name in new if name not in SETTINGS]
    if unknown:
        raise UnknownNameError(
            "no such setting", where=str(path), got=unknown[0], expected=f"one of {sorted((*SETTINGS, *OLD))}",
            nearest=nearest_name(unknown[0], (*SETTINGS, *OLD)),
        )  # fmt: skip
    return Translation(path, names, SETTINGS, _is_setting, new)


def _execute(path: Path) -> types.ModuleType:
    require_python(path)
    folder = str(path.parent.resolve())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    with failing(path):
        try:
            return executed(path)
        except NeuromancerError as error:
            raise _failure(error, path, "") from error


@contextmanager
def failing_run(path: Path) -> Iterator[None]:
    """Turn errors of functions of the configuration file, such as metrics, into a FileError that names the line."""
    try:
        yield
    except NeuromancerError:
        raise
    except (Exception, SystemExit) as error:
        if not _line(error, path):
            raise
        failure = _failure(error, path, "")
        for note in getattr(error, "__notes__", ()):
            failure.add_note(note)
        raise failure from error


@contextmanager
def failing(path: Path, what: str = "") -> Iterator[None]:
    """Turn errors into a FileError that names the line of the configuration file; let the package's own pass."""
    try:
        yield
    except NeuromancerError:
        raise
    except (Exception, SystemExit) as error:  # a file that ends Python has not trained
        raise _failure(error, path, what) from error


def _failure(error: BaseException, path: Path, what: str) -> FileError:
    """Return an error that names the line of the file, and tells what to import instead of the original library."""
    missing = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
    return FileError(
        f"the configuration file fails{' in ' + what if what else ''}",
        where=f"{path}{_line(error, path)}",
        got=f"{type(error).__name__}: {error}",
        expected=IMPORTS.get(str(missing).partition(".")[0]),
    )


def _line(error: BaseException, path: Path) -> str:
    """Return the line of a file where an error occurred, as ``:<line>``; empty if it occurred elsewhere."""
    if isinstance(error, SyntaxError):
        return f":{error.lineno}" if error.lineno else ""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f":{lines[-1]}" if lines else ""


def _is_setting(name: str, value: Any) -> bool:
    own = name.startswith("_") or name.isupper() or isinstance(value, (types.ModuleType, type, ModelRegistry))
    imported = type(value).__module__ == "__future__"
    return not (own or imported or (inspect.isroutine(value) and name not in SETTINGS))
