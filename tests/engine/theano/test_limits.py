"""Differences of Theano, and workarounds for it."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from neuromancer import engine as E  # makes Theano importable

# isort: split

import theano

from neuromancer.config import config
from neuromancer.engine.theano.library import blas_flags
from neuromancer.errors import ArgumentError, DeviceError, ShapeError

T = E.T


def test_settings_are_restored() -> None:
    before = theano.config.floatX, theano.config.mode, np.geterr()
    config.floatX = "float64" if theano.config.floatX == "float32" else "float32"
    x = E.tensor("x", (None,))
    assert E.function([x], T.log(x) * 2)([0.0]).tolist() == [-np.inf]
    assert before == (theano.config.floatX, theano.config.mode, np.geterr())


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "meta"])
def test_only_the_cpu(device) -> None:
    config.device = device
    x = E.tensor("x", (None,), "float32")
    with pytest.raises(DeviceError, match=f"Theano runs on the CPU only; got {device}; .* nearest valid: cpu"):
        E.function([x], x * 2)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"backend": "openvino"}, "Theano has no other backends; got openvino; .* nearest valid: auto"),
        ({"backend": "torch"}, "Theano has no other backends; got torch; .* nearest valid: auto"),
        ({"precision": "bf16"}, "Theano computes in the dtypes of the graph; got bf16; .* nearest valid: f32"),
        ({"precision": "f16"}, "Theano computes in the dtypes of the graph; got f16; .* nearest valid: f32"),
    ],
)
def test_other_backends_and_precisions_are_refused(options, problem) -> None:
    x = E.tensor("x", (None,), "float32")
    with pytest.raises(ArgumentError, match=problem):
        E.function([x], x * 2, **options)
    if "backend" in options:
        config.backend = options["backend"]
        with pytest.raises(ArgumentError, match=problem):
            E.function([x], x * 2)


def test_announcements_change_nothing() -> None:
    x = E.tensor("x", (None,), "float32")
    f = E.function([x], x * 2, backend="auto", precision="f32")
    f.expect(1e15)
    assert f([1.0]).tolist() == [2]
    f.release()
    assert f([1.0]).tolist() == [2]


def test_nothing_is_transferred() -> None:
    f = E.function([], E.SharedVariable(np.ones(2, "float32"), "p") * 2)
    assert f().tolist() == [2, 2] and (f.counters.uploads, f.counters.downloads) == (0, 0)


def test_gradient_of_ties() -> None:
    """To all of them with Theano's pooling, to the first with the maximum of shifted slices."""
    x = E.tensor("x", (1, 1, 4), "float32")
    for dilation, wins in ((1, [1, 2, 2, 1]), (2, [1, 1, 0, 0])):
        g = E.function([x], E.grad(E.pool(x, 2, 1, dilation).sum(), [x])[0])
        assert g(np.ones((1, 1, 4))).ravel().tolist() == wins


def test_known_sizes() -> None:
    x = E.tensor("x", (None, 3, 9, None), "float32")
    assert E.known_shape(x) == (None, 3, 9, None)
    assert E.known_shape(x.dimshuffle(1, "x", 0, 2, 3)) == (3, 1, None, 9, None)
    assert E.known_shape(x + 1) == (None,) * 4
    assert E.known_shape(E.generic("g")) is None
    w = E.tensor("w", (2, 3, 9, 1), "float32")
    assert E.known_shape(E.conv(x, w)) == (None, None, 1, None)
    assert E.known_shape(E.conv_transpose(E.conv(x, w), w)) == (None,) * 4


def test_a_loop_of_no_steps() -> None:
    x, n = E.tensor("x", (None, 2), "float32"), E.tensor("n", (), "int64")
    y = E.scan(lambda v, h: h + v, x, T.zeros((2,), "float32"), n_steps=n)
    f = E.function([x, n], [y, E.grad(y.sum(), [x])[0]])
    for values, steps in ((np.ones((0, 2)), 0), (np.ones((3, 2)), 0), (np.ones((3, 2)), 3)):
        result, gradient = f(values, steps)
        assert result.shape == (steps, 2) and gradient.shape == values.shape
        np.testing.assert_array_equal(result, np.cumsum(values[:steps], axis=0))
    with pytest.raises(ShapeError, match="shorter than the loop"):
        f(np.ones((3, 2)), 4)


