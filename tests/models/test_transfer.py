"""Parameters of another model, and frozen ones."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer import errors
from tests.train.nets import Squares, classifier


def values_of(model):
    return {f"{node}_{key}": v for node, params in model.get_param_values().items() for key, v in params.items()}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """File of a trained classifier."""
    model = classifier("source", 0.2, "train")
    for n in range(3):
        model.trainingstep(*Squares().batch(n), optimiser="Adam")
    path = tmp_path_factory.mktemp("source") / "source.h5"
    model.save(path)
    return path


def test_all_that_is_learned_is_copied_and_settings_stay(source):
    model = classifier("target", 0.4, "train")
    assert model.load_weights(source) == []
    there, here = values_of(nm.modelload(source)), values_of(model)
    assert there["conv_dropout_rate"] == np.float32(0.2) and here["conv_dropout_rate"] == np.float32(0.4)
    learned = [key for key in here if "rate" not in key and "loss" not in key]
    assert {"conv_w", "conv_mean", "conv1_b"} <= set(learned)
    for key in learned:
        np.testing.assert_array_equal(there[key], here[key])


def wider():
    """A classifier with a head of three classes, and a layer of another name."""
    model = nm.model_manager.newmodel(None)
    inp = nm.Input((2, 1, 10, 10), "b,f,y,x", name="input", print_repr=False)
    out = nm.Conv(inp, 4, (3, 3), (2, 2), batch_normalisation="train", name="conv", print_repr=False)
    out = nm.Conv(out, 4, (1, 1), name="added", print_repr=False)
    out = nm.Conv(out, 3, (1, 1), activation_func="lin", name="conv1", print_repr=False)
    model.designate_nodes("input", prediction_node=out)
    return model


def test_what_does_not_fit_is_named_all_at_once_and_nothing_is_changed(source):
    model = wider()
    before = values_of(model)
    message = r"4 parameters do not fit.*added_w: missing there.*conv1_w: \(2, 4, 1, 1\) there, \(3, 4, 1, 1\) here"
    with pytest.raises(errors.ShapeError, match=message):
        model.load_weights(source)
    for key, value in values_of(model).items():
        np.testing.assert_array_equal(value, before[key])
    left = model.load_weights(source, partial=True)
    assert [line.partition(":")[0] for line in left] == ["added_w", "added_b", "conv1_w", "conv1_b"]
    np.testing.assert_array_equal(model["conv"].params["w"].get_value(), values_of(nm.modelload(source))["conv_w"])
    np.testing.assert_array_equal(model["conv1"].params["w"].get_value(), before["conv1_w"])


def test_other_sources_are_refused(source, tmp_path):
    model = classifier("target")
    with pytest.raises(errors.ArgumentError, match="no parameter fits"):
        model.load_weights({"other": {"w": np.zeros(3)}}, partial=True)
    with pytest.raises(errors.InputTypeError, match="a model file or a dict"):
        model.load_weights([1, 2])
    with pytest.raises(errors.FileError):
        model.load_weights(tmp_path / "none.h5")


def test_frozen_parameters_stay_and_the_others_move(tmp_path):
    model = classifier("frozen", 0.0, "train")
    trained = set(model.trainable_params)
    assert set(model.freeze("conv")) == {"conv_w", "conv_b", "conv_gamma", "conv_mean", "conv_std"}
    assert set(model.trainable_params) == {"conv1_w", "conv1_b"}
    before = values_of(model)
    for n in range(3):
        model.trainingstep(*Squares().batch(n), optimiser="AdamW")
    changed = {key for key, value in values_of(model).items() if not np.array_equal(value, before[key])}
    assert changed == {"conv1_w", "conv1_b"}
    model.save(tmp_path / "frozen.h5")
    again = nm.modelload(tmp_path / "frozen.h5")
    assert again.frozen == model.frozen and set(again.trainable_params) == set(model.trainable_params)
    assert "conv_w" not in again.unfreeze("*_w") and "conv_w" in again.trainable_params
    assert again.unfreeze() == [] and set(again.trainable_params) == trained
    for n in range(3):
        again.trainingstep(*Squares().batch(n), optimiser="AdamW")
    assert not np.array_equal(values_of(again)["conv_mean"], before["conv_mean"])


def test_patterns_that_match_nothing(source):
    model = classifier("patterns")
    with pytest.raises(errors.UnknownNameError, match=r"no trained parameter matches.*nearest valid: conv1"):
        model.freeze("conv11")
    with pytest.raises(errors.UnknownNameError, match="no trained parameter"):
        model.freeze("loss")
    with pytest.raises(errors.UnknownNameError, match="no trained parameter"):
        model.unfreeze("conv11")
    with pytest.raises(errors.InputTypeError, match="not a pattern"):
        model.freeze(3)
    assert model.frozen == []
