"""Configuration files and the command that runs them."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest

import neuromancer as nm
from neuromancer import errors
from neuromancer.commands.train import main, program
from neuromancer.train import Trainer
from neuromancer.train.config_file import load_config
from tests.train.nets import Squares, classifier, parameters

CONFIG = """
from tests.train import nets

OWN = 3
_also_own = 4
n_steps = 30
validate_every = 10
optimiser = "AdamW"
schedules = {"lr": {"dec": 0.5}}


def create_model():
    return nets.classifier("made", 0.2)


def create_data(model):
    return nets.Squares(), nets.Squares(1)
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "a_config.py"
    path.write_text(CONFIG)
    yield path
    sys.modules.pop("a_config", None)
    sys.path[:] = [p for p in sys.path if p != str(tmp_path)]


def test_runs_and_resumes(config, tmp_path, capsys):
    folder = tmp_path / "out"
    assert main([str(config), "--folder", str(folder), "--steps", "12"]) == 0
    assert "step 12/12" in capsys.readouterr().out
    assert (folder / "a_config.py").read_text() == CONFIG
    assert main([str(config), "--folder", str(folder), "--quiet"]) == 1
    assert "holds a training" in capsys.readouterr().err
    assert main([str(config), "--folder", str(folder), "--resume", "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    whole = classifier("whole", 0.2)
    Trainer(
        whole, Squares(), validation=Squares(1), validate_every=10, optimiser="AdamW", n_steps=30,
        schedules={"lr": {"dec": 0.5}},
    ).run()  # fmt: skip
    resumed = nm.modelload(folder / "made-final.h5")
    assert all(np.array_equal(a, b) for a, b in zip(parameters(whole), parameters(resumed), strict=True))


def test_default_folder_and_settings_on_the_command_line(config, tmp_path):
    assert main([str(config), "--set", "n_steps=2", "--set", "optimiser=SGD", "--quiet", "--minutes", "1"]) == 0
    assert nm.modelload(tmp_path / "a_config" / "made-last.h5").training_state["optimiser"] == "SGD"
    assert main([str(config), "--set", "n_steps=1", "--overwrite", "--quiet"]) == 0


def test_the_seed_is_that_of_weights_and_batches(config, tmp_path):
    config.write_text(
        CONFIG.replace("from tests.train import nets", "import numpy as np\nimport neuromancer as nm")
        .replace('return nets.classifier("made", 0.2)', MODEL)
        .replace("return nets.Squares(), nets.Squares(1)", "return DATA")
        .replace("OWN = 3", "DATA = [np.arange(40, dtype='float32').reshape(20, 2), np.ones((20, 1), 'float32')]")
        .replace("validate_every = 10", "seed = 4")
    )
    values = []
    if "made" in nm.model_manager.models:
        nm.model_manager.delmodel("made")
    for name, arguments in (("a", []), ("b", ["--seed", "4"]), ("c", ["--seed", "5"])):
        assert main([str(config), "--folder", str(tmp_path / name), "--steps", "3", "--quiet", *arguments]) == 0
        values.append(parameters(nm.modelload(tmp_path / name / "made-final.h5"))[0])
        for model in [m for m in nm.model_manager.models if m.startswith("made")]:
            nm.model_manager.delmodel(model)
    assert np.array_equal(values[0], values[1])
    assert not np.array_equal(values[0], values[2])


MODEL = """
    model = nm.model_manager.newmodel("made")
    x = nm.Input((5, 2), "b,f", name="x", print_repr=False)
    y = nm.Perceptron(x, 1, activation_func="lin", name="y", print_repr=False)
    t = nm.Input_like(y, name="t", print_repr=False)
    loss = nm.AggregateLoss(nm.SquaredLoss(y, t, print_repr=False), name="loss", print_repr=False)
    model.designate_nodes("x", "t", "loss", "y")
    return model
"""


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ("n_step = 3", errors.UnknownNameError, "n_steps"),
        (
            "import nothing_like_this",
            errors.FileError,
            rf"a_config.py:{CONFIG.count(chr(10)) + 2}.*ModuleNotFoundError",
        ),
        ("def f(:", errors.FileError, rf"a_config.py:{CONFIG.count(chr(10)) + 2}.*SyntaxError"),
        ("# \0", errors.FileError, "a_config.py': the configuration file fails; got SyntaxError"),
        ("raise SystemExit(0)", errors.FileError, rf"a_config.py:{CONFIG.count(chr(10)) + 2}.*SystemExit"),
        ("del create_model", errors.ArgumentError, "create_model"),
        ("del create_data", errors.ArgumentError, "create_data"),
    ],
)
def test_invalid_files(config, change, error, message, capsys):
    config.write_text(CONFIG + "\n" + change + "\n")
    with pytest.raises(error, match=message):
        load_config(config)
    assert main([str(config)]) == 1
    assert re.search(message, capsys.readouterr().err)


