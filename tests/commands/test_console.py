"""Shared parts of the commands: streams, one-line error messages, and the exit status."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys

import pytest

import neuromancer as nm
from neuromancer.commands import console
from neuromancer.commands import convert as convert
from neuromancer.commands import train as train
from neuromancer.errors import FileError, UnknownNameError
from neuromancer.progress import say, voxel_bar


class Stream(io.StringIO):
    """Stream whose flush fails, as for a broken pipe or a full disk."""

    encoding = "ascii"

    def __init__(self, error=None):
        super().__init__()
        self.error = error

    def flush(self):
        if self.error is not None:
            raise self.error


def test_text_for_any_stream(monkeypatch):
    for error in (None, BrokenPipeError(32, "Broken pipe")):
        monkeypatch.setattr(sys, "stdout", Stream(error))
        say("räw × ü\ud800", flush=True)
        assert sys.stdout.getvalue() == "r\\xe4w \\xd7 \\xfc\\ud800\n"
    monkeypatch.setattr(sys, "stdout", Stream(OSError(28, "No space left on device")))
    with pytest.raises(FileError, match="'standard output': cannot be written; got No space left"):
        say("text", flush=True)
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    say("nobody listens")
    console.tell("nobody listens")
    with voxel_bar(10, "no\x1bname", show=True) as bar:
        bar.update(1)


def run(command, capsys):
    status = console.run("program", command)
    return status, capsys.readouterr().err


def test_every_error_is_one_line(capsys, monkeypatch):
    def fail(error):
        def command():
            raise error

        return command

    noted = FileError("cannot be read", node="no\nde")
    noted.add_note("in a\x1b tile")
    assert run(fail(noted), capsys) == (1, "program: 'no\\nde': cannot be read\n  in a\\x1b tile\n")
    assert run(fail(UnknownNameError("no such node", got="x")), capsys) == (1, "program: no such node; got x\n")
    assert run(fail(MemoryError()), capsys) == (1, "program: not enough memory\n")
    assert run(fail(KeyboardInterrupt()), capsys) == (130, "program: interrupted\n")
    status, text = run(fail(ZeroDivisionError("https://user:word@host\n\x1b")), capsys)
    assert status == 1 and text.count("\n") == 1 and "unexpected error, please report" in text
    assert "ZeroDivisionError: https://***@host" in text and "test_console.py" in text and text[:-1].isprintable()
    monkeypatch.setenv("NEUROMANCER_DEBUG", "1")
    address = "https://user:" + "word@host"
    status, text = run(fail(ZeroDivisionError(address)), capsys)
    assert "Traceback" in text and "ZeroDivisionError: https://***@host" in text and "word@host" not in text
    assert run(lambda: 3, capsys) == (3, "")


def test_termination_ends_as_an_interrupt(capsys):
    before = signal.getsignal(signal.SIGTERM)
    assert run(lambda: signal.raise_signal(signal.SIGTERM), capsys) == (130, "program: interrupted\n")
    assert signal.getsignal(signal.SIGTERM) is before


def test_termination_within_exec_ends_with_the_same_status():
    """Libraries call exec while they are imported."""
    script = """
import signal
from neuromancer.commands.console import end_with, run

end_with(lambda: run("program", lambda: exec("signal.raise_signal(signal.SIGTERM)")))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (130, "program: interrupted\n")


@pytest.mark.skipif(os.name != "posix", reason="ends by a signal")
def test_interrupt_while_the_interpreter_shuts_down():
    """Libraries tidy up after the command; an interrupt there says nothing and ends the process."""
    script = """
import atexit, signal
from neuromancer.commands.console import end_with

atexit.register(signal.raise_signal, signal.SIGINT)
end_with(lambda: 0)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


def test_status_of_the_process(monkeypatch):
    monkeypatch.setattr(signal, "signal", lambda *arguments: None)  # this process goes on

    def interrupted():
        raise KeyboardInterrupt

    for main, status in ((lambda: 3, 3), (interrupted, console.INTERRUPTED)):
        with pytest.raises(SystemExit) as ended:
            console.end_with(main)
        assert ended.value.code == status


def test_wrong_usage_shows_arguments_safely(capsys):
    for main in (convert.main, train.main):
        with pytest.raises(SystemExit) as ended:
            main(["a", "b", "c\x1b[2J", "https://user:word@host"])
        text = capsys.readouterr().err
        assert ended.value.code == 2 and "c\\x1b[2J" in text and "https://***@host" in text


@pytest.mark.skipif(os.name != "posix", reason="closes standard streams by a shell")
def test_closed_standard_streams(tmp_path):
    """No file gets the descriptor of a closed stream, so nothing is printed into a file."""
    model = nm.model_manager.current
    node = nm.Conv(nm.Input((None, 1, 5), "b,f,x", name="räw", print_repr=False), 1, (3,), print_repr=False)
    model.designate_nodes(node.input_nodes[0], prediction_node=node)
    model.save(tmp_path / "model.h5")
    command = f"{sys.executable} -m neuromancer.commands.volumes info {tmp_path}/model.h5"
    script = f"{command} | true; echo ${{PIPESTATUS[0]}}; {command} <&- >&- 2>&-; echo $?"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("0\n0\n", "")


def test_configurations_that_fail(tmp_path, capsys):
    texts = {
        "raises": "1 / 0",
        "syntax": "def",
        "model": "def create_model():\n    raise KeyError('x')\ndata = [1]",
        "none": "def create_model():\n    return None\ndata = [1]",
        "data": "from neuromancer import model_manager\ndef create_model():\n    return model_manager.newmodel(None)\n"
        "def create_data(model):\n    return 1 / 0",
    }
    for name, text in texts.items():
        path = tmp_path / f"{name}.py"
        path.write_text(text)
        assert train.main([str(path), "--quiet"]) == console.FAILED
        error = capsys.readouterr().err
        assert error.startswith("neuromancer-train: ") and (f"{name}.py" in error or "not a model" in error)
        assert "unexpected" not in error
    for name in ("a" * 300, "no\0name", "", str(tmp_path)):
        assert train.main([name, "--quiet"]) == console.FAILED
        assert convert.main([name, str(tmp_path / "new.h5")]) == console.FAILED
        assert "unexpected" not in capsys.readouterr().err
