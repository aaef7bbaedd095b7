"""Every argument of a Trainer takes effect or is refused, before anything is built."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import neuromancer as nm
from neuromancer import errors
from neuromancer.train import BackgroundLoader, EarlyStopping, Trainer
from neuromancer.train.trainer import OPTIONS
from tests.train.nets import Squares, classifier, line, points

X = points()


def run(data=X, **options):
    """Train the smallest model for a few steps; return trainer and result."""
    options = {"n_steps": 4, "optimiser": "SGD", "history_every": 1, **options}
    trainer = Trainer(line("line"), data, **options)
    return trainer, trainer.run()


class Together:
    """A source whose batches, in background threads, are ready only when `n` of them are made concurrently."""

    def __init__(self, n):
        self.barrier, self.steps = threading.Barrier(n, timeout=60), set()

    def batch(self, step):
        self.steps.add(step)
        if threading.current_thread() is not threading.main_thread():
            self.barrier.wait()
        return points(4)


def losses(**options):
    return run(**options)[0].history["loss"].tolist()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def validation(tmp_path):
    _, result = run(validation=X, validate_every=2)
    assert result.validation["val_loss"] > 0


def optimiser(tmp_path):
    assert losses(optimiser="Adam") != losses(optimiser="SGD")


def optimiser_params(tmp_path):
    trainer, _ = run(optimiser_params={"lr": 0.5, "mom": 0.25, "wd": 0.125, "clip_norm": 2, "clip_value": 4})
    assert [trainer.model.meta[k] for k in ("lr", "mom", "wd", "clip_norm", "clip_value")] == [0.5, 0.25, 0.125, 2, 4]
    assert run(optimiser="AdamW", optimiser_params={"beta2": 0.5})[0].model.meta["beta2"] == 0.5


def schedules(tmp_path):
    trainer, _ = run(schedules={"lr": nm.LinearSchedule(4, start=0.25), "mom": {"updates": [(2, 0.5)]}})
    assert trainer.history["lr"].tolist() == [0.25, 0.1875, 0.125, 0.0625]
    assert trainer.history["mom"].round(6).tolist() == [0.9, 0.9, 0.5, 0.5]


def folder(tmp_path):
    run(folder=tmp_path, plots=False)
    assert names(tmp_path) == ["history.csv", "history.h5", "line-final.h5", "line-last.h5"]


def n_steps(tmp_path):
    assert run(n_steps=3)[1].steps == 3


def minutes(tmp_path):
    assert run(minutes=0, n_steps=None)[1].reason == "time"


def batch_size(tmp_path):
    trainer = Trainer(line("line", None), X, batch_size=7)
    assert trainer.source.batch(0)[0].shape == (7, 1)


def seed(tmp_path):
    assert losses(seed=1) != losses(seed=2)


def history_every(tmp_path):
    assert run(history_every=2)[0].history["step"].tolist() == [2, 4]


def validate_every(tmp_path):
    trainer, _ = run(validation=X, validate_every=3)
    assert np.isfinite(trainer.history["val_loss"]).tolist() == [False, False, True, False]


def n_validation(tmp_path):
    counted = []
    run(validation=X, n_validation=5, validate_every=4, metrics={"n": lambda p, t: counted.append(0) or 0})
    assert len(counted) == 5


def metrics(tmp_path):
    _, result = run(validation=X, metrics={"two": lambda p, t: np.float32(2)})
    assert result.validation["val_two"] == 2


def early_stopping(tmp_path):
    stopping = EarlyStopping(patience=1, min_delta=1e6)
    assert run(validation=X, validate_every=1, n_steps=9, early_stopping=stopping)[1].steps == 3


def checkpoint_minutes(tmp_path):
    saved = []

    class Watched(Squares):
        def batch(self, step):
            saved.append((tmp_path / "line-last.h5").exists())
            return points(4)

    run(Watched(), folder=tmp_path, checkpoint_minutes=0, ahead=0, plots=False)
    assert saved == [False, False, True, True, True]


def keep_every(tmp_path):
    run(folder=tmp_path, keep_every=2, plots=False)
    assert {"line-2.h5", "line-4.h5"} <= set(names(tmp_path))


def preview(tmp_path):
    volume = np.random.default_rng(0).random((1, 12, 12)).astype("float32")
    options = {"n_steps": 3, "folder": tmp_path, "plots": False, "preview": volume.copy()}
    trainer = Trainer(classifier(), Squares(), preview_every=2, **options)
    options["preview"][:] = 0
    trainer.run()
    assert [name for name in names(tmp_path) if "preview" in name] == ["preview-2.h5", "preview-3.h5"]
    assert np.array_equal(trainer.preview.volumes["preview"][0], volume)


def plots(tmp_path):
    for enabled in (True, False):
        run(folder=tmp_path, plots=enabled, overwrite=True)
        assert ("history.png" in names(tmp_path)) == enabled
        (tmp_path / "history.png").unlink(missing_ok=True)


def workers(tmp_path):
    source = Together(3)
    trainer = Trainer(line("line"), source, workers=3, ahead=2, n_steps=1)
    source.steps.clear()
    trainer.run()
    assert source.steps == {0, 1, 2}


def processes(tmp_path):
    trainer = Trainer(line("line"), Together(1), processes=True, n_steps=1)
    with pytest.raises(errors.InputTypeError, match="cannot be sent to other processes"):
        trainer.run()


def progress(tmp_path, capsys):
    run(progress=True)
    assert capsys.readouterr().out.startswith("training of line: SGD, lr 0.01 (the default of SGD), from step 0 to 4\n")


def name(tmp_path):
    run(folder=tmp_path, name="run/1", plots=False)
    assert [n for n in names(tmp_path) if n.endswith("-last.h5")] == ["run_1-a7becdaa-last.h5"]
    again = Trainer.resume(tmp_path, X, n_steps=5)
    assert (again.name, again.step) == ("run/1", 4)


def overwrite(tmp_path):
    run(folder=tmp_path, plots=False)
    assert run(folder=tmp_path, plots=False, overwrite=True, n_steps=2)[1].steps == 2


def pretrained(tmp_path):
    first, _ = run(folder=tmp_path, plots=False, n_steps=9)
    again, _ = run(pretrained=tmp_path / "line-final.h5", optimiser_params={"lr": 0.0})
    plain, _ = run(optimiser_params={"lr": 0.0})
    initial, trained, started = (t.model["y"].params["w"].get_value() for t in (plain, first, again))
    assert np.array_equal(trained, started) and not np.array_equal(initial, started)


def partial(tmp_path):
    run(folder=tmp_path, plots=False)
    model = nm.modelload(tmp_path / "line-final.h5")
    model["y"].params["extra"] = nm.VariableParam(np.zeros(2, "float32"), name="extra")
    start = {"pretrained": tmp_path / "line-final.h5", "n_steps": 1}
    with pytest.raises(errors.ShapeError, match="y_extra: missing there"):
        Trainer(model, X, **start)
    assert Trainer(model, X, partial=True, **start).remarks[1].endswith("y_extra: missing there, (2,) here")


def freeze(tmp_path):
    trainer, _ = run(freeze="y_w")
    assert np.array_equal(trainer.model["y"].params["w"].get_value(), line("line")["y"].params["w"].get_value())


def ema(tmp_path):
    trainer, _ = run(ema=0.9)
    with trainer.model.averaged("SGD"):
        averaged = trainer.model["y"].params["w"].get_value()
    assert not np.array_equal(averaged, trainer.model["y"].params["w"].get_value())


def tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    run(folder=tmp_path, plots=False, tensorboard=True)
    assert "tensorboard" in names(tmp_path)


def save_name(tmp_path):
    run(folder=tmp_path, plots=False, save_name="other")
    assert "other-final.h5" in names(tmp_path)


EFFECTS = {
    f.__name__: f
    for f in (
        validation, optimiser, optimiser_params, schedules, folder, n_steps, minutes, batch_size, seed, history_every,
        validate_every, n_validation, metrics, early_stopping, checkpoint_minutes, keep_every, preview, plots, workers,
        processes, name, overwrite, pretrained, partial, freeze, ema, tensorboard, save_name,
    )
}  # fmt: skip


def test_every_argument_is_tried():
    assert {*EFFECTS, "preview_every", "ahead", "progress"} == set(OPTIONS)


@pytest.mark.parametrize("argument", EFFECTS)
def test_has_an_effect(argument, tmp_path):
    EFFECTS[argument](tmp_path)


def test_progress_shows_the_rate(tmp_path, capsys):
    progress(tmp_path, capsys)
    run(progress=True, optimiser="Adam", schedules={"lr": nm.WarmUpSchedule(10)})
    assert "lr: WarmUpSchedule" in (out := capsys.readouterr().out) and "from 0.0010" in out
    run(progress=True, schedules={"lr": nm.DecaySchedule(0.5, start=0.002)})
    assert "from 0.002, from step 0" in capsys.readouterr().out


class Sampled:
    """A source that makes its own batches."""

    batch_size, seed = 4, 0

    def batch(self, step):
        return points(4)


RAW, LABELS = np.zeros((1, 12, 13), "float32"), np.zeros((12, 13), "int16")
LR = nm.CosineSchedule(20, start=0.1)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        # values
        ({"n_steps": True}, errors.ArgumentError, "n_steps; got True"),
        ({"n_steps": 2.5}, errors.ArgumentError, "n_steps.*nearest valid: 2"),
        ({"minutes": -1}, errors.ArgumentError, "minutes"),
        ({"minutes": "5"}, errors.ArgumentError, "minutes; got 5"),
        ({"minutes": True}, errors.ArgumentError, "minutes"),
        ({"batch_size": 2.5}, errors.ArgumentError, "batch_size"),
        ({"batch_size": 51}, errors.ArgumentError, "batch_size 51; expected 1 to 50"),
        ({"seed": -1}, errors.ArgumentError, "seed"),
        ({"seed": 1.5}, errors.ArgumentError, "seed"),
        ({"history_every": 0}, errors.ArgumentError, "history_every"),
        ({"workers": 0}, errors.ArgumentError, "workers"),
        ({"ahead": -1}, errors.ArgumentError, "ahead"),
        ({"processes": "no"}, errors.ArgumentError, "processes; got no; expected True or False"),
        ({"progress": "yes"}, errors.ArgumentError, "progress"),
        ({"plots": 2}, errors.ArgumentError, "plots"),
        ({"folder": 3}, errors.InputTypeError, "folder; got 3; expected a path"),
        ({"name": 3}, errors.InputTypeError, "name"),
        ({"early_stopping": 5, "validation": X}, errors.InputTypeError, "early_stopping; got 5; expected an Early"),
        ({"optimiser": "adam"}, errors.UnknownNameError, "nearest valid: Adam"),
        ({"optimiser": ["Adam"]}, errors.UnknownNameError, "unknown optimiser"),
        ({"optimiser_params": {"learning_rate": 0.1}}, errors.UnknownNameError, "got learning_rate; expected one of"),
        ({"optimiser_params": {"beta": 0.1}}, errors.UnknownNameError, "nearest valid: beta2"),
        ({"optimiser_params": [("lr", 0.1)]}, errors.InputTypeError, "optimiser_params"),
        ({"optimiser_params": {"lr": True}}, errors.ArgumentError, "lr cannot"),
        ({"optimiser_params": {"lr": np.nan}}, errors.ArgumentError, "lr cannot"),
        ({"optimiser": "SGD", "optimiser_params": {"beta2": 0.9}}, errors.UnknownNameError, "SGD has no such"),
        ({"optimiser": "AdaGrad", "optimiser_params": {"mom": 0.9}}, errors.UnknownNameError, "AdaGrad has no such"),
        ({"optimiser": "SGD", "schedules": {"beta2": {"dec": 0.5}}}, errors.UnknownNameError, "SGD has no such"),
        ({"schedules": [LR]}, errors.InputTypeError, "schedules"),
        ({"schedules": {"lr": LR}, "optimiser_params": {"lr": 0.2}}, errors.ArgumentError, "lr is given twice"),
        ({"schedules": {"lr": nm.LinearSchedule(9, end=-1)}}, errors.ArgumentError, "schedule of lr, step 10.*got -1"),
        ({"schedules": {"mom": nm.DecaySchedule(1.1, 1)}, "n_steps": 9}, errors.ArgumentError, "mom, step 8"),
        ({"schedules": {"dropout_rates": {"updates": [(2, 0.1)]}}}, errors.UnknownNameError, "dropout_rates"),
        ({"schedules": {"batch_size": {"updates": [(2, 8)]}}}, errors.UnknownNameError, "batch_size"),
        ({"metrics": {"a": 3}, "validation": X}, errors.InputTypeError, "metric a"),
        ({"metrics": [max], "validation": X}, errors.InputTypeError, "metrics"),
        # without effect
        ({"validate_every": 5}, errors.ArgumentError, "validate_every has no effect without"),
        ({"n_validation": 5}, errors.ArgumentError, "n_validation has no effect without validation data"),
        ({"checkpoint_minutes": 1}, errors.ArgumentError, "checkpoint_minutes has no effect without folder"),
        ({"keep_every": 5}, errors.ArgumentError, "keep_every has no effect without folder"),
        ({"overwrite": True}, errors.ArgumentError, "overwrite has no effect without folder"),
        ({"plots": True}, errors.ArgumentError, "plots have no effect without folder"),
        ({"preview_every": 5, "folder": "x"}, errors.ArgumentError, "preview_every has no effect without preview"),
    ],
)  # fmt: skip
def test_is_refused(options, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        Trainer(line(), X, **options)
    assert not names(tmp_path)


@pytest.mark.parametrize(
    ("data", "options", "error", "message"),
    [
        (Sampled(), {"batch_size": 8}, errors.ArgumentError, r"batch_size=8; expected .* Sampled\(batch_size=...\)"),
        (Sampled(), {"seed": 8}, errors.ArgumentError, r"Sampled\(seed=...\)"),
        (iter([X, X]), {"batch_size": 8}, errors.ArgumentError, "argument of the iterator"),
        (iter([X, X]), {"workers": 2}, errors.ArgumentError, "workers=2"),
        (iter([X, X]), {"processes": True}, errors.ArgumentError, "processes=True"),
        ({"x": 1}, {}, errors.InputTypeError, "cannot be trained with"),
        (Sampled, {}, errors.InputTypeError, "cannot be trained with"),
        ((np.zeros(()), np.zeros(())), {}, errors.ShapeError, "no axis b"),
        ((X[0][:0], X[1][:0]), {}, errors.ShapeError, r"no examples; got \(0, 1\)"),
        (X, {"validation": Squares()}, errors.NeuromancerError, "x"),
        (X, {"validation": [3, 4]}, errors.InputTypeError, "a batch must be a tuple"),
    ],
)  # fmt: skip
def test_data_and_what_belongs_to_it(data, options, error, message):
    with pytest.raises(error, match=message):
        Trainer(line(), data, **options)


def test_data_that_agrees_is_taken():
    assert Trainer(line(), Sampled(), batch_size=4).step == 0


def test_the_first_batches_are_looked_at():
    with pytest.raises(errors.ShapeError) as caught:
        Trainer(classifier(), Squares(), validation=(np.zeros((4, 1, 10, 10), "f4"), np.zeros((4, 1, 3, 3), "int16")))
    assert "in the first batch of the validation data" in caught.value.__notes__
    trainer = Trainer(line(), iter([np.zeros((4, 1))]), n_steps=1)
    with pytest.raises(errors.InputTypeError, match="tuple of arrays; got ndarray"):
        trainer.run()


@pytest.mark.parametrize(
    ("preview", "error", "message"),
    [
        ([RAW, RAW], errors.ShapeError, r"labels \(1, 12, 13\).*expected labels \(12, 13\).*several of these as"),
        ([RAW, RAW, RAW], errors.InputTypeError, "several of these as"),
        ({}, errors.InputTypeError, "no volumes"),
        (RAW[0], errors.ShapeError, "wrong number of axes"),
        (np.zeros((2, 12, 13)), errors.ShapeError, "channels"),
        ((RAW, LABELS[:, :0]), errors.ShapeError, "labels"),
        ((RAW, np.zeros((13, 12), int)), errors.ShapeError, "labels"),
        ({"a": RAW.astype("complex64")}, errors.InputTypeError, "dtype"),
    ],
)
def test_a_preview_is_checked_before_the_first_step(preview, error, message, tmp_path):
    with pytest.raises(error, match=message):
        Trainer(classifier(), Squares(), preview=preview, folder=tmp_path / "a")
    assert not names(tmp_path)


def test_what_else_a_preview_needs(tmp_path, monkeypatch):
    with pytest.raises(errors.ArgumentError, match="preview has no effect without folder"):
        Trainer(classifier(), Squares(), preview=RAW)
    with pytest.raises(errors.GraphError, match="prediction_node"):
        model = classifier()
        model.designate_nodes("input", "target", "loss")
        Trainer(model, Squares(), preview=RAW, folder=tmp_path)
    assert set(
        Trainer(classifier(), Squares(), preview={"a/b": RAW, "c": (RAW, LABELS)}, folder=tmp_path).preview.volumes
    )
    monkeypatch.setattr("neuromancer.train.plots.find_spec", lambda name: None)
    with pytest.raises(errors.MissingDependencyError, match="matplotlib"):
        Trainer(classifier(), Squares(), folder=tmp_path, plots=True)


def test_an_invalid_folder(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "a", "nul\0", tmp_path / ("x" * 300)):
        with pytest.raises(errors.FileError):
            Trainer(line(), X, folder=folder)


def test_a_folder_without_permission(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: path != tmp_path)
    with pytest.raises(errors.FileError, match="no permission for"):
        Trainer(line(), X, folder=tmp_path / "a" / "b")


@pytest.mark.parametrize(
    "call",
    [
        lambda: EarlyStopping(patience=1.5), lambda: EarlyStopping(min_delta=np.nan), lambda: EarlyStopping(metric=3),
        lambda: EarlyStopping(larger_is_better="no"), lambda: BackgroundLoader(Sampled(), processes="no"),
    ],
)  # fmt: skip
def test_parts_are_checked_too(call):
    with pytest.raises(errors.NeuromancerError):
        call()


def test_a_metric_that_is_never_a_number_ends_the_training():
    stopping = EarlyStopping("val_none", patience=1)
    options = {"metrics": {"none": lambda p, t: float("nan")}, "early_stopping": stopping}
    _, result = run(validation=X, validate_every=1, n_steps=9, **options)
    assert (result.reason, result.steps, result.best_step) == ("early stopping", 2, 0)


def test_a_metric_that_returns_no_number():
    with pytest.raises(errors.ArgumentError, match="'metric wrong': a metric must return a number"):
        run(validation=X, metrics={"wrong": lambda p, t: p})