def test_no_such_file(tmp_path, capsys):
    assert main([str(tmp_path / "none.py")]) == 1
    assert "no such configuration file" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["a.py", "--steps", "x"], ["a.py", "--set", "x"]])
def test_wrong_usage(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ("", ["--steps", "3", "--set", "n_steps=4"], "n_steps.*given twice; got 4 and 3"),
        ("", ["--quiet", "--set", "progress=True"], "progress.*given twice"),
        ("", ["--set", "n_steps=1e3"], "n_steps; got 1000.0; expected a whole number"),
        ("", ["--set", "n_stepss=3"], "nearest valid: n_steps"),
        ("", ["--minutes", "nan"], "minutes"),
        ("", ["--steps", "-1"], "n_steps"),
        ("", ["--seed", "-1"], "seed"),
        ("", ["--device", "gpu"], "unknown device"),
        ("", ["--resume"], "no checkpoint in the folder"),
        ("", ["--folder", ""], "folder.*an empty path"),
        ("", ["--set", "folder=''"], "folder.*an empty path"),
        ("", ["--set", f"n_steps={'-' * 50_000}1"], "unusable n_steps"),
        ("", ["--set", f"n_steps={'(' * 5_000}1{')' * 5_000}"], "unusable n_steps"),
        ("", ["--set", f"n_steps={'9' * 5_000}"], "unusable n_steps"),
        ("", ["--set", "save_name=3"], "unusable save_name"),
        ("", ["--partial"], "partial has no effect without pretrained"),
        ("", ["--from", ""], "pretrained.*an empty path"),
        ("", ["--freeze", "conf"], "no trained parameter matches.*nearest valid: conv"),
        ("data = 3", [], "data is given twice"),
        ("validation = nets.Squares()", [], "validation data is given twice"),
        ("preview_every = 3", [], "preview_every has no effect without preview"),
        ("def create_model():\n    return 1 / 0", [], r"fails in create_model\(\).*ZeroDivisionError"),
        ("def create_model():\n    pass", [], r"create_model\(\) returned no model; got None"),
        ("def create_data(model):\n    return [][0]", [], r"fails in create_data\(\).*IndexError"),
        ("def create_data(model):\n    return iter([3])", [], "a batch must be a tuple"),
        ("def create_data(model):\n    return (1 / 0 for n in range(3))", [], r"a_config\.py:\d+.*ZeroDivisionError"),
    ],
)  # fmt: skip
def test_errors_are_reported_in_one_line(config, change, arguments, message, capsys):
    text = CONFIG.replace("validate_every = 10\n", "") if "create_data" in change else CONFIG
    config.write_text(f"{text}\n{change}\n")
    assert main([str(config), *arguments]) == 1
    printed = capsys.readouterr().err
    assert re.search(message, printed) and "Traceback" not in printed


def test_an_error_of_a_function_in_a_run_names_its_line_and_the_checkpoint(config, capsys):
    config.write_text(CONFIG + "\nmetrics = {'own': lambda prediction, *targets: 1 / 0}\n")
    assert main([str(config), "--quiet"]) == 1
    printed = capsys.readouterr().err
    assert f"a_config.py:{CONFIG.count(chr(10)) + 2}': the configuration file fails; got ZeroDivisionError" in printed
    assert "in the metric 'own'" in printed and "the state after step 10 is in" in printed


