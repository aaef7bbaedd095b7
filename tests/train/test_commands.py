"""Commands to a running training: a file in its folder, and a menu on a terminal."""

from __future__ import annotations

import io
import os
import signal
import threading
import time

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.train import Trainer, commands
from neuromancer.train.stopping import Interruption
from tests.train.nets import Squares, classifier, line, parameters, points

DATA = points()
LR = {"optimiser_params": {"lr": 0.01}}


class Acting:
    """Points of a line; functions are called when the batch of their step is asked for."""

    fresh = True

    def __init__(self, actions):
        self.actions = actions

    def batch(self, step):
        self.actions.get(step, lambda: None)()
        return DATA[0][:4], DATA[1][:4]


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(commands, "POLL", -1.0)


def run(folder, texts, n_steps=9, model=None, **options):
    """Train; `texts` are written to the file of commands when the batch of their step is asked for, one ahead."""
    writes = {step: lambda text=text: (folder / "commands.txt").write_text(text) for step, text in texts.items()}
    options = {"plots": False, "history_every": 1, "ahead": 0, **LR, **options}
    trainer = Trainer(model or line("told"), Acting(writes), n_steps=n_steps, folder=folder, **options)
    return trainer, trainer.run()


def log_of(folder):
    return (folder / "commands.log").read_text().splitlines()


def test_a_file_changes_the_rate_and_is_removed(tmp_path):
    trainer, result = run(tmp_path, {4: "lr 1e-4\n# a remark\n\nmom=0.5\n"})
    assert result.reason == "steps" and not (tmp_path / "commands.txt").exists()
    rates = trainer.history["lr"].tolist()
    changed = next(k for k, rate in enumerate(rates) if rate < 0.005)
    np.testing.assert_allclose(rates, [0.01] * changed + [1e-4] * (9 - changed), rtol=1e-6)
    assert log_of(tmp_path)[0].endswith("lr 1e-4: lr is 0.0001") and log_of(tmp_path)[1].endswith("mom is 0.5")
    assert trainer.model.mom == 0.5


BAD = """lr
lr fast
lr -3
lr nan
lr 1e400
learningrate 3
jump
preview
\x00\xff
dropout_rates 0.5
"""


def test_bad_lines_are_reported_and_end_nothing(tmp_path):
    trainer, result = run(tmp_path, {4: BAD})
    assert result.steps == 9 and set(trainer.history["lr"]) == {np.float32(0.01)}
    lines = log_of(tmp_path)
    assert len(lines) == 10 and all(": refused: " in text for text in lines)
    assert lines[2].partition("refused: ")[2].startswith("'lr': lr cannot have this value")
    assert "nearest valid: lr" in lines[5] or "expected one of ['lr'" in lines[5]


def test_a_line_that_is_being_written_is_obeyed_when_it_is_whole(tmp_path):
    file = commands.CommandFile(tmp_path)
    file.path.write_text("lr 1")
    assert file.lines() == []
    file.path.write_text("lr 1e-5\n")
    assert file.lines() == ["lr 1e-5"]
    file.path.write_text("save")  # written without an end of the line
    assert file.lines() == [] and file.lines() == ["save"]


def test_what_cannot_be_read_is_reported_once(tmp_path, capsys):
    trainer, result = run(tmp_path, {3: ""}, progress=True)
    assert result.steps == 9 and (tmp_path / "commands.txt").exists()
    (tmp_path / "commands.txt").unlink()
    (tmp_path / "commands.txt").mkdir()
    trainer.n_steps = 14
    assert trainer.run().steps == 14
    assert capsys.readouterr().out.count("the commands cannot be read") == 1


def test_save_preview_and_stop(tmp_path):
    model = classifier("told pictures")

    class Telling(Squares):
        def batch(self, step):
            if step == 2:
                (tmp_path / "commands.txt").write_text("save\npreview\nstop")
            return super().batch(step)

    preview = {"preview": np.zeros((1, 12, 12), "float32"), "preview_every": 40}
    result = Trainer(model, Telling(), n_steps=50, folder=tmp_path, plots=False, ahead=0, **preview).run()
    assert result.reason == "interrupted" and result.steps <= 4
    assert (tmp_path / f"preview-{result.steps}.h5").exists()
    assert nm.modelload(tmp_path / "told pictures-last.h5").training_state["step"] == result.steps
    assert not (tmp_path / "told pictures-final.h5").exists()


def test_a_scheduled_rate_goes_on_scaled_and_a_resumed_run_keeps_it(tmp_path):
    options = {"schedules": {"lr": nm.CosineSchedule(20, start=0.01)}, "optimiser_params": {"mom": 0.8}}
    trainer, _ = run(tmp_path, {4: "lr 1e-3\nmom 0.5"}, **options)
    kept = trainer.live.changes
    assert kept["mom"] == {"given": 0.8, "value": 0.5} and 0 < kept["lr"]["scale"] < 0.5
    again = Trainer.resume(tmp_path, Acting({}), n_steps=12, plots=False, history_every=1, **options)
    again.run()
    expected = nm.CosineSchedule(20, start=0.01).value(11) * kept["lr"]["scale"]
    assert again.history["lr"][-1] == pytest.approx(expected, rel=1e-5) and again.model.mom == 0.5
    other = {"schedules": {"lr": nm.CosineSchedule(20, start=0.02)}, "optimiser_params": {"mom": 0.7}}
    third = Trainer.resume(tmp_path, Acting({}), n_steps=13, plots=False, history_every=1, **other)
    third.run()
    assert third.history["lr"][-1] == pytest.approx(nm.CosineSchedule(20, start=0.02).value(12), rel=1e-5)
    assert third.model.mom == pytest.approx(0.7)


