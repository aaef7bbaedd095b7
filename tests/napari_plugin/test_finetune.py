"""A few painted voxels are enough to train a model a little further."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import ArgumentError, GraphError, ShapeError, TrainingError
from neuromancer.napari_plugin.finetune import sampler_for, train, with_loss
from neuromancer.volumes import open_source
from tests.napari_plugin.nets import small_model


def scene(shape=(8, 24, 26)):
    """Bright and dark halves with noise, and a stroke in each."""
    rng, bright = np.random.default_rng(0), np.zeros(shape, int)
    bright[..., shape[-1] // 2 :] = 1
    raw = (60 + 120 * bright + rng.normal(0, 20, shape)).clip(0, 255).astype("uint8")
    painted = np.zeros(shape, "uint8")
    painted[..., 10, 3:6], painted[..., 12, -6:-3] = 1, 2
    return raw, bright, painted


def trained(model, raw, painted, steps=60, rate=0.01):
    losses = []
    with_loss(model)
    image = open_source(raw, spatial="zyx" if raw.ndim == 3 else "yx")
    train(model, sampler_for(model, image, painted), steps, rate, lambda step, loss: losses.append(loss))
    return losses


def test_a_model_without_a_loss_learns_what_was_painted():
    raw, bright, painted = scene()
    model = small_model()
    losses = trained(model, raw, painted)
    assert len(losses) == 60 and np.mean(losses[-9:]) < 0.3 * losses[0]
    found = model.predict_dense(raw[None], pad_raw=True).argmax(0)
    assert (found == bright).mean() > 0.9
    node = model.loss_node
    with_loss(model)
    assert model.loss_node is node


def test_scores_and_preprocessing_and_open_sizes():
    raw, bright, painted = scene((40, 42))
    model = nm.model_manager.newmodel("scores")
    inp = nm.Input((None, 1, None, None), "b,f,y,x", name="raw", print_repr=False)
    out = nm.Conv(inp, 4, (3, 3), (2, 2), print_repr=False)
    scores = nm.Conv(out, 2, (1, 1), activation_func="lin", name="scores", print_repr=False)
    model.designate_nodes("raw", prediction_node=scores)
    model.preprocessing = ["zero_mean_unit_variance"]
    losses = trained(model, raw, painted)
    assert model.prediction_node is scores and np.mean(losses[-9:]) < 0.5 * losses[0]
    assert (model.predict_dense(raw[None], pad_raw=True).argmax(0) == bright).mean() > 0.9


def test_a_stack_of_images():
    raw, bright, painted = scene((3, 30, 32))
    model = nm.model_manager.newmodel("flat")
    inp = nm.Input((2, 1, 10, 10), "b,f,y,x", name="raw", print_repr=False)
    out = nm.Conv(inp, 2, (3, 3), activation_func="lin", print_repr=False)
    model.designate_nodes("raw", prediction_node=nm.Softmax(out, print_repr=False))
    with_loss(model)
    sampler = sampler_for(model, open_source(raw[None], spatial="yx"), painted)
    data, target = sampler.batch(0)
    assert data.shape == (2, 1, 10, 10) and target.shape == (2, 1, 8, 8) and set(np.unique(target)) <= {-1, 0, 1}
    assert (target >= 0).any(axis=(1, 2, 3)).all() and bright.shape == raw.shape


def test_voxels_at_the_border_count():
    raw, _, painted = scene()
    painted[:] = 0
    painted[0, 0, 0], painted[-1, -1, -1] = 1, 2
    model = small_model()
    with_loss(model)
    sampler = sampler_for(model, open_source(raw), painted)
    targets = np.stack([sampler.batch(step)[1] for step in range(20)])
    assert (np.array([[(t == c).sum() for c in (0, 1)] for t in targets]).sum(1) == 1).all()
    assert {0, 1} <= set(np.unique(targets))


def test_what_cannot_be_trained_is_refused():
    raw, _, painted = scene()
    model, image = small_model(), open_source(raw)
    with_loss(model)
    with pytest.raises(ShapeError, match=r"another size than the image; got \(2, 24, 26\); expected \(8, 24, 26\)"):
        sampler_for(model, image, painted[:2])
    with pytest.raises(ArgumentError, match="got nothing painted; expected 1 to 2"):
        sampler_for(model, image, 0 * painted)
    with pytest.raises(ArgumentError, match=r"got \[2, 4\]; expected 1 to 2"):
        sampler_for(model, image, 2 * painted)
    with pytest.raises(TrainingError, match="the loss is"):
        train(model, sampler_for(model, image, painted), 40, 1e30, lambda step, loss: None)
    other = nm.model_manager.newmodel("other")
    inp = nm.Input((1, 1, 9, 9), "b,f,y,x", name="raw", print_repr=False)
    other.designate_nodes("raw", prediction_node=nm.Conv(inp, 1, (3, 3), print_repr=False))
    with pytest.raises(GraphError, match="model other': has no loss, and its prediction is not that of classes"):
        with_loss(other)