def test_an_empty_path_is_no_configuration(capsys):
    assert main([""]) == 1
    assert "an empty path" in capsys.readouterr().err


def test_a_file_named_like_the_configuration_is_not_replaced(config, tmp_path, capsys):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "a_config.py").write_text("theirs")
    assert main([str(config), "--folder", str(folder), "--quiet"]) == 1
    assert "would replace" in capsys.readouterr().err
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("a_config.py", "theirs")]


def test_resume_and_overwrite_exclude_each_other(config):
    with pytest.raises(SystemExit) as caught:
        main([str(config), "--resume", "--overwrite"])
    assert caught.value.code == 2


def test_settings_of_the_file_have_their_effect(config, tmp_path, capsys):
    config.write_text(CONFIG + f"progress = False\nfolder = {str(tmp_path)!r}\n")
    assert main([str(config), "--set", "n_steps=1", "--set", "plots=False"]) == 0
    assert capsys.readouterr().out == ""
    assert (tmp_path / "made-last.h5").exists() and config.read_text().startswith(CONFIG)


def test_the_rate_is_printed(config, tmp_path, capsys):
    config.write_text(CONFIG.replace('schedules = {"lr": {"dec": 0.5}}', ""))
    assert main([str(config), "--steps", "1", "--set", "plots=False"]) == 0
    assert "AdamW, lr 0.001 (the default of AdamW), from step 0 to 1" in capsys.readouterr().out


def test_the_first_batch_is_shown_and_nothing_is_trained(config, tmp_path, capsys):
    folder = tmp_path / "a_config"
    assert main([str(config), "--show"]) == 0
    assert str(folder / "first_batch.png") in capsys.readouterr().out
    assert [path.name for path in folder.iterdir()] == ["first_batch.png"]
    assert main([str(config), "--steps", "1", "--quiet", "--set", "plots=False"]) == 0
    config.write_text(CONFIG.replace("nets.Squares(), nets.Squares(1)", "1 / 0"))
    assert main([str(config), "--show"]) == 1


def test_fine_tuning_on_the_command_line_and_in_the_file(config, tmp_path, capsys):
    quiet = ["--set", "plots=False", "--steps"]
    assert main([str(config), "--folder", str(tmp_path / "a"), *quiet, "2", "--quiet"]) == 0
    source = tmp_path / "a" / "made-final.h5"
    tuned = ["--from", str(source), "--freeze", "conv", "--freeze", "*1_b"]
    assert main([str(config), "--folder", str(tmp_path / "b"), *quiet, "4", *tuned]) == 0
    printed = capsys.readouterr().out
    assert f"starts from the parameters of {source}" in printed and "frozen: conv_w, conv_b, conv1_b" in printed
    assert main([str(config), "--folder", str(tmp_path / "b"), *quiet, "6", *tuned, "--resume", "--quiet"]) == 0
    first, last = nm.modelload(source), nm.modelload(tmp_path / "b" / "made-final.h5")
    assert last.training_state["step"] == 6
    same = [np.array_equal(a, b) for a, b in zip(parameters(first), parameters(last), strict=True)]
    assert True in same and False in same and last.frozen == ["conv_w", "conv_b", "conv1_b"]
    # Beside the file, wherever the command is called.
    config.write_text(CONFIG + 'pretrained = "a/made-final.h5"\nfreeze = "conv"\nema = 0.9\nsave_name = "tuned"\n')
    assert main([str(config), *quiet, "4", "--quiet"]) == 0
    assert nm.modelload(tmp_path / "tuned" / "tuned-final-ema.h5").frozen == ["conv_w", "conv_b"]
    assert main([str(config), *quiet, "4", "--quiet", "--overwrite", "--from", "none.h5"]) == 1
    assert "none.h5" in capsys.readouterr().err


