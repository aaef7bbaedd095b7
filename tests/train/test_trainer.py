"""The training loop: what it computes, writes and refuses."""

from __future__ import annotations

import csv
import errno
import signal
import threading
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest

import neuromancer as nm
from neuromancer import errors
from neuromancer.optim.trainable import KEPT_PARAMETER_SETS
from neuromancer.train import EarlyStopping, Trainer
from neuromancer.train.stopping import Interruption
from tests.train.nets import Squares, classifier, parameters

PNG = b"\x89PNG\r\n"


@pytest.fixture(scope="module")
def trained():
    """A classifier for tests that ask nothing of its parameters; it compiles once and goes on learning."""
    return classifier("trained")


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_learns_and_writes_its_files(tmp_path):
    model = classifier()
    preview = np.random.default_rng(0).random((1, 20, 22)).astype("float32")
    result = Trainer(
        model, Squares(), validation=Squares(1), n_steps=120, folder=tmp_path / "a" / "b", validate_every=40,
        optimiser_params={"lr": 0.01}, preview={"corner": (preview, np.zeros((20, 22), int))}, preview_every=60,
        metrics={"share": lambda p, labels: float(p[:, 1].mean())}, keep_every=50,
    ).run()  # fmt: skip
    folder = tmp_path / "a" / "b"
    assert (result.reason, result.steps) == ("steps", 120)
    assert result.validation["val_error"] < 0.2
    assert result.best == min(r for r in np.ravel(read(folder)["val_loss"]) if r == r)
    expected = {f"net-{kind}.h5" for kind in ("last", "best", "final", "50", "100")}
    expected |= {"history.csv", "history.h5", "history.png", "first_batch.png"}
    expected |= {f"corner-{step}.{kind}" for step in (60, 120) for kind in ("h5", "png")}
    assert {p.name for p in folder.iterdir()} == expected
    assert (folder / "history.png").read_bytes().startswith(PNG)
    with h5py.File(folder / "corner-120.h5") as file:
        np.testing.assert_allclose(file["prediction"][()], model.predict_dense(preview, pad_raw=True), rtol=1e-6)
        assert np.array_equal(file["labels"][()], np.zeros((20, 22), int))
    history = read(folder)
    assert history["step"].tolist() == list(range(10, 121, 10))
    assert np.isfinite(history["val_share"]).sum() == np.isfinite(history["train_error"]).sum() == 3
    with h5py.File(folder / "history.h5") as file:
        np.testing.assert_allclose(file["loss"][()], history["loss"], rtol=1e-6)
    assert history["loss"][-1] < history["loss"][0] / 2


