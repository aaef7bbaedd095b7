"""The public names: imported at their first use, the same whichever is used first, and known to type checkers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import neuromancer as nm
from neuromancer import dense, errors, loss, neural, node_basic, optimiser, public, various
from neuromancer.config import config

ROOT = Path(nm.__file__).parents[1]


def run(script, *arguments):
    """Run a script in a process that has imported nothing."""
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_all_names_of_the_documented_modules_are_public():
    for module in (loss, neural, node_basic, optimiser, various):
        assert set(module.__all__) <= set(nm.__all__)
        assert all(getattr(nm, name) is getattr(module, name) for name in module.__all__)
    assert nm.__all__ is public.__all__ and len(set(nm.__all__)) == len(nm.__all__)
    assert set(nm.__all__) <= set(dir(nm)) and {"__version__", "errors", "volumes"} <= set(dir(nm))


def test_modules_are_attributes():
    assert nm.dense is dense and nm.errors is errors
    assert nm.config is config  # not the module of this name


@pytest.mark.parametrize("collecting", [True, False])
def test_garbage_is_collected_after_the_import_if_it_was_before(collecting):
    run(
        f"import gc; {'gc.enable' if collecting else 'gc.disable'}()\n"
        f"from neuromancer import Conv; assert gc.isenabled() is {collecting}"
    )


def test_unknown_names_are_errors():
    for name in ("no_such_name", "__no_such_name__"):
        with pytest.raises(AttributeError, match=f"module 'neuromancer' has no attribute '{name}'"):
            getattr(nm, name)
    with pytest.raises(ImportError):
        from neuromancer import no_such_name  # noqa: F401


@pytest.mark.parametrize(
    "script",
    [
        "from neuromancer import *; assert Conv and Trainer and config",
        "import neuromancer as nm; assert 'Conv' in dir(nm) and 'Conv' in nm.__all__",
        "import neuromancer as nm; assert nm.errors.FileError and nm.train.Trainer and nm.volumes.open_source",
        "import neuromancer.config, neuromancer as nm; assert nm.config.floatX == 'float32' and nm.Conv",
        "from neuromancer.node_basic import Input, model_manager; from neuromancer.model import Model\n"
        "Input((1, 2), 'b,f', print_repr=False); assert type(model_manager.current) is Model",
        "from neuromancer.graph.registry import model_manager\nassert model_manager.newmodel().predict",
    ],
)
def test_any_import_may_be_the_first(script):
    run(script)


def test_a_model_is_loaded_and_exported_where_nothing_else_is_imported(fresh_model, tmp_path):
    pytest.importorskip("torch")
    raw = nm.Input((1, 1, 9), "b,f,x", name="raw", print_repr=False)
    fresh_model.designate_nodes("raw", prediction_node=nm.Conv(raw, 2, (3,), print_repr=False))
    fresh_model.save(tmp_path / "model.h5")
    script = (
        "import pickle, sys; from neuromancer.models.model import Model\n"
        "print(pickle.loads(pickle.dumps(Model)).load(sys.argv[1]).to_torch().conv.out_channels)"
    )
    assert run(script, str(tmp_path / "model.h5")) == "2\n"