def test_event_files_on_the_command_line(config, tmp_path):
    pytest.importorskip("tensorboard")
    assert main([str(config), "--tensorboard", "--steps", "1", "--set", "plots=False", "--quiet"]) == 0
    assert len(list((tmp_path / "a_config" / "tensorboard").iterdir())) == 1


SLOW = """
import time
from tests.train import nets

checkpoint_minutes = 0
n_steps = 60


class Slow(nets.Squares):
    def batch(self, step):
        time.sleep(0.02)
        return super().batch(step)


def create_model():
    return nets.classifier("made", 0.2)


def create_data(model):
    return Slow()
"""


def start(config: Path, *arguments: str) -> BaseProcess:
    """Run the command in a process of its own, which prints into the file `printed` beside the configuration."""

    def command() -> None:
        sys.argv = ["neuromancer-train", str(config), *arguments]
        with (config.parent / "printed").open("w") as sys.stdout:
            program()

    # A forked process has imported everything, and computes in one thread: with more, sums differ in the last bits.
    process = get_context("fork").Process(target=command)
    process.start()
    return process


def wait_for(path: Path, process: BaseProcess, since: int = 0) -> None:
    """Wait until a process has written a file, after the time `since` in nanoseconds."""
    end = time.monotonic() + 120
    while process.is_alive() and time.monotonic() < end and not (path.exists() and path.stat().st_mtime_ns > since):
        time.sleep(0.01)
    assert path.exists()


def ended(process: BaseProcess) -> int | None:
    """Wait until a process has ended; return its status."""
    process.join(120)
    return process.exitcode


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that can be forked")
def test_a_menu_on_a_terminal(config, tmp_path):
    import pty

    config.write_text(SLOW)
    ours, theirs = pty.openpty()

    def command() -> None:
        sys.stdin, sys.stderr = (os.fdopen(os.dup(theirs), mode) for mode in ("r", "w"))
        sys.argv = ["neuromancer-train", str(config), "--folder", str(tmp_path / "out"), "--set", "plots=False"]
        program()

    process = get_context("fork").Process(target=command)
    process.start()
    wait_for(tmp_path / "out" / "made-last.h5", process)
    os.kill(process.pid, signal.SIGINT)
    shown = b""
    while b"> " not in shown:
        shown += os.read(ours, 10_000)
    assert b"pauses after step" in shown and b"lr=1e-4" in shown
    os.write(ours, b"lr=1e-7\nend\n")
    while b"lr is 1e-07" not in shown:
        shown += os.read(ours, 10_000)
    assert ended(process) == 130
    assert nm.modelload(tmp_path / "out" / "made-last.h5").lr == pytest.approx(1e-7)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that can be forked")
def test_an_interrupted_and_killed_run_ends_like_an_uninterrupted_one(config, tmp_path):
    config.write_text(SLOW)
    folder = tmp_path / "out"
    process = start(config, "--folder", str(folder))
    wait_for(folder / "made-last.h5", process)
    os.kill(process.pid, signal.SIGINT)
    assert ended(process) == 130
    assert "ended: interrupted" in (tmp_path / "printed").read_text()
    assert nm.modelload(folder / "made-last.h5").training_state["step"] < 60
    assert not (folder / "made-final.h5").exists()
    for delay in (0.1, 0.4):
        stamp = (folder / "made-last.h5").stat().st_mtime_ns
        process = start(config, "--folder", str(folder), "--resume")
        wait_for(folder / "made-last.h5", process, stamp)
        time.sleep(delay)
        process.kill()
        assert ended(process) in (-signal.SIGKILL, 0)
    for arguments in ((folder, "--resume"), (tmp_path / "whole",)):
        assert ended(start(config, "--folder", *map(str, arguments))) == 0, (tmp_path / "printed").read_text()
    assert not [p.name for p in folder.iterdir() if p.name.startswith(".")]
    resumed, whole = (nm.modelload(path / "made-final.h5") for path in (folder, tmp_path / "whole"))
    assert all(np.array_equal(a, b) for a, b in zip(parameters(whole), parameters(resumed), strict=True))