def read(folder):
    with (folder / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {key: np.array([float(row[key] or "nan") for row in rows]) for key in rows[0]}


@pytest.mark.parametrize("optimiser", ["SGD", "Adam", "AdamW", "AdaGrad", "AdaDelta"])
def test_interrupted_and_resumed_is_uninterrupted(tmp_path, optimiser):
    options = {
        "validation": Squares(1), "validate_every": 7, "history_every": 4, "optimiser": optimiser, "keep_every": 13,
        "schedules": {"lr": nm.WarmUpSchedule(10, nm.CosineSchedule(60)), "dropout_rates": {"updates": [(20, 0.1)]}},
        "preview": np.random.default_rng(0).random((1, 12, 12)).astype("float32"), "preview_every": 9, "plots": False,
    }  # fmt: skip
    whole = classifier("whole", 0.3, "train")
    Trainer(whole, Squares(), n_steps=41, workers=2, folder=tmp_path / "whole", **options).run()
    model = classifier("parts", 0.3, "train")
    Trainer(model, Squares(), n_steps=17, folder=tmp_path / "parts", **options).run()
    older = {"checkpoint": tmp_path / "parts" / "parts-13.h5"}
    for n, place in ((18, older), (41, {})):
        trainer = Trainer.resume(tmp_path / "parts", Squares(), n_steps=n, **place, **options)
        trainer.run()
    assert same(parameters(whole), parameters(trainer.model))
    first, second = read(tmp_path / "whole"), read(tmp_path / "parts")
    for column in ("step", "loss", "loss_smooth", "lr", "train_error", "val_loss", "val_error"):
        np.testing.assert_array_equal(first[column], second[column])


def test_validations_and_files_do_not_affect_training(tmp_path):
    plain = classifier("plain", 0.3)
    Trainer(plain, Squares(), n_steps=20).run()
    watched = classifier("watched", 0.3)
    Trainer(
        watched, Squares(), n_steps=20, validation=Squares(1), validate_every=3, folder=tmp_path, keep_every=4,
        preview=np.zeros((1, 12, 12), "float32"), preview_every=5, workers=2, checkpoint_minutes=0,
    ).run()  # fmt: skip
    assert same(parameters(plain), parameters(watched))


def test_arrays_and_iterators_are_data(tmp_path):
    raw, labels = (np.concatenate(parts) for parts in zip(*map(Squares().batch, range(10)), strict=True))
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["raw"], file["labels"] = raw, labels
        a, b = classifier("a"), classifier("b")
        Trainer(a, (raw, labels), n_steps=10, seed=4).run()
        Trainer(b, (file["raw"], file["labels"]), n_steps=10, seed=4).run()
    assert same(parameters(a), parameters(b))
    c, d = classifier("c"), classifier("d")
    Trainer(c, Squares(), n_steps=10).run()
    Trainer(d, map(Squares().batch, range(10)), n_steps=10).run()
    assert same(parameters(c), parameters(d))


def test_a_resumed_iterator_skips_what_was_seen(tmp_path):
    whole, model = classifier("whole"), classifier("parts")
    Trainer(whole, Squares(), n_steps=8).run()
    endless = lambda: (Squares().batch(n) for n in range(100))  # noqa: E731
    Trainer(model, endless(), n_steps=3, folder=tmp_path).run()
    trainer = Trainer.resume(tmp_path, endless(), n_steps=8)
    trainer.run()
    assert same(parameters(whole), parameters(trainer.model))


def test_an_iterator_continues_in_the_next_run_of_the_same_trainer():
    whole, model = classifier("whole"), classifier("parts")
    Trainer(whole, Squares(), n_steps=8).run()
    trainer = Trainer(model, (Squares().batch(n) for n in range(8)), n_steps=3)
    trainer.run()
    trainer.n_steps = 8
    trainer.run()
    assert same(parameters(whole), parameters(model))


def test_data_that_ends_says_so(trained, tmp_path):
    trainer = Trainer(trained, map(Squares().batch, range(3)), n_steps=10, folder=tmp_path, name="net")
    with pytest.raises(errors.ArgumentError, match="the data has ended") as caught:
        trainer.run()
    assert any("after step 3" in note for note in caught.value.__notes__)
    assert nm.modelload(tmp_path / "net-last.h5").training_state["step"] == 3


def test_time_limit_counts_all_runs(trained, tmp_path):
    result = Trainer(trained, Squares(), minutes=0.002, folder=tmp_path, name="net").run()
    assert result.reason == "time"
    assert result.seconds >= 0.12
    again = Trainer.resume(tmp_path, Squares(), minutes=0.002).run()
    assert (again.reason, again.steps) == ("time", result.steps)
    assert nm.modelload(tmp_path / "net-final.h5").training_state["step"] == result.steps


def test_early_stopping_and_the_best_checkpoint(trained, tmp_path):
    values = iter([3.0, 2.0, 2.5, 2.1, 2.2, 1.0])
    stopping = EarlyStopping("val_made_up", patience=2)
    result = Trainer(
        trained, Squares(), validation=Squares(1), validate_every=2, n_validation=1, folder=tmp_path, n_steps=100,
        name="net", metrics={"made_up": lambda p, labels: next(values)},
        early_stopping=stopping,
    ).run()  # fmt: skip
    assert (result.reason, result.steps, result.best, result.best_step) == ("early stopping", 10, 2.0, 4)
    assert nm.modelload(tmp_path / "net-best.h5").training_state["step"] == 4
    assert result.validation["val_made_up"] == 2.2
    assert np.isnan(stopping.best)


def test_nan_stops_and_keeps_the_last_good_state(tmp_path):
    model = classifier()
    trainer = Trainer(model, Squares(spoil=7), n_steps=20, folder=tmp_path, checkpoint_minutes=0)
    with pytest.raises(errors.TrainingError, match=r"step 7.*1 values not finite.*net-last.h5") as caught:
        trainer.run()
    assert isinstance(caught.value, RuntimeError)
    assert all(np.isfinite(p).all() for p in parameters(model))
    loaded = nm.modelload(tmp_path / "net-last.h5")
    assert loaded.training_state["step"] == 7
    resumed = Trainer.resume(tmp_path, Squares(), n_steps=20)
    assert resumed.run().steps == 20


@pytest.mark.parametrize("spoil", [0, 4])
def test_after_nan_running_statistics_are_finite_too(spoil):
    model, twin = classifier("net", 0.2, "train"), classifier("twin", 0.2, "train")
    with pytest.raises(errors.TrainingError, match=rf"step {spoil}.*conv_mean.*those after {max(0, spoil - 2)} steps"):
        Trainer(model, Squares(spoil=spoil), n_steps=20).run()
    if spoil:
        Trainer(twin, Squares(), n_steps=spoil - 2).run()
    assert same(parameters(model), parameters(twin))
    assert np.isfinite(model.loss_smooth)


def test_parameters_that_no_rollback_repairs_come_from_the_last_checkpoint(tmp_path):
    trainer = Trainer(classifier(), Squares(), n_steps=2, folder=tmp_path)
    trainer.run()
    good = parameters(trainer.model)
    for optimiser in trainer.model.optimisers.values():
        optimiser.params[0].set_value(np.full_like(optimiser.params[0].get_value(), np.nan))
    for step in range(KEPT_PARAMETER_SETS):
        trainer.model.trainingstep(*Squares().batch(step), optimiser="Adam")
    trainer.n_steps = 4
    with pytest.raises(errors.TrainingError, match=r"now those of .*net-last\.h5"):
        trainer.run()
    assert same(good, parameters(trainer.model))


def test_parameters_that_are_not_finite_are_not_saved(tmp_path):
    trainer = Trainer(classifier(), Squares(), n_steps=2, folder=tmp_path)
    trainer.run()
    before = (tmp_path / "net-last.h5").read_bytes()
    conv = trainer.model["conv"]
    conv.params["b"].set_value(np.full_like(conv.params["b"].get_value(), np.nan))
    with pytest.raises(errors.TrainingError, match="conv_b"):
        trainer.checkpoint()
    assert (tmp_path / "net-last.h5").read_bytes() == before


@contextmanager
def full_disk(size):
    """Context in which no file may grow beyond a size."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [0, 10_000])
def test_a_full_disk_leaves_the_old_checkpoint(trained, tmp_path, size):
    trainer = Trainer(trained, Squares(), n_steps=4, folder=tmp_path, history_every=100, name="net")
    trainer.run()
    before = (tmp_path / "net-last.h5").read_bytes()
    trainer.n_steps = 6
    with pytest.raises(errors.FileError, match=r"net-last\.h5.*File too large"), full_disk(size):
        trainer.run()
    assert (tmp_path / "net-last.h5").read_bytes() == before
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]
    trainer.checkpoint()
    assert nm.modelload(tmp_path / "net-last.h5").training_state["step"] == 6


@pytest.mark.parametrize("name", ["history.csv", "history.h5", "history.png", "preview-3.h5", "preview-3.png"])
def test_a_full_disk_is_noticed_by_every_file(trained, tmp_path, monkeypatch, name):
    options = {"preview": np.zeros((1, 12, 12), "float32"), "preview_every": 3, "history_every": 3}
    trainer = Trainer(trained, Squares(), n_steps=3, folder=tmp_path, name="net", **options)
    trainer.open_folder()
    write_bytes, path_open = Path.write_bytes, Path.open

    def fails(path):
        if name in path.name:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", lambda path, data: (fails(path), write_bytes(path, data))[1])
    monkeypatch.setattr(Path, "open", lambda path, *a, **k: (fails(path), path_open(path, *a, **k))[1])
    with pytest.raises(errors.FileError, match=rf"{name}.*No space left"):
        trainer.run()
    monkeypatch.undo()
    assert nm.modelload(tmp_path / "net-last.h5").training_state["step"] == 3
    again = Trainer.resume(tmp_path, Squares(), n_steps=5, **options)
    assert again.run().steps == 5
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_remains_of_a_killed_process_are_removed(trained, tmp_path):
    for name in (".net-last.h5.0f.tmp", ".history.csv.77.tmp"):
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / ".net2-last.h5.0f.tmp").write_bytes(b"of another training")
    Trainer(trained, Squares(), n_steps=1, folder=tmp_path, plots=False, name="net").run()
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == [".net2-last.h5.0f.tmp"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_requests_to_end(trained, tmp_path, number):
    class Interrupts(Squares):
        def batch(self, step):
            if step == 3:
                signal.raise_signal(number)
            return super().batch(step)

    before = signal.getsignal(number)
    result = Trainer(trained, Interrupts(), n_steps=200, folder=tmp_path, ahead=0, name="net").run()
    assert result.reason == "interrupted"
    assert 3 <= result.steps < 200
    assert nm.modelload(tmp_path / "net-last.h5").training_state["step"] == result.steps
    assert signal.getsignal(number) == before


def test_the_second_request_acts_at_once():
    with pytest.raises(KeyboardInterrupt), Interruption() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.asked
        signal.raise_signal(signal.SIGINT)


def test_trains_in_another_thread(trained):
    results = []
    trainer = Trainer(trained, Squares(), n_steps=2)
    thread = threading.Thread(target=lambda: results.append(trainer.run()))
    thread.start()
    thread.join(60)
    assert results[0].steps == 2


def test_a_folder_with_a_training_is_not_overwritten(trained, tmp_path):
    Trainer(trained, Squares(), n_steps=1, folder=tmp_path, name="net").run()
    with pytest.raises(errors.ArgumentError, match=r"holds a training.*resume"):
        Trainer(trained, Squares(), n_steps=1, folder=tmp_path, name="net").run()
    Trainer(trained, Squares(), n_steps=1, folder=tmp_path, name="net", overwrite=True).run()


def test_other_data_or_optimiser_cannot_resume(trained, tmp_path):
    Trainer(trained, Squares(), n_steps=1, folder=tmp_path).run()
    with pytest.raises(errors.ArgumentError, match="another data"):
        Trainer.resume(tmp_path, Squares(5), n_steps=2)
    with pytest.raises(errors.ArgumentError, match="another optimiser"):
        Trainer.resume(tmp_path, Squares(), optimiser="SGD", n_steps=2)
    with pytest.raises(errors.FileError, match="no checkpoint"):
        Trainer.resume(tmp_path / "nowhere", Squares())
    model = classifier("untrained")
    model.save(tmp_path / "plain-last.h5")
    with pytest.raises(errors.FileError, match="not a checkpoint of a training"):
        Trainer.resume(tmp_path, Squares(), checkpoint=tmp_path / "plain-last.h5")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_steps": 0}, errors.ArgumentError, "n_steps"),
        ({"minutes": float("nan")}, errors.ArgumentError, "minutes"),
        ({"validate_every": 1.5}, errors.ArgumentError, "validate_every"),
        ({"optimiser": "Adamm"}, errors.UnknownNameError, "Adam"),
        ({"optimiser_params": {"rate": 1}}, errors.UnknownNameError, "rate"),
        ({"schedules": {"lrr": {"dec": 0.9}}}, errors.UnknownNameError, "lr"),
        ({"metrics": {"a": max}}, errors.ArgumentError, "validation data"),
        ({"validation": Squares(), "metrics": {"loss": max}}, errors.ArgumentError, "taken"),
        ({"early_stopping": EarlyStopping()}, errors.ArgumentError, "validation data"),
        ({"validation": Squares(), "early_stopping": EarlyStopping("val_x")}, errors.ArgumentError, "val_loss"),
        ({"preview": 3}, errors.InputTypeError, "preview"),
        ({"validation": 3}, errors.InputTypeError, "training data"),
    ],
)
def test_invalid_arguments(options, error, message):
    with pytest.raises(error, match=message):
        Trainer(classifier(), Squares(), **options)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (7, errors.InputTypeError, "int|7"),
        ((np.zeros((3, 1, 10, 10)),), errors.InputTypeError, "expected 2"),
        ((np.zeros((3, 1, 10, 10)), np.zeros((4, 1, 4, 4))), errors.ShapeError, "different numbers"),
        ((np.zeros((0, 1, 10, 10)), np.zeros((0, 1, 4, 4))), errors.ShapeError, "no examples"),
    ],
)
def test_invalid_data(data, error, message):
    with pytest.raises(error, match=message):
        Trainer(classifier(), data)


def test_targets_of_a_wrong_shape_and_labels_out_of_range():
    raw = np.zeros((2, 1, 10, 10), "float32")
    with pytest.raises(errors.ShapeError, match=r"(?s)target.*4.*3"):
        Trainer(classifier("a"), (raw, np.zeros((2, 1, 3, 3), "int16")), n_steps=1).run()
    with pytest.raises(errors.ArgumentError, match="5"):
        Trainer(classifier("b"), (raw, np.full((2, 1, 4, 4), 5, "int16")), n_steps=1).run()


def test_without_a_loss():
    model = nm.model_manager.newmodel("nothing")
    with pytest.raises(errors.GraphError, match="no loss"):
        Trainer(model, Squares())


def test_progress_is_silent_unless_asked(trained, capsys):
    Trainer(trained, Squares(), n_steps=2).run()
    assert capsys.readouterr() == ("", "")
    Trainer(trained, Squares(), n_steps=2, validation=Squares(1), progress=True).run()
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("step 2/2", "loss", "it/s", "MVx/s", "val_error", "ended: steps"))
