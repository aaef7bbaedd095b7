"""Trainings that start from other parameters, freeze some, and average them."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

import neuromancer as nm
from neuromancer import errors
from neuromancer.train import Trainer
from tests.train.nets import Squares, classifier, line, parameters, points


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Model file of a trained classifier."""
    folder = tmp_path_factory.mktemp("source")
    Trainer(classifier("source"), Squares(), n_steps=5, folder=folder, plots=False).run()
    return folder / "source-final.h5"


def weights(model, node="conv"):
    return model[node].params["w"].get_value()


def test_frozen_layers_of_another_model_stay_through_save_and_resume(source, tmp_path, capsys):
    options = {"plots": False, "progress": True}
    model = classifier("tuned")
    trainer = Trainer(
        model, Squares(), n_steps=4, folder=tmp_path, pretrained=source, freeze=["conv", "*1_b"], **options
    )
    there = nm.modelload(source)
    head = weights(there, "conv1")
    np.testing.assert_array_equal(weights(model, "conv1"), head)
    trainer.run()
    printed = capsys.readouterr().out
    assert (
        f"starts from the parameters of {source}" in printed
        and "frozen: conv_w, conv_b, conv1_b (42 values)" in printed
    )
    again = Trainer.resume(tmp_path, Squares(), n_steps=8, freeze=["conv", "*1_b"], **options)
    again.run()
    third = Trainer.resume(tmp_path, Squares(), n_steps=12, **options)
    third.run()
    assert third.model.frozen == ["conv_w", "conv_b", "conv1_b"]
    for node, key in (("conv", "w"), ("conv", "b"), ("conv1", "b")):
        np.testing.assert_array_equal(third.model[node].params[key].get_value(), there[node].params[key].get_value())
    assert not np.array_equal(weights(third.model, "conv1"), head)
    whole = classifier("whole")
    Trainer(whole, Squares(), n_steps=12, pretrained=source, freeze=["conv", "*1_b"]).run()
    for a, b in zip(parameters(whole), parameters(third.model), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(errors.ArgumentError, match=r"cannot freeze other parameters.*conv1_w"):
        Trainer.resume(tmp_path, Squares(), n_steps=14, freeze="conv1")
    with pytest.raises(errors.ArgumentError, match=r"starts from its checkpoint; got pretrained"):
        Trainer.resume(tmp_path, Squares(), n_steps=14, pretrained=source)


def test_invalid_starts(source, tmp_path):
    model = classifier("wrong")
    cases = [
        ({"freeze": "conv*"}, errors.ArgumentError, "no parameter is left to train"),
        ({"freeze": "con"}, errors.UnknownNameError, r"matches the pattern; got con;.*nearest valid: conv"),
        ({"freeze": 3}, errors.InputTypeError, "unusable freeze"),
        ({"pretrained": tmp_path / "none.h5"}, errors.FileError, r"none\.h5"),
        ({"pretrained": 3}, errors.InputTypeError, "unusable pretrained"),
        ({"partial": True}, errors.ArgumentError, "partial has no effect without pretrained"),
        ({"ema": 1.0}, errors.ArgumentError, "unusable ema"),
        ({"ema": "0.9"}, errors.ArgumentError, "unusable ema"),
        ({"save_name": "a", "name": "b"}, errors.ArgumentError, r"given twice; got \['b', 'a'\]"),
        ({"save_name": 3}, errors.InputTypeError, "unusable save_name"),
    ]
    for options, error, message in cases:
        with pytest.raises(error, match=message):
            Trainer(model, Squares(), n_steps=1, **options)
        model.unfreeze()


def test_what_does_not_fit_is_named_or_left(source, tmp_path, capsys):
    other = line("other shapes")
    with pytest.raises(errors.ArgumentError, match="no parameter fits"):
        Trainer(other, points(), n_steps=1, pretrained=source, partial=True)
    model = nm.model_manager.newmodel(None)
    inp = nm.Input((2, 1, 10, 10), "b,f,y,x", name="input", print_repr=False)
    out = nm.Conv(inp, 4, (3, 3), (2, 2), print_repr=False)
    out = nm.Conv(out, 3, (1, 1), activation_func="lin", name="conv1", print_repr=False)
    probs = nm.Softmax(out, name="probs", print_repr=False)
    target = nm.Input_like(probs, override_f=1, dtype="int16", name="target", print_repr=False)
    nll = nm.MultinoulliNLL(probs, target, target_is_sparse=True, print_repr=False)
    model.designate_nodes("input", target, nm.AggregateLoss([nll], print_repr=False), probs)
    with pytest.raises(errors.ShapeError, match=r"2 parameters do not fit.*conv1_w.*conv1_b.*--partial"):
        Trainer(model, Squares(), n_steps=1, pretrained=source)
    Trainer(model, Squares(), n_steps=1, pretrained=source, partial=True, progress=True).run()
    assert "left at its initial value: conv1_w: (2, 4, 1, 1) there, (3, 4, 1, 1) here" in capsys.readouterr().out


def test_averages_are_validated_previewed_and_saved_and_resumed_exactly(tmp_path):
    preview = np.random.default_rng(0).random((1, 12, 12)).astype("float32")
    options = {
        "validation": Squares(1), "validate_every": 4, "n_validation": 2, "history_every": 4, "plots": False,
        "preview": preview, "preview_every": 8, "optimiser_params": {"lr": 0.05},
    }  # fmt: skip
    whole = Trainer(classifier("whole", 0.2, "train"), Squares(), n_steps=12, folder=tmp_path / "a", ema=0.9, **options)
    whole.run()
    Trainer(classifier("parts", 0.2, "train"), Squares(), n_steps=7, folder=tmp_path / "b", ema=0.9, **options).run()
    del options["optimiser_params"]
    parts = Trainer.resume(tmp_path / "b", Squares(), n_steps=12, **options)
    result = parts.run()
    for column in ("loss", "val_loss", "val_error", "train_error"):
        np.testing.assert_array_equal(whole.history[column], parts.history[column])
    averaged, raw = (nm.modelload(tmp_path / "b" / f"parts-final{kind}.h5") for kind in ("-ema", ""))
    assert result.files["final-ema"] == tmp_path / "b" / "parts-final-ema.h5"
    reference = nm.modelload(tmp_path / "a" / "whole-final-ema.h5")
    for a, b in zip(parameters(reference), parameters(averaged), strict=True):
        np.testing.assert_array_equal(a, b)
    with whole.model.averaged("Adam"):
        for a, b in zip(parameters(whole.model), parameters(averaged), strict=True):
            np.testing.assert_array_equal(a, b)
    assert not np.array_equal(weights(averaged), weights(raw))
    with h5py.File(tmp_path / "b" / "preview-12.h5") as file:
        np.testing.assert_allclose(file["prediction"][()], averaged.predict_dense(preview, pad_raw=True), rtol=1e-5)
    losses = [
        Trainer(m, Squares(), validation=Squares(1), n_validation=2, n_steps=1).validation() for m in (averaged, raw)
    ]
    assert losses[0]["val_loss"] == pytest.approx(whole.history["val_loss"][-1], rel=1e-5)
    assert losses[1]["val_loss"] != pytest.approx(whole.history["val_loss"][-1], rel=1e-5)
    assert (tmp_path / "b" / "parts-best-ema.h5").exists()
    with pytest.raises(errors.FileError, match="not a checkpoint of a training"):
        Trainer.resume(tmp_path / "b", Squares(), checkpoint=tmp_path / "b" / "parts-final-ema.h5", n_steps=20)
    without = Trainer.resume(tmp_path / "b", Squares(), n_steps=13, ema=None, **options)
    without.run()
    assert without.model.ema is None


def test_averages_do_not_affect_the_trajectory_and_survive_nan(tmp_path):
    plain, model = classifier("plain"), classifier("averaged")
    Trainer(plain, Squares(), n_steps=7).run()
    with pytest.raises(errors.TrainingError):
        Trainer(model, Squares(spoil=9), n_steps=20, ema=0.99).run()
    for a, b in zip(parameters(plain), parameters(model), strict=True):
        np.testing.assert_array_equal(a, b)
    with model.averaged("Adam"):
        assert all(np.isfinite(p).all() for p in parameters(model))


def test_save_name_names_the_files(tmp_path):
    trainer = Trainer(line("of the model"), points(), n_steps=2, folder=tmp_path, plots=False, save_name="run7")
    trainer.run()
    assert (tmp_path / "run7-final.h5").exists() and trainer.name == "run7"
    again = Trainer.resume(tmp_path, points(), n_steps=3, plots=False, save_name="run7")
    again.run()
    assert nm.modelload(tmp_path / "run7-last.h5").training_state["step"] == 3
