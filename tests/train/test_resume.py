"""Resuming training: options take effect or are refused."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer import errors
from neuromancer.train import EarlyStopping, Trainer
from tests.train.nets import Squares, line, parameters, points

X = points()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a training run of four steps; tests must not write into it."""
    path = tmp_path_factory.mktemp("begun")
    Trainer(
        line("begun"), X, n_steps=4, optimiser="Adam", folder=path, plots=False, validation=X, validate_every=2,
        schedules={"mom": nm.DecaySchedule(0.5, every=100)}, optimiser_params={"lr": 0.01}, keep_every=3,
    ).run()  # fmt: skip
    return path


def resume(folder, **options):
    return Trainer.resume(folder, X, plots=False, **{"n_steps": 8, "schedules": {}, **options})


def test_meta_parameters_that_are_given_win(folder):
    params = {"lr": 0.0001, "clip_norm": 1.0, "wd": 0.1, "beta2": 0.5, "clip_value": 2.0}
    meta = resume(folder, optimiser_params=params).model.meta
    assert {key: meta[key] for key in params} == pytest.approx(params)
    assert meta["mom"] == pytest.approx(0.9)


def halved(x):
    return x / 2


def test_users_functions_are_passed_on(tmp_path):
    model = nm.model_manager.newmodel()
    x = nm.Input((None, 1), "b,f", name="x", print_repr=False)
    y = nm.ApplyFunc(nm.Perceptron(x, 1, activation_func="lin", print_repr=False), halved, name="y")
    target = nm.Input_like(y, name="t", print_repr=False)
    model.designate_nodes("x", target, nm.AggregateLoss(nm.SquaredLoss(y, target, print_repr=False), name="loss"), y)
    Trainer(model, X, n_steps=2, folder=tmp_path, plots=False).run()
    with pytest.raises(errors.FileError, match=r"functors=\{'halved': function\}"):
        resume(tmp_path)
    assert resume(tmp_path, functors={"halved": halved}).run().steps == 8


def test_meta_parameters_that_are_not_given_are_kept(folder):
    trainer = resume(folder)
    assert trainer.model.lr == pytest.approx(0.01) and not trainer.default_lr


def test_starts_of_schedules_that_are_given_win(folder):
    schedules = {"lr": nm.CosineSchedule(20, start=0.002), "mom": nm.DecaySchedule(0.5, every=100, start=0.4)}
    assert [s.start for s in resume(folder, schedules=schedules).schedules] == [0.002, 0.4]
    schedules = {"lr": nm.CosineSchedule(20), "mom": nm.DecaySchedule(0.5, every=100)}
    assert [s.start for s in resume(folder, schedules=schedules).schedules] == pytest.approx([0.01, 0.9])
    again = resume(folder, schedules=schedules, optimiser_params={"lr": 0.5, "mom": 0.25})
    assert [s.start for s in again.schedules] == [0.5, 0.25]
    with pytest.raises(errors.ArgumentError, match="lr is given twice"):
        resume(folder, schedules={"lr": nm.CosineSchedule(20, start=0.002)}, optimiser_params={"lr": 0.1})


def test_what_a_run_does_with_them(folder, tmp_path):
    options = {"checkpoint": folder / "begun-last.h5", "history_every": 1}
    trainer = resume(tmp_path, schedules={"lr": {"updates": [(6, 0.5)]}}, optimiser_params={"lr": 0.25}, **options)
    trainer.run()
    assert trainer.history["lr"][-4:].tolist() == [0.25, 0.25, 0.5, 0.5]
    assert trainer.history["step"].tolist() == [2, 4, 5, 6, 7, 8]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"optimiser": "SGD"}, errors.ArgumentError, "another optimiser; got SGD; expected Adam"),
        ({"batch_size": 3}, errors.ShapeError, "4"),
        ({"seed": 3}, errors.ArgumentError, "another data; got seed=3; expected seed=0"),
        ({"n_steps": 3}, errors.ArgumentError, "more steps have been done already; got n_steps=3; expected at least 4"),
        ({"n_step": 9}, errors.InputTypeError, "got n_step; expected one of .*nearest valid: n_steps"),
        ({"overwrite": True}, errors.ArgumentError, "overwrites nothing"),
        ({"model": 3}, errors.InputTypeError, "no such option"),
        ({"checkpoint": 3}, errors.InputTypeError, "checkpoint"),
        ({"optimiser_params": {"rate": 1}}, errors.UnknownNameError, "rate"),
        ({"preview": [X[0], X[0]]}, errors.NeuromancerError, "preview"),
    ],
)
def test_is_refused(folder, options, error, message):
    with pytest.raises(error, match=message):
        resume(folder, **options)


