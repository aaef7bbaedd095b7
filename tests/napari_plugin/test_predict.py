"""The widget that predicts layers: results in place, progress, stopping and continuing, errors as notifications."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image
from napari.utils.notifications import notification_manager
from superqt.utils import WorkerBase

import neuromancer as nm
from neuromancer.napari_plugin import predict
from neuromancer.napari_plugin.predict import Predict
from neuromancer.napari_plugin.reader import read
from neuromancer.volumes import create_sink, open_source
from tests.napari_plugin.nets import image, small_model

RAW = image(12, 30, 28)
SCALE, TRANSLATE, OFFSET = (3, 0.5, 0.5), (30, 1, 2), (1, 3, 3)


@pytest.fixture
def widget(qtbot):
    """A widget with a model and a layer, in a viewer without a window."""
    model = small_model()
    viewer = ViewerModel()
    layer = viewer.add_image(RAW, name="em", scale=SCALE, translate=TRANSLATE, units="micrometer")
    made = Predict(viewer)
    made.layer.choices = [layer]
    made.models.choice.value = model
    yield made
    notification_manager.records.clear()
    made.close()


@pytest.fixture
def click(qtbot):
    """A function that presses a button and waits until the task has ended."""

    def run(widget, button):
        button.changed.emit(True)
        qtbot.waitUntil(lambda: not widget.task.running, timeout=60_000)

    return run


def shown():
    return [record.message for record in notification_manager.records]


@pytest.mark.parametrize("pad", [False, True])
def test_a_result_in_memory_lies_where_its_voxels_lie(widget, click, pad):
    widget.pad.value = pad
    click(widget, widget.start)
    _, background, objects = widget.viewer.layers
    want = nm.model_manager["small"].predict_dense(RAW[None], pad_raw=pad)
    np.testing.assert_array_equal(objects.data, want[1])
    np.testing.assert_array_equal(background.data, want[0])
    assert objects.name == "em small, channel 1" and objects.units == widget.layer.value.units
    offset = (0, 0, 0) if pad else OFFSET
    np.testing.assert_allclose(objects.scale, SCALE)
    np.testing.assert_allclose(objects.translate, np.add(TRANSLATE, np.multiply(offset, SCALE)))
    assert (
        "tile" in widget.plan.value
        and "of memory in use" in widget.plan.value
        and "on this machine" in widget.plan.value
    )


def test_a_file_without_positions_is_shown_where_its_voxels_lie(widget, click, tmp_path):
    widget.layer.value.name, widget.values.value = "mask", "8 bit"  # the name makes no labels of probabilities
    widget.out.line_edit.value = f"{tmp_path}/labels.npy"
    click(widget, widget.start)
    result = widget.viewer.layers[-1]
    assert type(result) is Image and result.data.dtype == "uint8" and result.name == "mask small, channel 1"
    np.testing.assert_allclose(result.scale, SCALE)
    np.testing.assert_allclose(result.translate, np.add(TRANSLATE, np.multiply(OFFSET, SCALE)))


def test_classes_are_labels_and_a_plan_predicts_nothing(widget, click):
    widget.values.value = "classes"
    click(widget, widget.planning)
    assert "1 tile" in widget.plan.value and len(widget.viewer.layers) == 1
    click(widget, widget.start)
    labels = widget.viewer.layers[-1]
    assert type(labels).__name__ == "Labels"
    np.testing.assert_array_equal(labels.data, nm.model_manager["small"].predict_dense(RAW[None]).argmax(0))


@pytest.mark.parametrize("move", ["rotate", "affine"])
def test_a_turned_or_moved_layer_gives_such_a_result(widget, click, move):
    layer = widget.layer.value
    setattr(layer, move, (0, 0, 30) if move == "rotate" else np.eye(4) + np.eye(4, k=3) * 5)
    click(widget, widget.start)
    result = widget.viewer.layers[-1]
    np.testing.assert_allclose(result.rotate, layer.rotate)
    np.testing.assert_allclose(result.data_to_world((0, 0, 0)), layer.data_to_world(OFFSET))


def test_stopping_keeps_finished_tiles_and_the_next_run_continues(widget, click, tmp_path, monkeypatch):
    told = []

    class Tiled(predict.Job):
        """In six tiles, with the button pressed after the second."""

        def __init__(self, *arguments):
            super().__init__(*arguments)
            self.options["tile"], self.target["store"] = (2, 25, 23), {"chunks": (1, 2, 25, 23)}

        def execute(self, tell):
            def one(done, total):
                told.append((done, total))
                if len(told) == 3:
                    widget.stop.changed.emit(True)
                tell(done, total)

            return super().execute(one)

    monkeypatch.setattr(predict, "Job", Tiled)
    path = f"{tmp_path}/probs.h5:/probs"
    widget.out.line_edit.value = path
    click(widget, widget.start)
    assert len(widget.viewer.layers) == 1 and "Predict continues" in shown()[-1] and widget.resume.value
    assert len(told) == 3 and widget.start.enabled and not widget.stop.enabled
    click(widget, widget.start)
    assert told[2][0] < told[2][1] and told[3] == (0, told[-1][0]) and told[-1][0] < told[0][1]
    stored = widget.viewer.layers[1:]
    want = nm.model_manager["small"].predict_dense(RAW[None])
    np.testing.assert_allclose(np.stack([layer.data for layer in stored]), want, rtol=1e-5)
    assert type(stored[0].data).__module__.startswith("dask") and not widget.resume.value
    np.testing.assert_allclose(stored[0].scale, SCALE)
    np.testing.assert_allclose(stored[0].translate, np.add(TRANSLATE, np.multiply(OFFSET, SCALE)))
    assert open_source(path).unit == "micrometer"


def test_errors_are_notifications_with_their_whole_message(widget, click, tmp_path):
    widget.layer.value.data = RAW[:2]
    click(widget, widget.start)
    [message] = shown()
    assert "field of view" in message and "expected" in message and "Traceback" not in message
    widget.layer.value.data = RAW
    widget.memory.value = "much"
    click(widget, widget.start)
    assert "'memory': not a number of bytes" in shown()[-1] or "memory" in shown()[-1]
    widget.memory.value = ""
    (tmp_path / "there.npy").touch()
    widget.out.value = tmp_path / "there.npy"
    click(widget, widget.start)
    assert "there.npy" in shown()[-1] and len(shown()) == 3
    widget.models.choice.value = None
    widget.start.changed.emit(True)
    assert shown()[-1] == "Choose a model first."


def test_a_stored_volume_is_predicted_from_its_file_with_all_channels(widget, click, tmp_path):
    array = image(2, 8, 20, 20)
    sink = create_sink(tmp_path / "two.zarr", array.shape, "uint8", voxel_size=(40, 4, 4), unit="nm", offset=(80, 8, 4))
    sink[:, :, :, :] = array
    sink.close()
    model = small_model("two", channels=2)
    layers = [Image(data, **arguments) for data, arguments, _ in read(str(tmp_path / "two.zarr"))]
    widget.viewer.layers.extend(layers)
    widget.layer.choices = layers
    widget.models.choice.reset_choices()
    widget.models.choice.value = model
    click(widget, widget.start)
    result = widget.viewer.layers[-1]
    np.testing.assert_array_equal(result.data, model.predict_dense(array)[1])
    np.testing.assert_allclose(result.translate, (80 + 40, 8 + 12, 4 + 12))


def test_colours_are_no_slices(widget, click):
    widget.layer.choices = [Image(image(40, 30, 3), rgb=True)]
    click(widget, widget.start)
    assert "wrong number of axes" in shown()[-1] and len(widget.viewer.layers) == 1


@pytest.mark.parametrize(("shape", "rgb"), [((40, 30), False), ((3, 40, 30), False), ((40, 30, 3), True)])
def test_images_stacks_and_colours_for_networks_with_two_axes(widget, click, shape, rgb):
    model = nm.model_manager.newmodel("flat")
    inp = nm.Input((1, 3 if rgb else 1, 9, 9), "b,f,y,x", name="raw", print_repr=False)
    model.designate_nodes("raw", prediction_node=nm.Conv(inp, 1, (3, 3), print_repr=False))
    array = image(*shape)
    layer = Image(array, rgb=rgb, scale=(2, 5, 5)[3 - len(shape) + rgb :])
    widget.layer.choices = [layer]
    widget.models.choice.reset_choices()
    widget.models.choice.value = model
    click(widget, widget.start)
    assert not shown()
    result = widget.viewer.layers[-1]
    raw = np.moveaxis(array, -1, 0) if rgb else array[None]
    np.testing.assert_array_equal(result.data, model.predict_dense(raw)[0])
    np.testing.assert_allclose(result.translate[-2:], (5, 5))


def test_files_that_are_no_models_are_refused(widget, qtbot, tmp_path):
    (tmp_path / "a.txt").touch()
    for name, message in (("nothing.h5", "nothing.h5"), ("a.txt", "not a model; got .txt; expected Models (*.h5")):
        widget.models.load(tmp_path / name)
        assert not widget.models.enabled
        qtbot.waitUntil(lambda: not widget.models.task.running, timeout=60_000)
        assert message in shown()[-1] and widget.models.enabled


def test_networks_of_other_libraries_can_be_loaded(widget, qtbot, tmp_path):
    onnx = pytest.importorskip("onnx")
    nm.model_manager["small"].export(tmp_path / "small.onnx")
    assert onnx.load(tmp_path / "small.onnx").graph.node
    widget.models.load(tmp_path / "small.onnx")
    qtbot.waitUntil(lambda: not widget.models.task.running, timeout=60_000)
    model = widget.models.model
    assert not shown() and model.name == "small1" and (None, model) != widget.models.choice.choices
    np.testing.assert_allclose(
        model.predict_dense(RAW[None]), nm.model_manager["small"].predict_dense(RAW[None]), rtol=1e-4
    )


def test_closing_the_program_ends_a_prediction(widget, qtbot, monkeypatch):
    told = []

    class Tiled(predict.Job):
        def execute(self, tell):
            self.options["tile"] = (1, 1, 1)
            return super().execute(lambda done, total: told.append(done) or tell(done, total))

    monkeypatch.setattr(predict, "Job", Tiled)
    widget.start.changed.emit(True)
    qtbot.waitUntil(lambda: len(told) > 2, timeout=60_000)
    WorkerBase.await_workers(30_000)
    assert told[-1] < 5000
    qtbot.waitUntil(lambda: not widget.task.running, timeout=60_000)
    assert len(widget.viewer.layers) == 1
