"""The models of the process, from which widgets choose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from magicgui.widgets import ComboBox, Container, PushButton
from psygnal import SignalInstance
from qtpy.QtWidgets import QFileDialog

from neuromancer.errors import FileError
from neuromancer.graph.registry import free_name
from neuromancer.models.model import Model, model_manager, modelload
from neuromancer.napari_plugin.task import Task

FILTER = "Models (*.h5 *.mdl *.onnx *.zip *.yaml *.keras)"
PACKAGES = (".zip", ".yaml", ".yml")
changed = SignalInstance(())
"""Emitted when a model was loaded: all widgets choose among the same models."""


def load(path: str | Path) -> Model:
    """Load a model from a file of this package, ONNX, Keras or bioimage.io, by its suffix.

    Raises
    ------
    FileError, TranslationError, ArgumentError, MissingDependencyError
        If there is no such file, or it cannot be read or translated.
    """
    from neuromancer.interop.from_bioimageio import from_bioimageio
    from neuromancer.interop.from_keras import from_keras
    from neuromancer.interop.from_onnx import from_onnx

    path = Path(path)
    name, suffix = free_name(path.stem, model_manager.models), path.suffix.lower()
    if suffix in (".h5", ".mdl"):
        model = modelload(path, name=name)
    elif suffix == ".onnx":
        model = from_onnx(path, name=name, print_report=False)
    elif suffix == ".keras":
        model = from_keras(path, name=name, print_report=False)
    elif suffix in PACKAGES:
        model = from_bioimageio(path, name=name, print_report=False)
    else:
        raise FileError("not a model", where=str(path), got=suffix or None, expected=FILTER)
    if model.prediction_node is None:
        model_manager.delmodel(model.name)
        raise FileError(
            "the model has no prediction node", where=str(path), expected="designate_nodes(...), and save it"
        )
    return model


class ModelChoice(Container):
    """A choice among the models that can predict, also those made in the console, and a button that loads one."""

    def __init__(self) -> None:
        self.choice = ComboBox(label="model", choices=_choices, nullable=True)
        self.button = PushButton(text="Load model...")
        super().__init__(widgets=[self.choice, self.button], labels=True)
        self.margins = (0, 0, 0, 0)
        self.task: Task | None = None
        self.button.changed.connect(self._ask)
        changed.connect(self.choice.reset_choices)
        self.native.destroyed.connect(self._gone)

    @property
    def model(self) -> Model | None:
        """The model that is chosen."""
        return self.choice.value

    def load(self, path: str | Path) -> None:
        """Load a model in the background, and choose it."""
        self.enabled = False
        self.task = Task(f"loading {Path(path).name}", lambda tell: load(path), self._loaded, ended=self._ready)

    def _gone(self) -> None:
        changed.disconnect(self.choice.reset_choices, missing_ok=True)
        if self.task is not None:
            self.task.abandon()

    def _ask(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self.native, "Load a model", "", FILTER)
        if path:
            self.load(path)

    def _loaded(self, model: Model) -> None:
        changed.emit()
        self.choice.value = model

    def _ready(self) -> None:
        self.enabled = True


def _choices(widget: Any) -> list[tuple[str, Model]]:
    found = ((name, model_manager[name]) for name in model_manager)
    return [(name, model) for name, model in found if model.prediction_node is not None]