def test_another_batch_size_is_named(tmp_path):
    Trainer(line("open", None), X, n_steps=1, batch_size=5, folder=tmp_path, plots=False).run()
    with pytest.raises(errors.ArgumentError, match="another data; got batch_size=6; expected batch_size=5"):
        resume(tmp_path, batch_size=6)


def test_other_options_may_change(folder):
    stopping = EarlyStopping("val_two", patience=3)
    trainer = resume(
        folder, n_steps=4, minutes=9, validation=X, validate_every=3, n_validation=2, metrics={"two": lambda p, t: 2},
        early_stopping=stopping, history_every=5, checkpoint_minutes=1, keep_every=7, workers=2, ahead=1,
    )  # fmt: skip
    assert trainer.step == 4 and trainer.watch.waited == 0 and np.isnan(trainer.watch.best)
    assert (trainer.validate_every, trainer.validation.n_batches, trainer.minutes, trainer.keep_every) == (3, 2, 9, 7)
    same = resume(folder, validation=X)
    assert same.watch.best == pytest.approx(np.nanmin(same.history["val_loss"]))
    assert resume(folder, checkpoint=folder / "begun-3.h5").step == 3


def test_the_files_of_another_training_are_not_taken_over(folder, tmp_path):
    Trainer(line("begun"), X, n_steps=1, folder=tmp_path, plots=False).run()
    with pytest.raises(errors.ArgumentError, match="holds a training"):
        resume(tmp_path, checkpoint=folder / "begun-last.h5").run()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("step", -5), ("step", 1.5), ("step", "4"), ("step", True), ("step", 10**400), ("seconds", -1e300),
        ("seconds", "x"), ("seconds", 10**400), ("best_step", -1), ("best_step", None), ("since", 3), ("since", ["a"]),
        ("times", [0.0]), ("times", [0.0, -1.0]), ("watch", []), ("watch", ["a", 0]), ("watch", [0.5, -1]),
        ("watch", {"best": 1}), ("criterion", "val_loss"), ("criterion", ["val_loss", 1]), ("starts", None),
        ("starts", {"mom": "a"}), ("starts", {"mom": [1, [2, None]]}), ("optimiser", None), ("optimiser", "EVIL"),
        ("optimiser", ["Adam"]), ("name", 5), ("data", -1), ("data", "x"), ("arrays", 3), ("arrays", {"seed": 0.5}),
    ],
)  # fmt: skip
def test_a_state_that_is_damaged(folder, tmp_path, key, value):
    model = nm.modelload(folder / "begun-last.h5")
    model.training_state = {**model.training_state, key: value}
    model.save(tmp_path / "x-last.h5")
    before = nm.model_manager.current, set(nm.model_manager.models)
    with pytest.raises(errors.FileError, match=f"x-last.h5.*the state of the training is damaged: its {key}"):
        resume(tmp_path)
    assert (nm.model_manager.current, set(nm.model_manager.models)) == before
    del model.training_state[key]
    model.save(tmp_path / "x-last.h5")
    with pytest.raises(errors.FileError, match="not a checkpoint" if key == "step" else f"its {key}; got nothing"):
        resume(tmp_path)


@pytest.mark.parametrize(
    "history",
    [
        {"step": [1, np.nan]}, {"step": [2, 1]}, {"step": [-1, 1]}, {"step": [1.5, 2]}, {"step": [1, 1e9]},
        {"loss": [1, 2]}, {"step": [[1, 2]]}, {"step": [1, 2], "loss": [1]}, {"step": 3},
    ],
)  # fmt: skip
def test_a_history_that_is_damaged(folder, tmp_path, history):
    model = nm.modelload(folder / "begun-last.h5")
    model.history = {key: np.array(values, "float64") for key, values in history.items()}
    model.save(tmp_path / "x-last.h5")
    with pytest.raises(errors.FileError, match=r"x-last.h5.*the history of the training is damaged"):
        resume(tmp_path)