def test_softmax_far_from_zero() -> None:
    x = E.tensor("x", (None, 3), "float32")
    f = E.function([x], [E.softmax(x, 1), E.log_softmax(x, 1), E.grad(E.log_softmax(x, 1)[:, 0].sum(), [x])[0]])
    soft, logs, gradient = f([[1000, 0, -1000]])
    assert soft.tolist() == [[1, 0, 0]] and logs.tolist() == [[0, -1000, -2000]] and gradient.tolist() == [[0, 0, 0]]


def test_a_blas_is_found_or_none_is_named() -> None:
    flags = blas_flags(theano.config.cxx)
    assert flags == "" or "blas" in flags
    assert theano.config.blas.ldflags != "-lm"


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script in its own process."""
    env = {**os.environ, **environment}
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)


def test_flags_of_the_user_are_kept() -> None:
    flags = os.environ.get("THEANO_FLAGS", "")
    code = "import neuromancer.engine, theano, os; print(theano.config.blas.ldflags, os.environ['THEANO_FLAGS'])"
    own = ",".join(filter(None, (flags, "blas.ldflags=-lm -lc")))
    assert run(code, THEANO_FLAGS=own).stdout == f"-lm -lc {own}\n"


def test_compiled_mode_gives_the_same(tmp_path) -> None:
    """A network in Theano's default mode, with optimisations and C code, against the mode of the other tests."""
    code = """
import sys
import numpy as np
import neuromancer as nm
nm.seed(3)
raw = nm.Input((None, 1, 10, 10), "b,f,y,x", name="raw", print_repr=False)
y = nm.Conv(raw, 3, (3, 3), (2, 2), print_repr=False)
y = nm.Conv(y, 2, (2, 2), activation_func="lin", print_repr=False)
model = nm.model_manager.getmodel()
loss = nm.AggregateLoss(nm.SquaredLoss(y, nm.Input_like(y, name="target", print_repr=False), print_repr=False))
model.designate_nodes(input_node=raw, target_node=nm.model_manager.getmodel()["target"], loss_node=loss)
rng = np.random.default_rng(0)
x, t = rng.random((2, 1, 10, 10), "float32"), rng.random((2, 2, 3, 3), "float32")
dense = y.predict_dense(rng.random((1, 15, 15), "float32"))
np.savez(sys.argv[1], *model.gradients(x, t), dense=dense)
"""
    flags = os.environ.get("THEANO_FLAGS", "")
    results = []
    for mode in ("FAST_COMPILE", "FAST_RUN"):
        path = tmp_path / f"{mode}.npz"
        done = run(f"import sys; sys.argv.append({str(path)!r})\n" + code, THEANO_FLAGS=f"{flags},mode={mode}")
        assert done.returncode == 0, done.stderr
        results.append(np.load(path))
    plain, compiled = results
    assert set(plain) == set(compiled) and len(plain) == 5
    for key, value in plain.items():
        np.testing.assert_allclose(compiled[key], value, rtol=1e-4, atol=1e-5)


def test_without_a_compiler(tmp_path) -> None:
    code = """
from neuromancer import engine as E
from neuromancer.errors import MissingDependencyError
x = E.tensor("x", (None,) * 4, "float32")
print(E.function([x], E.T.tanh(x))([[[[0, 0]]]]).tolist())
for make in (lambda: E.conv(x, x), lambda: E.pool(x, 2)):
    try:
        make()
    except MissingDependencyError as error:
        print(error)
"""
    flags = f"mode=FAST_COMPILE,cxx=,base_compiledir={tmp_path}"
    assert run(code, THEANO_FLAGS=flags).stdout.splitlines() == [
        "[[[[0.0, 0.0]]]]",
        "'Conv': this operation of Theano is C++ code; expected g++ to be installed",
        "'MaxPool': this operation of Theano is C++ code; expected g++ to be installed",
    ]
