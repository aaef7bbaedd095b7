"""Where PyTensor's functions keep values, and that they leave the process and the disk unchanged."""

from __future__ import annotations

import gc
import os
import subprocess
import sys

import numpy as np
import pytensor
import pytest
import torch

import neuromancer as nm
from neuromancer import engine as E
from neuromancer.config import config
from neuromancer.errors import ShapeError
from tests.engine.test_function import shared

T = E.T


def test_uploads_and_downloads_are_counted() -> None:
    x, p = E.tensor("x", (2,), "float32"), shared([1, 2])
    f = E.function([x], [(x * p).sum(), x.shape[0]], updates=[(p, p * x)])
    f([1, 2])
    assert (f.counters.uploads, f.counters.downloads) == (2, 1)
    f([1, 2])
    assert (f.counters.uploads, f.counters.downloads) == (3, 2)  # the parameter stayed, sizes never left the host
    assert isinstance(p.container.storage[0], torch.Tensor)
    p.set_value(np.array([1, 1]))
    f([1, 2])
    assert f.counters.uploads == 5


def test_sums_of_which_only_the_shape_is_used_are_checked() -> None:
    source = nm.Input((None, 1, None), "b,f,x", print_repr=False)
    short = nm.Conv(source, 1, (1,), stride=2, print_repr=False)
    total = nm.Sum([short, nm.Pad(source, (0,), print_repr=False)], print_repr=False)
    up = nm.ConvTranspose(total, 1, (2,), 2, print_repr=False)
    function = E.function([source.output], up.output)  # the node itself would name the branches
    with pytest.raises(ShapeError, match="operands differ"):
        function(np.ones((1, 1, 8), "float32"))


def test_building_uses_the_configured_precision_and_restores_everything() -> None:
    before = pytensor.config.floatX, pytensor.config.mode, pytensor.config.cxx, torch.get_default_dtype()
    config.floatX = "float64"
    try:
        with E.building():
            assert T.vector().dtype == "float64"
        config.floatX = "float32"
        with E.building():
            assert T.vector().dtype == "float32"
            assert (T.vector() * 0.5).dtype == "float32"
    finally:
        config.floatX = "float32"
    x = E.tensor("x", (None,))
    E.function([x], x * 2)([1])
    assert before == (pytensor.config.floatX, pytensor.config.mode, pytensor.config.cxx, torch.get_default_dtype())


def test_functions_can_be_called_through_pytensor() -> None:
    x, p = E.tensor("x", (None,), "float32"), shared([1, 2])
    f = E.function([x], x * p).pytensor_function
    (result,) = f(np.array([1, 2], "float32"))
    assert result.tolist() == [1, 4]


def test_nothing_is_compiled_or_written(tmp_path) -> None:
    """Import, compile, train and fold constants without a C compiler: no file appears, no handler is added."""
    script = """
import logging
before = list(logging.getLogger().handlers)
import numpy as np
from neuromancer import engine as E
x = E.tensor("x", (None, 1, 9, 9), "float32")
w = E.SharedVariable(np.ones((2, 1, 3, 3), "float32"), "w")
with E.building():
    y = E.softmax(E.pool(E.conv(x, w), 2) + E.softmax(E.constant(np.ones((1, 2, 1, 1))), 1), 1)
    cost = y[:, 0].mean()
f = E.function([x], cost, updates=[(w, w - E.grad(cost, [w])[0])])
f(np.zeros((1, 1, 9, 9)))
m = E.tensor("m", (None, 3), "float32")
s = E.scan(lambda v, h: E.T.tanh(v + h), m, E.T.zeros((3,), "float32"))
E.function([m], E.grad(s.sum(), [m])[0])(np.zeros((4, 3)))
assert logging.getLogger().handlers == before
"""
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "PATH": "",
        "XDG_CACHE_HOME": str(tmp_path),
        "TMPDIR": str(tmp_path),
    }
    environment.pop("PYTENSOR_FLAGS", None)
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_no_garbage_is_collected_while_graphs_are_built():
    assert gc.isenabled()
    with E.building():
        with E.building():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(KeyError), E.building():
        raise KeyError
    assert gc.isenabled()
    gc.disable()
    try:
        with E.building():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
