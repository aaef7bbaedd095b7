"""The widget that predicts a layer."""

from __future__ import annotations

from typing import Any

from magicgui.widgets import CheckBox, ComboBox, Container, FileEdit, LineEdit, PushButton, TextEdit, create_widget
from napari import Viewer
from napari.layers import Image, Layer
from napari.utils.notifications import show_error, show_info

from neuromancer.dense import DensePlan
from neuromancer.models.model import Model
from neuromancer.napari_plugin.models import ModelChoice
from neuromancer.napari_plugin.placed import image_of, like, result_layers
from neuromancer.napari_plugin.reader import LayerData
from neuromancer.napari_plugin.task import Task, Tell
from neuromancer.napari_plugin.widget import TaskWidget

PLAN_HEIGHT = 200
"""Pixels of the text that describes a plan."""
VALUES = ("as predicted", "8 bit", "classes")


class Predict(TaskWidget):
    """Predicts a layer with a model, tile by tile, into memory or a file.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        Gets the results as layers.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        self.viewer = napari_viewer
        self.models = ModelChoice()
        self.layer = create_widget(annotation=Image, label="layer")
        self.values = ComboBox(label="result", choices=VALUES, value=VALUES[0])
        self.pad = CheckBox(text="mirror the borders: result of equal size")
        self.whole = CheckBox(text="statistics of the whole image")
        self.memory = LineEdit(label="memory", tooltip="Limit such as 4GB; empty: a part of the free memory")
        self.out = FileEdit(
            label="save to",
            mode="w",
            nullable=True,
            tooltip="New file, e.g. result.zarr or result.h5:/probs; empty: in memory",
        )
        self.resume = CheckBox(text="continue what is there")
        self.plan = TextEdit(tooltip="How the layer is predicted: tiles, time and memory")
        self.planning = PushButton(text="Plan")
        self.start, stop = PushButton(text="Predict"), PushButton(text="Stop")
        buttons = Container(widgets=[self.planning, self.start, stop], layout="horizontal", labels=False)
        options = [self.layer, self.values, self.pad, self.whole, self.memory, self.out, self.resume]
        super().__init__([self.models, *options, buttons], [self.models, self.planning, self.start], stop)
        self.native.layout().addWidget(self.plan.native)  # as wide as the widget
        self.plan.native.setReadOnly(True)
        self.plan.min_height = PLAN_HEIGHT
        self._planned: Job | None = None
        self.planning.changed.connect(self._plan)
        self.start.changed.connect(self._predict)

    def _plan(self) -> None:
        self._run(False)

    def _predict(self) -> None:
        self._run(True)

    def _run(self, execute: bool) -> None:
        """Begin to plan in the background, then to predict; show what is wrong with the settings."""
        model, layer = self.models.model, self.layer.value
        if model is None or layer is None:
            show_error(f"Choose a {'model' if model is None else 'layer'} first.")
            return
        job = Job(model, layer, self)
        self._enable(False)

        def planned(plan: DensePlan) -> None:
            self.plan.value = str(plan)
            self._planned = job if execute else None

        self.task = Task(f"planning {layer.name}", job.plan, planned, self._stopped, self._ended)

    def _finished(self, found: list[LayerData]) -> None:
        for data, arguments, kind in found:
            self.viewer.add_layer(Layer.create(data, arguments, kind))
        self.resume.value = False

    def _stopped(self) -> None:
        if _path(self.out) is None:
            show_info("Stopped. Results in memory are not kept: save to a file to continue later.")
            return
        self.resume.value = True
        show_info("Stopped. All finished tiles are in the file; Predict continues.")

    def _ended(self) -> None:
        """After planning, predict if that was wanted."""
        job, self._planned = self._planned, None
        if job is None:
            self._enable(True)
            return
        what = f"predicting {job.layer.name}"
        self.task = Task(what, job.execute, self._finished, self._stopped, self._ended)


class Job:
    """One prediction with the settings of a widget at this moment; runs in any thread.

    Parameters
    ----------
    model : Model
    layer : napari.layers.Image
    settings : Predict
    """

    def __init__(self, model: Model, layer: Any, settings: Predict) -> None:
        self.model, self.layer, self.out = model, layer, _path(settings.out)
        self.classes = settings.values.value == "classes"
        self.options: dict[str, Any] = {
            "as_uint8": settings.values.value == "8 bit",
            "pad_raw": settings.pad.value,
            "reduce": "argmax" if self.classes else None,
            "statistics": "volume" if settings.whole.value else None,
            "memory": settings.memory.value.strip() or None,
        }
        self.target: dict[str, Any] = {} if self.out is None else {"out": self.out, "resume": settings.resume.value}

    def plan(self, tell: Tell) -> DensePlan:
        """Plan the prediction."""
        node = self.model.prediction_node
        assert node is not None  # models without one cannot be chosen
        self.image = image_of(self.layer, node)
        self.planned = self.model.plan_dense(self.image, **self.options)
        tell(0, 0)
        return self.planned

    def execute(self, tell: Tell) -> list[LayerData]:
        """Predict as planned; return the result as layers."""
        values = self.model.predict_dense(self.image, progress=tell, **self.options, **self.target)
        name = f"{self.layer.name} {self.model.name}"
        found = result_layers(self.out or values, self.image, self.planned, name, self.classes)
        return like(self.layer, self.image, found)


def _path(widget: FileEdit) -> str | None:
    """Return the path of an output as it was typed."""
    return widget.line_edit.value.strip() or None
