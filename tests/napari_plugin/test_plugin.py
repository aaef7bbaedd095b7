"""The plugin in a real napari: manifest, readers, widgets in the window, notifications, and other plugins."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from npe2 import PluginManifest

import neuromancer as nm
from neuromancer.errors import ShapeError
from neuromancer.napari_plugin.predict import Predict
from neuromancer.volumes import create_sink, open_source, write_pyramid
from neuromancer.volumes.paths import KINDS
from tests.napari_plugin.nets import image, small_model

ROOT = Path(__file__).parents[2]
MANIFEST = ROOT / "neuromancer" / "napari_plugin" / "napari.yaml"
NAME = "neuromancer-graph"


@pytest.fixture
def plugin(npe2pm):
    """The plugin as napari finds it, without an installation of the package."""
    manifest = PluginManifest.from_file(MANIFEST)
    with npe2pm.tmp_plugin(manifest=manifest) as found:
        yield found


@pytest.fixture
def viewer(make_napari_viewer, plugin):
    yield make_napari_viewer()
    notification_manager.records.clear()


def test_the_manifest_is_that_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["napari.manifest"] == {NAME: f"neuromancer.napari_plugin:{MANIFEST.name}"}
    manifest = PluginManifest.from_file(MANIFEST)
    manifest.validate_imports()
    assert manifest.name == project["name"] == NAME
    [reader] = manifest.contributions.readers
    assert {f"*{suffix}" for suffix in KINDS} <= set(reader.filename_patterns)


def test_open_predict_and_open_the_result(viewer, tmp_path, qtbot):
    raw = image(10, 24, 20)
    sink = create_sink(tmp_path / "em.h5:/raw", (1, *raw.shape), "uint8", voxel_size=(40, 4, 4), unit="nm")
    sink[:, :, :, :] = raw[None]
    sink.close()
    [layer] = viewer.open(tmp_path / "em.h5", plugin=NAME)
    assert layer.name == "em" and list(layer.scale) == [40, 4, 4] and str(layer.units[0]) == "nanometer"
    model = small_model()
    model.save(tmp_path / "model.h5")
    _, widget = viewer.window.add_plugin_dock_widget(NAME, "Predict")
    assert widget.layer.value is layer and widget.models.choice.choices == (None, model)
    widget.models.load(tmp_path / "model.h5")
    qtbot.waitUntil(lambda: not widget.models.task.running, timeout=60_000)
    assert widget.models.model.name == "model" and widget.models.enabled
    widget.out.line_edit.value = f"{tmp_path}/probs.zarr"
    widget.start.changed.emit(True)
    qtbot.waitUntil(lambda: not widget.task.running, timeout=60_000)
    assert [layer.name for layer in viewer.layers] == ["em", "em model, channel 0", "em model, channel 1"]
    np.testing.assert_allclose(viewer.layers[-1].data, model.predict_dense(raw[None])[1], rtol=1e-5)
    np.testing.assert_allclose(viewer.layers[-1].translate, (40, 12, 12))


def test_errors_of_readers_reach_the_user_whole(viewer, tmp_path):
    np.save(tmp_path / "line.npy", np.arange(9))
    with pytest.raises(ShapeError, match=r"line.npy': the wrong number of axes; got shape"):
        viewer.open(tmp_path / "line.npy", plugin=NAME)


def test_a_stored_result_opens_with_the_plugin_for_ome_zarr(make_napari_viewer, npe2pm, tmp_path):
    pytest.importorskip("napari_ome_zarr")
    raw, node = image(1, 10, 24, 20), small_model().prediction_node
    sink = create_sink(tmp_path / "raw.zarr", raw.shape, "uint8", voxel_size=(40, 4, 4), unit="nm", offset=(80, 8, 4))
    sink[:, :, :, :] = raw
    sink.close()
    path = tmp_path / "probs.zarr"
    node.predict_dense(tmp_path / "raw.zarr", out=path, store={"multiscale": True, "ome_version": "0.4"})
    write_pyramid(path, levels=1)
    with npe2pm.tmp_plugin(package="napari-ome-zarr"):
        layers = make_napari_viewer().open(path, plugin="napari-ome-zarr")
    want = open_source(path)
    assert len(layers) == 2 and all(layer.multiscale for layer in layers)
    for channel, layer in enumerate(layers):
        np.testing.assert_array_equal(layer.data[0], want[channel : channel + 1, 0:8, 0:19, 0:15][0])
        np.testing.assert_allclose(layer.scale[-3:], (40, 4, 4))
        assert [str(unit) for unit in layer.units] == ["nanometer"] * 3  # it ignores the translation, as of 0.10
    assert nm.model_manager["small"].prediction_node is node


def test_closing_a_widget_stops_its_task(viewer, qtbot, tmp_path):
    model = small_model()
    viewer.add_image(image(10, 24, 20))
    dock, widget = viewer.window.add_plugin_dock_widget(NAME, "Predict")
    widget.models.choice.value = model
    widget.start.changed.emit(True)
    viewer.window.remove_dock_widget(dock)
    widget.native.deleteLater()
    small_model("other").save(tmp_path / "other.h5")
    with qtbot.waitSignal(widget.native.destroyed):
        pass
    qtbot.waitUntil(lambda: not widget.task.running, timeout=60_000)
    other = Predict(viewer)
    other.models.load(tmp_path / "other.h5")  # all widgets are told
    qtbot.waitUntil(lambda: not other.models.task.running, timeout=60_000)
    assert other.models.model.name == "other1" and not notification_manager.records and len(viewer.layers) == 1
    other.close()