@pytest.mark.parametrize("start", [1.5, -1, [0.5, 0.5]])
def test_starts_that_no_schedule_can_have(folder, tmp_path, start):
    model = nm.modelload(folder / "begun-last.h5")
    model.training_state["starts"] = {"mom": start}
    model.save(tmp_path / "x-last.h5")
    with pytest.raises(errors.FileError, match=r"x-last.h5.*damaged: the start of mom"):
        resume(tmp_path, schedules={"mom": nm.DecaySchedule(0.5, every=100)})


def test_moments_of_a_checkpoint_that_are_not_finite(folder, tmp_path):
    model = nm.modelload(folder / "begun-last.h5")
    model.pending_states["Adam"]["0_squares"] = np.full_like(model.pending_states["Adam"]["0_squares"], np.nan)
    model.save(tmp_path / "x-last.h5")
    with pytest.raises(errors.FileError, match=r"x-last.h5.*not finite; got \['Adam 0_squares'\]"):
        resume(tmp_path)


def test_schedules_are_not_dropped_silently(folder):
    message = r"had schedules.*got none of \['mom'\]; expected schedules=\{'mom': \.\.\.\}.*schedules=\{\} to continue"
    with pytest.raises(errors.ArgumentError, match=message):
        Trainer.resume(folder, X, n_steps=8, plots=False)
    for nothing in ({}, None):
        assert Trainer.resume(folder, X, n_steps=8, plots=False, schedules=nothing).schedules == []


def explode(folder, **options):
    trainer = Trainer(
        line("bursts"), X, n_steps=400, optimiser="SGD", optimiser_params={"lr": 50.0}, folder=folder, plots=False,
        history_every=1, **options,
    )  # fmt: skip
    with pytest.raises(errors.TrainingError) as caught:
        trainer.run()
    return trainer, str(caught.value)


def test_the_advice_after_an_explosion_can_be_followed(tmp_path):
    trainer, message = explode(tmp_path, checkpoint_minutes=0)
    assert "Trainer.resume(folder, data, optimiser_params={'lr': 5, 'clip_norm': 1})" in message
    # The checkpoint after the step that diverged was rolled back as well.
    assert nm.modelload(tmp_path / "bursts-last.h5").training_state["step"] == trainer.step - 2
    again = resume(tmp_path, n_steps=60, optimiser_params={"lr": 0.01, "clip_norm": 1.0}, history_every=1)
    assert (again.model.lr, again.model.clip_norm) == (pytest.approx(0.01), 1.0)
    assert again.history["step"].tolist() == list(range(1, trainer.step - 1))
    again.run()
    assert again.step == 60 and all(np.isfinite(p).all() for p in parameters(again.model))
    assert np.isfinite(again.history["loss"]).all()


def test_a_checkpoint_from_before_the_explosion_stays(tmp_path):
    model = line("calm")
    Trainer(model, X, n_steps=1, optimiser="SGD", folder=tmp_path, plots=False).run()
    before = (tmp_path / "calm-last.h5").read_bytes()
    with pytest.raises(errors.TrainingError):
        resume(tmp_path, n_steps=400, optimiser_params={"lr": 50.0}).run()
    assert (tmp_path / "calm-last.h5").read_bytes() == before


def test_moments_that_are_not_finite_are_not_saved(tmp_path):
    trainer = Trainer(line("moments"), X, n_steps=2, folder=tmp_path, plots=False)
    trainer.run()
    state = trainer.model.optimisers["Adam"].state["0_squares"]
    state.set_value(np.full_like(state.get_value(), np.inf))
    with pytest.raises(errors.TrainingError, match=r"moments of the gradient are not finite.*Adam 0_squares"):
        trainer.checkpoint()


def test_bad_data_leaves_the_checkpoint_alone(tmp_path):
    class Spoilt(Squares):
        def batch(self, step):
            x, t = points(4)
            return (x * np.nan, t) if step == 5 else (x, t)

    with pytest.raises(errors.TrainingError, match="step 5"):
        Trainer(line("spoilt"), Spoilt(), n_steps=9, folder=tmp_path, plots=False, checkpoint_minutes=0).run()
    assert nm.modelload(tmp_path / "spoilt-last.h5").training_state["step"] == 5
