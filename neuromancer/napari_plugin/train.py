"""The widget that trains a model with painted labels."""

from __future__ import annotations

import time
from importlib.util import find_spec
from typing import Any

import numpy as np
from magicgui.widgets import Container, FileEdit, FloatSpinBox, Label, PushButton, SpinBox, create_widget
from napari import Viewer
from napari.layers import Image, Labels
from napari.utils.notifications import show_error, show_info

from neuromancer.errors import NeuromancerError
from neuromancer.models.model import Model
from neuromancer.napari_plugin.finetune import sampler_for, train, with_loss
from neuromancer.napari_plugin.models import ModelChoice
from neuromancer.napari_plugin.placed import image_of
from neuromancer.napari_plugin.task import Task, Tell
from neuromancer.napari_plugin.widget import TaskWidget

REDRAW = 0.3
"""Seconds between two drawings of the curve."""


class Train(TaskWidget):
    """Trains a model a little further with labels that were painted: 1 for the first class, 0 where none is known.

    Parameters
    ----------
    napari_viewer : napari.Viewer

    Attributes
    ----------
    losses : list of float
        Loss of every step since the widget was opened.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        self.models = ModelChoice()
        self.layer = create_widget(annotation=Image, label="layer")
        self.painted = create_widget(annotation=Labels, label="painted")
        self.steps = SpinBox(label="steps", value=300, min=1, max=100_000)
        self.rate = FloatSpinBox(label="learning rate", value=0.001, min=1e-6, max=1, step=1e-4)
        self.start, stop = PushButton(text="Train"), PushButton(text="Stop")
        self.state = Label(value="")
        self.file = FileEdit(label="save to", mode="w", filter="*.h5", nullable=True)
        self.save = PushButton(text="Save model")
        buttons = Container(widgets=[self.start, stop], layout="horizontal", labels=False)
        settings = [self.layer, self.painted, self.steps, self.rate]
        widgets = [self.models, *settings, buttons, self.state, self.file, self.save]
        super().__init__(widgets, [self.models, self.start, self.save], stop)
        self.curve = Curve(self) if find_spec("matplotlib") else None
        self.losses: list[float] = []
        self.start.changed.connect(self._train)
        self.save.changed.connect(self._save)

    def _train(self) -> None:
        model, layer, labels = self.models.model, self.layer.value, self.painted.value
        for what, chosen in (("model", model), ("layer", layer), ("layer of painted labels", labels)):
            if chosen is None:
                show_error(f"Choose a {what} first.")
                return
        assert model is not None
        painted, steps, rate = np.array(labels.data), self.steps.value, self.rate.value  # painting may go on

        def function(tell: Tell) -> None:
            self._learn(model, layer, painted, steps, rate, tell)

        self._enable(False)
        self.task = Task(f"training {model.name}", function, self._show, self._show, self._ended, self._told)

    def _learn(self, model: Model, layer: Any, painted: np.ndarray, steps: int, rate: float, tell: Tell) -> None:
        """Train in a worker thread."""
        tell(0, steps)
        with_loss(model)
        node = model.prediction_node
        assert node is not None  # models without one cannot be chosen

        def note(step: int, loss: float) -> None:
            self.losses.append(loss)
            tell(step, steps)

        train(model, sampler_for(model, image_of(layer, node), painted), steps, rate, note)

    def _told(self, done: int, total: int) -> None:
        if self.losses:
            self.state.value = f"step {done} of {total}, loss {np.mean(self.losses[-20:]):.4f}"
        if self.curve is not None:
            self.curve.draw(self.losses)

    def _show(self, outcome: None = None) -> None:
        if self.curve is not None:
            self.curve.draw(self.losses, at_once=True)

    def _ended(self) -> None:
        self._enable(True)

    def _save(self) -> None:
        model, path = self.models.model, self.file.line_edit.value.strip()
        if model is None or not path:
            show_error(f"Choose a {'model' if model is None else 'file'} first.")
            return
        try:
            model.save(path)
        except NeuromancerError as error:
            show_error(str(error))
        else:
            show_info(f"Saved {model.name} as {path}.")


class Curve:
    """The losses of a training, drawn below a widget.

    Parameters
    ----------
    container : Container
    """

    def __init__(self, container: Container) -> None:
        from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
        from matplotlib.figure import Figure

        self.axes = Figure(figsize=(3, 2), layout="constrained").add_subplot(xlabel="step", ylabel="loss")
        self.canvas = FigureCanvasQTAgg(self.axes.figure)
        self.canvas.setMinimumHeight(160)
        container.native.layout().addWidget(self.canvas)
        self._points = self.axes.plot([], [], ".", color="0.7", markersize=3)[0]
        self._line = self.axes.plot([], [], color="C0")[0]
        self._drawn = 0.0

    def draw(self, losses: list[float], at_once: bool = False) -> None:
        """Draw all losses and their mean over the last 20 steps, unless the last drawing is too recent."""
        if not losses or (time.monotonic() - self._drawn < REDRAW and not at_once):
            return
        self._drawn, steps = time.monotonic(), np.arange(1, len(losses) + 1)
        sums = np.concatenate([[0.0], np.cumsum(losses)])
        begin = np.maximum(steps - 20, 0)
        means = (sums[steps] - sums[begin]) / (steps - begin)
        self._points.set_data(steps, losses[: len(steps)])
        self._line.set_data(steps, means)
        self.axes.set(
            xlim=(0, len(steps) + 1), ylim=(0, 1.2 * float(means.max()) or 1)
        )  # single steps may be far above
        self.canvas.draw_idle()
