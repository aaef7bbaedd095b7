"""simple_cnn: sizes, layouts, fragments, training, errors."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import ArgumentError, ShapeError
from neuromancer.model import simple_cnn


@pytest.mark.parametrize(
    ("desired", "filters", "pools", "mfp", "tags", "size", "out"),
    [
        (30, [4, 3], [3, 1], False, None, [30], [7]),
        ((31, 32), [4, 3], [3, 1], False, None, [30, 33], [7, 8]),
        ((30, 30), [(4, 3), 3], [2, (1, 2)], False, "b,f,x,y", [29, 30], [11, 6]),
        ((9, 40, 40), [(1, 4, 4), (3, 3, 3)], [(1, 2, 2), 1], False, "b,z,f,y,x", [9, 39, 39], [7, 16, 16]),
        ((5, 40, 40), [(1, 4, 4), (1, 3, 3)], [(1, 2, 2), (1, 2, 2)], True, None, [5, 38, 38], [5, 28, 28]),
        ((3,), [5, 5], [2, 2], False, "b,f,x", [16], [1]),
        (30, [4, 3], [3, 2], [True, True], None, [32], [18]),
    ],
)
def test_sizes(desired, filters, pools, mfp, tags, size, out):
    model = simple_cnn(1, 2, 3, desired, filters, [4] * len(filters), "relu", pools, mfp, tags)
    assert model is nm.model_manager.current
    assert model["input"].shape.spatial_shape == size
    assert model.prediction_node.shape.spatial_shape == out
    assert list(model.prediction_node.shape.strides) == [1] * len(out) if mfp else True
    raw = np.zeros(model["input"].shape.shape, "float32")
    assert list(model.predict(raw).shape) == model.prediction_node.shape.shape


def test_training_converges():
    nm.seed(1)
    model = simple_cnn(None, 1, 2, (14, 14), [3, 3], [6, 6], ["relu", "tanh"], [2, 1], name="learner")
    model.lr = 0.02
    rng, losses = np.random.default_rng(0), []
    n = model.prediction_node.shape.spatial_shape
    for _ in range(30):
        bright = rng.integers(0, 2, (8, 1, 1, 1))
        raw = (rng.normal(size=(8, 1, 14, 14)) + bright).astype("float32")
        labels = np.broadcast_to(bright, (8, 1, *n)).astype("int16")
        losses.append(model.trainingstep(raw, labels, optimiser="AdamW")[0])
    assert np.mean(losses[-5:]) < 0.7 * losses[0]
    assert float(model.predict_ext(raw, labels)[1]) < 0.35


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"pools": [2]}, ArgumentError, "pools needs one entry per layer.*2 entries"),
        ({"nof_filters": [3, 3, 3]}, ArgumentError, "nof_filters needs one entry per layer"),
        ({"activation_func": ["relu"]}, ArgumentError, "activation_func needs one entry per layer"),
        ({"filters": [(3, 3, 3), 3]}, ArgumentError, "filters does not fit 2 spatial axes"),
        ({"desired_input": 0}, ArgumentError, "desired_input does not fit"),
        ({"tags": "b,f"}, ArgumentError, "unsupported axes"),
        ({"batch_size": 2, "mfp": True}, ShapeError, "batch size"),
        ({"activation_func": "rel"}, ArgumentError, "relu"),
    ],
)
def test_errors_leave_no_model_behind(change, error, message):
    arguments = dict(
        batch_size=1,
        n_ch=1,
        n_lab=2,
        desired_input=(20, 20),
        filters=[3, 3],
        nof_filters=[4, 4],
        activation_func="relu",
        pools=[2, 1],
    )
    before = list(nm.model_manager.models)
    with pytest.raises(error, match=message):
        simple_cnn(**{"tags": "b,f,y,x", **arguments, **change})
    assert list(nm.model_manager.models) == before
