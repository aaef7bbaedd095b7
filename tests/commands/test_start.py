"""Start-up: command lines import what they need, when they need it, and Ctrl-C meanwhile is silent."""

from __future__ import annotations

import signal
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

import neuromancer as nm
from neuromancer.commands import volumes as cli
from neuromancer.commands.interrupts import ending_at_once
from neuromancer.dense.sliding_window import CONVENTIONS, WEIGHTS

HEAVY = {"llvmlite", "numba", "PIL", "psutil", "pydot", "pytensor", "scipy", "theano", "tifffile", "torch", "zarr"}
ROOT = Path(nm.__file__).parents[1]

IMPORTED = """
import sys
before = set(sys.modules)
from neuromancer.commands import start
sys.argv[:2] = ["program"]
try:
    start.{entry}()
finally:
    own = {{name.partition(".")[0] for name in set(sys.modules) - before}}
    print("\\nIMPORTED", *sorted(own - set(sys.stdlib_module_names)))
"""

INTERRUPTED = """
import signal, sys
from neuromancer.commands import start

at, sys.argv[:2] = sys.argv[1], ["program"]

class Interrupt:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == at:
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Interrupt)
start.{entry}()
"""


def python(script, entry, *arguments):
    return subprocess.run(
        [sys.executable, "-c", script.format(entry=entry), *arguments], capture_output=True, text=True, cwd=ROOT
    )


def imported(entry, *arguments):
    """Return the packages outside the standard library that a command line imports."""
    done = python(IMPORTED, entry, "", *arguments)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:]) - {"neuromancer"}


@pytest.fixture
def model(fresh_model, tmp_path):
    raw = nm.Input((1, 1, 9, 9), "b,f,y,x", name="raw", print_repr=False)
    fresh_model.designate_nodes("raw", prediction_node=nm.Conv(raw, 2, (3, 3), print_repr=False))
    fresh_model.save(tmp_path / "model.h5")
    return str(tmp_path / "model.h5")


@pytest.mark.parametrize(
    ("entry", "arguments"),
    [
        ("volumes", ["--help"]),
        ("volumes", ["--version"]),
        *[("volumes", [command, "--help"]) for command in cli.COMMANDS],
        ("train", ["--help"]),
        ("convert", ["--help"]),
    ],
)
def test_help_imports_nothing(entry, arguments):
    assert not imported(entry, *arguments)


def test_completion_imports_what_writes_it():
    assert imported("volumes", "--completion", "bash") == {"shtab"}


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_info_imports_what_reads_the_file(model, options):
    found = imported("volumes", "info", model, *options)
    assert {"h5py", "numpy"} <= found and not found & HEAVY


def test_the_package_imports_nothing():
    script = "import sys, neuromancer; print({'numpy', 'torch', 'pytensor'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_entry_points_exist():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert set(scripts) == {"neuromancer", "neuromancer-train", "neuromancer-convert"}
    for place in scripts.values():
        module, _, name = place.partition(":")
        assert callable(getattr(import_module(module), name))


def test_choices_are_those_of_the_library(capsys):
    with pytest.raises(SystemExit):
        cli.main(["predict", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for option, choices in (("--convention", CONVENTIONS), ("--weights", WEIGHTS)):
        assert f"{option} {{{','.join(choices)}}}" in text


@pytest.mark.parametrize(
    ("at", "entry", "arguments"),
    [
        ("neuromancer.commands.volumes", "volumes", ["--help"]),
        ("argparse", "volumes", ["--help"]),
        ("neuromancer.commands.console", "train", ["--help"]),
        ("neuromancer.progress", "convert", ["--help"]),
        ("neuromancer.io.summary", "volumes", ["info", "MODEL"]),
        ("numpy", "volumes", ["info", "MODEL"]),
        ("h5py", "volumes", ["info", "MODEL"]),
        ("torch", "volumes", ["plan", "MODEL", "9", "9"]),
        ("torch.nn", "train", ["config.py"]),
        ("pytensor.tensor", "convert", ["old.mdl", "new.h5"]),
        ("neuromancer.dense.plan", "volumes", ["predict", "MODEL", "a", "b", "--reduce", "argmin"]),
        ("neuromancer.interop.export", "volumes", ["import", "a.onnx", "b.h5"]),
    ],
)
def test_an_interrupt_during_imports_is_silent(model, at, entry, arguments):
    done = python(INTERRUPTED, entry, at, *(a.replace("MODEL", model) for a in arguments))
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_interrupts_are_handled_as_before_afterwards():
    before = signal.getsignal(signal.SIGINT)
    try:
        for handler in (signal.SIG_IGN, signal.default_int_handler):
            signal.signal(signal.SIGINT, handler)
            with ending_at_once():
                changed = signal.getsignal(signal.SIGINT) is not handler
            assert changed == (handler is signal.default_int_handler) and signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)
