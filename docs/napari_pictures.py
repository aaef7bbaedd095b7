"""Make the pictures of napari.md: ``xvfb-run -s "-screen 0 1600x1000x24" python docs/napari_pictures.py``.

The plugin does what the page says with the stack of the examples. Needs the extra ``napari``.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import napari
import numpy as np
from npe2 import PluginManager, PluginManifest
from PIL import Image
from qtpy.QtWidgets import QApplication

import neuromancer as nm

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"


def network(path: Path) -> None:
    """Save an untrained network for cell nuclei."""
    model = nm.model_manager.newmodel("fresh")
    out: nm.Node = nm.Input((1, 1, 9, 48, 48), "b,f,z,y,x", name="raw", print_repr=False)
    for features, size, pool in ((12, (1, 5, 5), (1, 2, 2)), (16, (3, 3, 3), (1, 1, 1)), (24, (3, 5, 5), (1, 2, 2))):
        out = nm.Conv(out, features, size, pool, print_repr=False)
    out = nm.Conv(out, 24, (3, 3, 3), print_repr=False)
    scores = nm.Conv(out, 2, (1, 1, 1), activation_func="lin", print_repr=False)
    model.designate_nodes("raw", prediction_node=nm.Softmax(scores, name="nuclei", print_repr=False))
    model.preprocessing = ["zero_mean_unit_variance"]
    model.save(path)


def wait(busy: Callable[[], bool]) -> None:
    """Let the window work as long as a task runs."""
    while busy():
        QApplication.processEvents()
        time.sleep(0.01)
    for _ in range(30):  # layouts and drawings follow
        QApplication.processEvents()
        time.sleep(0.01)


def paint(labels: Any, truth: np.ndarray) -> None:
    """Paint some strokes across the borders of nuclei, as a user would: 1 in the background, 2 in nuclei."""
    for z in (14, 24, 34):
        for number in np.unique(truth[z])[1::2]:
            y, x = np.argwhere(truth[z] == number).mean(0).astype(int)
            labels.data[z, y - 2 : y + 3, max(x - 40, 0) : x + 41] = 1 + (
                truth[z, y - 2 : y + 3, max(x - 40, 0) : x + 41] > 0
            )
    labels.refresh()


def keep(viewer: napari.Viewer, name: str) -> None:
    """Save a picture of the window in 256 colours, which are enough for it."""
    shot = Image.fromarray(viewer.screenshot(canvas_only=False)[..., :3])
    shot.quantize(256).save(IMAGES / f"napari_{name}.png", optimize=True)


def main() -> None:
    """Write ``napari_train.png`` and ``napari_predict.png``."""
    PluginManager.instance().register(PluginManifest.from_file(ROOT / "neuromancer" / "napari_plugin" / "napari.yaml"))
    viewer = napari.Viewer(title="napari")
    viewer.window.resize(1400, 860)
    viewer.open_sample("neuromancer-graph", "nuclei")
    raw, truth = viewer.layers
    truth.visible, raw.contrast_limits = False, (0, np.percentile(np.asarray(raw.data), 99.8))
    painted = viewer.add_labels(np.zeros(raw.data.shape, "uint8"), name="painted", opacity=0.9)
    paint(painted, np.asarray(truth.data))
    _, train = viewer.window.add_plugin_dock_widget("neuromancer-graph", "Train")
    viewer.dims.set_point(0, 24)
    with tempfile.TemporaryDirectory() as folder:
        network(Path(folder) / "nuclei.h5")
        train.models.load(Path(folder) / "nuclei.h5")
        wait(lambda: train.models.task.running)
        train.layer.value, train.painted.value, train.steps.value, train.rate.value = raw, painted, 600, 0.001
        train.start.changed.emit(True)
        wait(lambda: train.task.running)
        keep(viewer, "train")
        model = train.models.model
        viewer.window.remove_dock_widget("all")
        _, predict = viewer.window.add_plugin_dock_widget("neuromancer-graph", "Predict")
        predict.models.choice.value, predict.layer.value, predict.values.value = model, raw, "8 bit"
        predict.pad.value, predict.memory.value = True, "150MB"
        predict.out.line_edit.value = str(Path(folder) / "nuclei.zarr")
        painted.visible = False
        predict.start.changed.emit(True)
        wait(lambda: predict.task.running)
        background, nuclei = list(viewer.layers)[-2:]
        background.visible, nuclei.colormap, nuclei.opacity = False, "magenta", 0.6
        keep(viewer, "predict")
        viewer.close()


if __name__ == "__main__":
    main()