def test_a_schedule_that_is_0_or_would_leave_its_range_is_not_scaled(tmp_path):
    options = {
        "schedules": {"lr": nm.StepSchedule([(1, 0.0)], start=0.1), "mom": nm.LinearSchedule(20, 0.9, start=0.1)}
    }
    trainer, _ = run(tmp_path, {4: "lr 1e-3\nmom 0.8"}, optimiser_params={}, **options)
    assert "cannot be scaled" in log_of(tmp_path)[0] and "0 <= value < 1" in log_of(tmp_path)[1]
    assert trainer.live.changes == {} and trainer.schedules[1].scale == 1


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """Standard streams that say they are a terminal; returns a function that sets what is typed."""

    def typed(*lines):
        shown = Terminal()
        monkeypatch.setattr("sys.stderr", shown)
        monkeypatch.setattr("sys.stdin", Terminal("".join(f"{text}\n" for text in lines)))
        return shown

    return typed


def press(step):
    return {step: lambda: os.kill(os.getpid(), signal.SIGINT)}


def interrupted(tmp_path, actions=None, n_steps=8):
    data = Acting(press(3) if actions is None else actions)
    options = {"plots": False, "ahead": 0, "progress": False, "history_every": 1, **LR}
    trainer = Trainer(line("asked"), data, n_steps=n_steps, folder=tmp_path, **options)
    return trainer, trainer.run()


def test_the_menu_changes_values_and_goes_on(tmp_path, terminal):
    shown = terminal("help", "lr=1e-5", "svae", "save", "")
    trainer, result = interrupted(tmp_path)
    assert (result.reason, result.steps) == ("steps", 8) and trainer.model.lr == pytest.approx(1e-5)
    text = shown.getvalue()
    assert "pauses after step" in text and "nearest valid: save" in text and "saved" in text and "lr is 1e-05" in text


def test_the_menu_ends(tmp_path, terminal):
    terminal("end")
    _, result = interrupted(tmp_path)
    assert result.reason == "interrupted" and result.steps < 8
    assert (tmp_path / "asked-last.h5").exists() and not (tmp_path / "asked-final.h5").exists()


def test_the_menu_kills_without_saving(tmp_path, terminal):
    terminal("kill")
    with pytest.raises(KeyboardInterrupt):
        interrupted(tmp_path)
    assert not (tmp_path / "asked-last.h5").exists()


def test_the_next_interrupt_is_asked_again_and_one_in_the_menu_ends_at_once(tmp_path, terminal, monkeypatch):
    shown = terminal("continue")
    again = Terminal()
    again.readline = lambda: os.kill(os.getpid(), signal.SIGINT)
    actions = press(2) | {5: lambda: (monkeypatch.setattr("sys.stdin", again), os.kill(os.getpid(), signal.SIGINT))}
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        interrupted(tmp_path, actions)
    assert shown.getvalue().count("pauses after step") == 2
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("number", Interruption.SIGNALS[1:])
def test_a_signal_that_ends_the_process_saves_also_in_the_menu(tmp_path, terminal, monkeypatch, number):
    terminal()
    waiting = Terminal()
    waiting.readline = lambda: signal.raise_signal(number)
    monkeypatch.setattr("sys.stdin", waiting)
    before = signal.getsignal(number)
    _, result = interrupted(tmp_path)
    assert result.reason == "interrupted" and (tmp_path / "asked-last.h5").exists()
    assert signal.getsignal(number) is before


def test_a_closed_terminal_ends_the_menu(tmp_path, terminal, monkeypatch):
    terminal()
    closed = Terminal()

    def fail():
        raise OSError(5, "Input/output error")

    closed.readline = fail
    monkeypatch.setattr("sys.stdin", closed)
    assert interrupted(tmp_path)[1].reason == "interrupted"


def test_a_pause_does_not_count_as_time(tmp_path, terminal, monkeypatch):
    terminal("")
    slow = Terminal()
    slow.readline = lambda: time.sleep(0.5) or "continue\n"
    monkeypatch.setattr("sys.stdin", slow)
    began = time.perf_counter()
    trainer, result = interrupted(tmp_path)
    assert trainer.step == 8 and result.seconds < time.perf_counter() - began - 0.4


def test_without_a_terminal_and_on_sigterm_it_ends(tmp_path, terminal, monkeypatch):
    terminal("")
    _, result = interrupted(tmp_path / "term", {3: lambda: os.kill(os.getpid(), signal.SIGTERM)})
    assert result.reason == "interrupted"
    monkeypatch.setattr("sys.stdin", io.StringIO("continue\n"))
    _, result = interrupted(tmp_path / "none")
    assert result.reason == "interrupted"
    monkeypatch.setattr("sys.stdin", None)
    assert not commands.has_terminal()


def test_other_threads_have_no_menu(tmp_path):
    results = []
    thread = threading.Thread(target=lambda: results.append(interrupted(tmp_path, {})[1]))
    thread.start()
    thread.join()
    assert results[0].reason == "steps"


def test_commands_do_not_affect_the_trajectory(tmp_path):
    told, _ = run(tmp_path / "a", {2: "save", 5: "jump"}, model=line("one"))
    plain, _ = run(tmp_path / "b", {}, model=line("two"))
    for a, b in zip(parameters(told.model), parameters(plain.model), strict=True):
        np.testing.assert_array_equal(a, b)
