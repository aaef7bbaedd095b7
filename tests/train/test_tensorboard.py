"""Event files: read back by TensorBoard's own reader."""

from __future__ import annotations

import errno

import numpy as np
import pytest

import neuromancer as nm
from neuromancer import errors
from neuromancer.train import Trainer, tensorboard
from tests.train.nets import Squares, classifier, line, points

pytest.importorskip("tensorboard")


def read(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(folder / "tensorboard"))
    reader.Reload()
    return reader


def curve(reader, name):
    return [(event.step, event.value) for event in reader.Scalars(name)]


def test_the_history_previews_and_settings_are_there(tmp_path):
    preview = np.random.default_rng(0).random((1, 14, 15)).astype("float32")
    trainer = Trainer(
        classifier("seen"), Squares(), validation=Squares(1), validate_every=4, n_validation=1, history_every=2,
        n_steps=8, folder=tmp_path, tensorboard=True, preview={"corner": preview}, preview_every=4, ema=0.9,
        schedules={"lr": nm.DecaySchedule(0.5, every=3, start=0.01)},
    )  # fmt: skip
    result = trainer.run()
    reader = read(tmp_path)
    assert result.files["tensorboard"] == tmp_path / "tensorboard"
    for name in ("loss", "loss_smooth", "lr", "val_loss", "val_error", "train_error"):
        rows = [row for row in zip(trainer.history["step"], trainer.history[name], strict=True) if np.isfinite(row[1])]
        np.testing.assert_allclose(curve(reader, name), rows, rtol=1e-6)
    speeds = {name: dict(curve(reader, name)) for name in ("steps_per_second", "voxels_per_second", "step_time")}
    assert speeds["voxels_per_second"][4] == pytest.approx(200 * speeds["steps_per_second"][4], rel=1e-5)
    assert [image.step for image in reader.Images("corner")] == [4, 8] and reader.Images("batch")[0].step == 0
    assert reader.Images("corner")[1].encoded_image_string == (tmp_path / "corner-8.png").read_bytes()
    assert reader.Images("corner")[1].width > reader.Images("corner")[1].height > 100
    content = str(reader.SummaryMetadata("_hparams_/session_start_info").plugin_data.content)
    assert "optimiser" in content and "Adam" in content and "ema" in content and "DecaySchedule" in content


def test_a_resumed_run_continues_the_curves(tmp_path):
    options = {"folder": tmp_path, "tensorboard": True, "plots": False, "history_every": 1}
    trainer = Trainer(line("continued"), points(), n_steps=6, **options)
    trainer.run()
    older = tmp_path / "older.h5"
    older.write_bytes((tmp_path / "continued-last.h5").read_bytes())
    Trainer.resume(tmp_path, points(), n_steps=10, **{k: v for k, v in options.items() if k != "folder"}).run()
    again = Trainer.resume(
        tmp_path, points(), n_steps=8, checkpoint=older, **{k: v for k, v in options.items() if k != "folder"}
    )
    again.run()
    # What the second run wrote after step 6 is purged by the third, which went another way from there.
    rows = list(zip(again.history["step"].tolist(), again.history["loss"].tolist(), strict=True))
    assert len(rows) == 8 and len(list((tmp_path / "tensorboard").iterdir())) == 3
    np.testing.assert_allclose(curve(read(tmp_path), "loss"), rows, rtol=1e-6)


def test_a_run_that_has_nothing_left_to_do(tmp_path):
    options = {"tensorboard": True, "preview": np.zeros((1, 12, 12), "float32"), "preview_every": 9}
    Trainer(classifier("done"), Squares(), n_steps=2, folder=tmp_path, **options).run()
    assert Trainer.resume(tmp_path, Squares(), n_steps=2, **options).run().steps == 2
    assert {image.step for image in read(tmp_path).Images("preview")} == {2}


def test_other_files_are_refused_unless_they_may_be_overwritten(tmp_path):
    options = {"n_steps": 2, "folder": tmp_path, "tensorboard": True, "plots": False, "history_every": 1}
    (tmp_path / "tensorboard").mkdir()
    (tmp_path / "tensorboard" / "events.out.tfevents.1.of.another").write_bytes(b"")
    with pytest.raises(errors.ArgumentError, match=r"would replace.*tfevents"):
        Trainer(line("refused"), points(), **options).run()
    Trainer(line("over"), points(), overwrite=True, **options).run()
    assert [step for step, _ in curve(read(tmp_path), "loss")] == [1, 2]


def test_a_full_disk_is_an_error_that_names_the_file_and_the_state_is_saved(tmp_path, monkeypatch):
    options = {"n_steps": 5, "folder": tmp_path, "tensorboard": True, "plots": False, "history_every": 1}
    trainer = Trainer(line("full"), points(), **options)
    write = tensorboard.EventLog._add

    def fails(log, **fields):
        if fields.get("step") == 3:
            log._records.write = lambda data: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device"))
        write(log, **fields)

    monkeypatch.setattr(tensorboard.EventLog, "_add", fails)
    with pytest.raises(errors.FileError, match=r"events.out.tfevents.*No space left"):
        trainer.run()
    assert nm.modelload(tmp_path / "full-last.h5").training_state["step"] == 3


def test_without_the_package_and_without_a_folder(tmp_path, monkeypatch):
    with pytest.raises(errors.ArgumentError, match="tensorboard has no effect without folder"):
        Trainer(line("nowhere"), points(), n_steps=1, tensorboard=True)
    monkeypatch.setattr(tensorboard, "find_spec", lambda name: None)
    with pytest.raises(errors.MissingDependencyError, match=r"neuromancer-graph\[tensorboard\]"):
        Trainer(line("missing"), points(), n_steps=1, tensorboard=True, folder=tmp_path)
