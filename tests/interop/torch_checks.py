"""Comparison of an imported module with PyTorch."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import nn

import neuromancer as nm

TOLERANCE = 1e-5
"""Largest difference of dense prediction, as a fraction of the largest value."""


def seeded(make: Any, *args: Any, **kwargs: Any) -> nn.Module:
    """Make a module with reproducible weights, and with statistics unlike those of a new one."""
    torch.manual_seed(0)
    module = make(*args, **kwargs)
    for part in module.modules():
        if isinstance(getattr(part, "running_mean", None), torch.Tensor):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
            if part.weight is not None:
                part.weight.data.uniform_(0.5, 1.5)
                part.bias.data.normal_()
    return module


def imported(module: nn.Module, example: Any, **options: Any) -> Any:
    """Import without a report on the screen."""
    return nm.from_torch(module, example, print_report=False, **options)


def run(module: nn.Module, *arrays: np.ndarray) -> list[np.ndarray]:
    """Evaluate a module in its inference form."""
    twin = copy.deepcopy(module).float().eval()
    with torch.no_grad():
        out = twin(*(torch.from_numpy(a) for a in arrays))
    return [t.numpy() for t in torch.utils._pytree.tree_leaves(out)]


def random(shape: Any, seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def close(found: np.ndarray, wanted: np.ndarray, tolerance: float = 1e-4) -> None:
    """Compare by the largest value."""
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= tolerance * np.abs(wanted).max()


def check(module: nn.Module, shape: Any, **options: Any) -> Any:
    """Import a module, compare all outputs with its own; return the model."""
    model = imported(module, shape, **options)
    report = model.import_report
    assert report.verified and report.largest_difference <= 1e-4
    array = random((2, *shape[1:]))
    wanted = run(module, array)
    nodes = [node for node in model.prediction_ext or [model.prediction_node]]
    found = [node.infer(array) for node in nodes]
    for ours, theirs in zip(found, wanted, strict=True):
        close(ours.reshape(theirs.shape), theirs)
    close(model.predict(array).reshape(wanted[0].shape), wanted[0])
    return model


def reloaded(model: Any, folder: Any) -> Any:
    """Save a model and load it again."""
    model.save(folder / "model.h5")
    again = nm.modelload(folder / "model.h5")
    values, stored = model.prediction_node.all_params, again.prediction_node.all_params
    assert values.keys() == stored.keys()
    assert all(np.array_equal(value.get_value(), stored[key].get_value()) for key, value in values.items())
    return again


def check_file(model: Any, shape: Any, folder: Any) -> None:
    """Compare a model with itself after saving and loading."""
    array, again = random((2, *shape[1:])), reloaded(model, folder)
    np.testing.assert_array_equal(again.predict(array), model.predict(array))
    nm.model_manager.delmodel(again.name)


def check_dense(model: Any, module: nn.Module, shape: Any, tile: Any, tolerance: float = TOLERANCE) -> None:
    """Compare a prediction in small tiles with the module on the whole image."""
    raw = random(shape)
    node = model.prediction_node
    found = node.predict_dense(raw, tile=tile, progress=False)
    # Of a network with strides, every voxel is predicted; PyTorch gives every second or so.
    steps = (slice(None, None, max(1, int(s))) for s in node.shape.strides)
    close(found[(slice(None), *steps)], run(module, raw[None])[0][0], tolerance)
