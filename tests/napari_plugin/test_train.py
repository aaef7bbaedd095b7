"""The widget that trains: a curve while it runs, a button that stops it, and a model that then predicts better."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.utils.notifications import notification_manager

import neuromancer as nm
from neuromancer.napari_plugin.predict import Predict
from neuromancer.napari_plugin.train import Train
from tests.napari_plugin.nets import small_model
from tests.napari_plugin.test_finetune import scene


@pytest.fixture
def widget(qtbot):
    """A widget with a model, an image and two strokes, in a viewer without a window."""
    raw, _, painted = scene()
    model, viewer = small_model(), ViewerModel()
    image, labels = viewer.add_image(raw), viewer.add_labels(painted)
    made = Train(viewer)
    made.viewer = viewer
    made.layer.choices, made.painted.choices, made.models.choice.value = [image], [labels], model
    made.steps.value, made.rate.value = 40, 0.01
    yield made
    notification_manager.records.clear()
    made.close()


def shown():
    return [record.message for record in notification_manager.records]


def wait(qtbot, widget):
    qtbot.waitUntil(lambda: not widget.task.running, timeout=60_000)


def test_train_predict_and_save(widget, qtbot, tmp_path):
    widget.start.changed.emit(True)
    assert widget.stop.enabled and not widget.start.enabled
    wait(qtbot, widget)
    assert not shown() and len(widget.losses) == 40 and np.mean(widget.losses[-9:]) < 0.5 * widget.losses[0]
    assert widget.state.value.startswith("step 40 of 40, loss 0.") and widget.start.enabled
    if widget.curve is not None:
        np.testing.assert_allclose(widget.curve._points.get_ydata(), widget.losses)
        assert widget.curve._line.get_ydata()[-1] == pytest.approx(np.mean(widget.losses[-20:]))
    predict = Predict(widget.viewer)
    predict.layer.choices = widget.layer.choices
    predict.models.choice.value, predict.values.value, predict.pad.value = widget.models.model, "classes", True
    predict.start.changed.emit(True)
    wait(qtbot, predict)
    assert (widget.viewer.layers[-1].data == scene()[1]).mean() > 0.9
    widget.file.line_edit.value = str(tmp_path / "trained.h5")
    widget.save.changed.emit(True)
    assert shown() == [f"Saved small as {tmp_path / 'trained.h5'}."]
    saved = nm.modelload(tmp_path / "trained.h5", name="again").get_param_values()
    np.testing.assert_array_equal(saved["scores"]["w"], widget.models.model.get_param_values()["scores"]["w"])
    predict.close()


def test_stop(widget, qtbot):
    widget.steps.value = 100_000
    widget.start.changed.emit(True)
    qtbot.waitUntil(lambda: len(widget.losses) > 3, timeout=60_000)
    widget.stop.changed.emit(True)
    wait(qtbot, widget)
    assert 3 < len(widget.losses) < 90_000 and widget.start.enabled and not widget.stop.enabled


def test_errors_are_notifications(widget, qtbot, tmp_path):
    widget.save.changed.emit(True)
    widget.painted.value.data = np.zeros((8, 24, 26), int)
    widget.start.changed.emit(True)
    wait(qtbot, widget)
    widget.file.line_edit.value = str(tmp_path / "no folder" / "a.h5")
    widget.save.changed.emit(True)
    first, second, third = shown()
    assert first == "Choose a file first." and "got nothing painted; expected 1 to 2" in second and "no folder" in third
    widget.models.choice.value = None
    widget.start.changed.emit(True)
    assert shown()[-1] == "Choose a model first."
