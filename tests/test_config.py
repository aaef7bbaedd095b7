"""Settings, utilities, errors, and the absence of side effects on import."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import neuromancer as nm
from neuromancer import engine as E
from neuromancer import errors
from neuromancer.config import Config
from neuromancer.utils import as_floatX, as_list, pretty_string_ops, pretty_string_time

LIBRARIES = {
    "pytensor": """
import torch, pytensor
def libraries():
    return [str(torch.get_rng_state()[:5]), torch.get_num_threads(), str(torch.get_default_dtype()),
            pytensor.config.floatX, str(pytensor.config.mode), str(pytensor.config.linker)]
""",
    "theano": "def libraries(): return []",  # Theano cannot be imported before the engine has configured it
}

IMPORT_PROBE = """
import json, logging, os, random, sys, warnings
import numpy as np
def state():
    loggers = [logging.getLogger(n) for n in (None, "neuromancer", "pytensor", "torch")]
    return [[(len(l.handlers), l.level) for l in loggers], str(np.random.get_state()[1][:5]),
            str(random.getstate()[1][:5]), len(warnings.filters), str(np.geterr()), sorted(os.environ.items()),
            os.getcwd(), libraries()]
before = state()
import neuromancer
after = state()
files = [os.path.join(d, f) for d, _, fs in os.walk(os.environ["HOME"]) for f in fs]
print(json.dumps([before == after, files]))
"""


@pytest.mark.slow
def test_import_has_no_side_effects(tmp_path):
    env = {**os.environ, "HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    script = LIBRARIES[E.NAME] + IMPORT_PROBE
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
    unchanged, files = json.loads(done.stdout)
    assert unchanged
    if E.NAME != "theano":  # Theano creates a folder for compiled code
        assert files == []
    assert done.stderr == ""


def test_settings_from_the_environment(monkeypatch):
    monkeypatch.setenv("NEUROMANCER_FLOATX", "float64")
    monkeypatch.setenv("NEUROMANCER_DEVICE", "auto")
    monkeypatch.setenv("NEUROMANCER_BACKEND", "torch")
    monkeypatch.setenv("NEUROMANCER_SEED", "7")
    settings = Config()
    assert (settings.floatX, settings.device, settings.backend, settings.seed, settings.progress) == (
        "float64",
        "auto",
        "torch",
        7,
        None,
    )
    monkeypatch.setenv("NEUROMANCER_SEED", "seven")
    with pytest.raises(errors.ArgumentError, match="invalid seed"):
        Config()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("floatX", "float16"),
        ("device", "gpu"),
        ("device", 0),
        ("device", "cuda:x"),
        ("backend", "numpy"),
        ("seed", -1),
        ("seed", 1.5),
    ],
)
def test_invalid_settings(key, value):
    with pytest.raises(errors.ArgumentError, match=f"got {value}"):
        setattr(Config(), key, value)


def test_default_dtype_follows_floatx():
    nm.config.floatX = "float64"
    assert nm.Input((1, 2), "b,f", print_repr=False).output.dtype == "float64"
    assert as_floatX(1).dtype == "float64"


@pytest.mark.parametrize("value", [3, 2.5, [1, 2], (1.0,), np.ones((2, 3)), np.ones((2, 3)).T, np.float64(2)])
def test_as_floatx(value):
    result = as_floatX(value)
    assert result.dtype == "float32"
    assert result.shape == np.shape(value)
    assert result.flags.c_contiguous
    np.testing.assert_allclose(result, value)


def test_number_formatting():
    assert pretty_string_ops(2.5e12) == "2.5 Tera Ops"
    assert pretty_string_ops(2.5e6) == "2.5 Mega Ops"
    assert pretty_string_ops(12) == "0.0 kilo Ops"
    assert [pretty_string_time(t) for t in (1, 301, 4001)] == ["1.0 s", "5.0 m", "1.1 h"]
    assert as_list(None) is None


def test_errors_contain_the_whole_context():
    error = errors.ShapeError("does not fit", node="conv", got=(3, 4), expected="(3, 5)", nearest=6)
    assert str(error) == "'conv': does not fit; got (3, 4); expected (3, 5); nearest valid: 6"
    assert str(errors.UnknownNameError("no such node", got="a")) == "no such node; got a"


@pytest.mark.parametrize(
    ("cls", "builtin"),
    [
        (errors.ShapeError, ValueError),
        (errors.ArgumentError, ValueError),
        (errors.InputTypeError, TypeError),
        (errors.UnknownNameError, KeyError),
        (errors.GraphError, ValueError),
        (errors.EngineError, RuntimeError),
        (errors.DeviceError, RuntimeError),
        (errors.MissingDependencyError, ImportError),
        (errors.FileError, OSError),
    ],
)
def test_errors_derive_from_builtins(cls, builtin):
    with pytest.raises(builtin, match="does not fit"):
        raise cls("does not fit")
    assert issubclass(cls, errors.NeuromancerError)
