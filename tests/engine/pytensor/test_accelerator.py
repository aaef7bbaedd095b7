"""When a function runs on OpenVINO and when on torch, and what is logged."""

from __future__ import annotations

import importlib
import logging
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

import neuromancer as nm
from neuromancer import engine as E
from neuromancer.engine.pytensor.link import accelerator as module
from neuromancer.errors import ArgumentError, DeviceError, MissingDependencyError

T = E.T


def have_openvino() -> bool:
    return importlib.util.find_spec("openvino") is not None


needs_openvino = pytest.mark.skipif(not have_openvino(), reason="needs OpenVINO")


@pytest.fixture(autouse=True)
def nothing_logged(monkeypatch):
    """Reasons are logged once per process; here once per test."""
    monkeypatch.setattr(module, "logged", set())


def product(backend=None, extra=lambda y: y, **options):
    """Return a function with a parameter, that parameter, and an argument."""
    x = E.tensor("x", (None, 3), "float32")
    w = E.SharedVariable(np.arange(9, dtype="float32").reshape(3, 3), "w")
    return E.function([x], extra(T.dot(x, w)), backend=backend, **options), w, np.ones((2, 3), "float32")


# ---- eligible graphs
@needs_openvino
def test_auto_takes_inference_only() -> None:
    assert product()[0].accelerator is not None
    assert product("torch")[0].accelerator is None
    x = E.tensor("x", (None, 3), "float32")
    w = E.SharedVariable(np.eye(3, dtype="float32"), "w")
    y = T.dot(x, w)
    assert E.function([x], E.grad(E.conv(x[None], w[None]).sum(), [w])).accelerator is None, "gradients"
    assert E.function([x], y, updates=[(w, w * 2)]).accelerator is None, "updates"
    assert E.function([x], y + E.RandomStream(1).normal((3,))).accelerator is None, "random numbers"
    assert E.function([x], x * 2).accelerator is None, "nothing would run faster"
    d = E.tensor("d", (None, 3), "float64")
    assert E.function([d], T.dot(d, w)).accelerator is None, "float64"
    g = E.generic("g")
    assert E.function([x, g], y).accelerator is None, "any Python object"


@needs_openvino
def test_other_devices_run_on_torch() -> None:
    nm.config.device, nm.config.backend = "meta", "openvino"
    assert product()[0].accelerator is None


@needs_openvino
def test_a_changed_setting_applies_to_existing_functions() -> None:
    inp = nm.Input((None, 3), "b,f", print_repr=False)
    node = nm.Perceptron(inp, 4, print_repr=False)
    x = np.ones((2, 3), "float32")
    results = {}
    for backend in ("torch", "openvino", "torch"):
        nm.config.backend = backend
        results[backend] = node(x)
        accelerator = node.compiled_functions["output"].func.accelerator
        assert (accelerator.calls == 1) if backend == "openvino" else accelerator is None
    np.testing.assert_allclose(results["openvino"], results["torch"], rtol=1e-5)


def test_unknown_settings() -> None:
    with pytest.raises(ArgumentError, match="backend"):
        nm.config.backend = "tensorflow"
    with pytest.raises(ArgumentError, match=r"unknown backend; got openvin; .*nearest valid: openvino"):
        product("openvin")
    with pytest.raises(ArgumentError, match=r"precision.*f16"):
        product(precision="fp16")


# ---- switching
@needs_openvino
def test_auto_starts_on_torch_and_switches_after_some_time() -> None:
    function, w, x = product()
    ours = function.accelerator
    want = function(x)
    assert ours.calls == 0
    ours.torch_took([x], function.shared_values, module.SPENT)
    np.testing.assert_allclose(function(x), want)
    assert ours.calls == 1
    function(np.ones((5, 3), "float32"))
    assert ours.calls == 1, "another shape starts on torch again"
    w.set_value(w.get_value() + 1)
    np.testing.assert_allclose(function(x), want + 3)
    assert ours.calls == 0, "changed parameters start on torch again"


@needs_openvino
def test_a_first_call_of_whatever_length_is_followed_by_one_on_torch() -> None:
    ours, parameters, x = product()[0].accelerator, [], np.ones((2, 3), "float32")
    ours.torch_took([x], parameters, 10 * module.SPENT)
    assert ours.compute([x], parameters) is None
    ours.torch_took([x], parameters, 0.0)
    record = ours._record([x], parameters)
    assert record.torch_best == 0.0 and record.spent > module.SPENT


@needs_openvino
def test_a_backend_whose_convolutions_alone_take_longer_is_not_tried() -> None:
    function, _, x = product()
    ours, parameters, asked = function.accelerator, function.shared_values, []

    def direct(seconds):
        return lambda: asked.append(seconds) or seconds

    ours.torch_took([x], parameters, 0.9 * module.SPENT, direct(9.0))
    assert not asked, "too early to try the backend"
    for _ in range(3):
        ours.torch_took([x], parameters, 0.9 * module.SPENT, direct(0.91 * module.SPENT / module.SHARE))
        assert ours.compute([x], parameters) is None
    assert len(asked) == 1, "the prediction does not change"
    y = np.ones((5, 3), "float32")
    for _ in range(2):
        ours.torch_took([y], parameters, module.SPENT, direct(0.99 * module.SPENT / module.SHARE))
    assert ours.compute([y], parameters) is not None


@needs_openvino
def test_announced_calls_run_on_one_backend() -> None:
    function, _, x = product()
    function.expect(1e15)
    for calls in (1, 2, 3, 4, 5):
        function(x)
        assert function.accelerator.calls == calls
    function.release()
    function(x)
    assert function.accelerator.calls == 0, "torch again, until it has taken long enough"
    for announced in ((1e3,), (1e15, 1.0), (1e9, 0.1)):
        other, _, x = product()
        ours = other.accelerator
        other.expect(*announced)
        for _ in range(3):
            other(x)
            ours.torch_took([x], other.shared_values, 2 * module.SPENT)
        assert ours.calls == 0, "too little work, or a faster algorithm in torch"
        other.release()
        other(x)
        assert ours.calls == 1


@needs_openvino
@pytest.mark.parametrize("faster", ["torch", "openvino"])
def test_long_runs_try_both_backends_and_keep_to_the_faster(monkeypatch, faster) -> None:
    function, _, x = product()
    ours, seconds = function.accelerator, {"torch": 1.0, "openvino": 1.0, faster: 0.5}
    clock = [0.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: clock[0])
    run = {"torch": function._by_torch, "openvino": ours.compute}
    ran = []

    def timed(name, *arguments):
        found = run[name](*arguments)
        clock[0] += seconds[name]
        ran.extend([name] * (found is not None))
        return found

    monkeypatch.setattr(function, "_by_torch", lambda *a: timed("torch", *a))
    monkeypatch.setattr(ours, "compute", lambda *a: timed("openvino", *a))
    asked = []
    function.expect(1e13, 200.0, 1000, lambda name: asked.append(name) or name)
    want = x @ np.arange(9, dtype="float32").reshape(3, 3)
    for _ in range(3):
        np.testing.assert_allclose(function(x), want)
    assert ran == ["openvino", "openvino", "torch", "torch", faster, faster] and asked == [None, faster]


@needs_openvino
def test_processes_agree_whatever_they_would_choose() -> None:
    for announced in ((1e15, 1e15, 1), (1e15, 1.0, 1), (1e13, 200.0, 1000)):
        for agreed in ("torch", "openvino"):
            function, _, x = product()
            function.expect(*announced, lambda name, agreed=agreed: agreed)
            for _ in range(2):
                function(x)
            before = function.accelerator.calls
            function(x)
            assert function.accelerator.calls - before == (agreed == "openvino")


@needs_openvino
@pytest.mark.parametrize("announced", [(1e13, 200.0, 50), (1e13, 20.0, 1000), (1e9, 0.02, 1000)])
def test_no_trials_in_short_runs_or_where_predictions_differ(announced) -> None:
    function, _, _ = product()
    function.expect(*announced)
    assert not function.accelerator.on_trial


@needs_openvino
@pytest.mark.parametrize(("much", "calls"), [(module.MUCH, 2), (float("inf"), module.TRIALS)])
def test_auto_returns_to_torch_if_that_is_faster(much, calls, monkeypatch) -> None:
    monkeypatch.setattr(module, "MUCH", much)
    function, _, x = product()
    ours = function.accelerator
    function(x)
    ours.torch_took([x], function.shared_values, module.SPENT)
    ours.torch_took([x], function.shared_values, 0.0)
    for _ in range(module.TRIALS + 2):
        function(x)
    assert ours.calls == calls


def test_functions_without_a_backend_accept_announcements() -> None:
    function, _, x = product("torch")
    function.expect(1e15)
    assert function(x).shape == (2, 3)
    function.release()


@needs_openvino
def test_new_values_of_parameters() -> None:
    function, w, x = product("openvino")
    for scale in (1, 2, 3):
        w.set_value(np.full((3, 3), scale, "float32"))
        assert function(x)[0, 0] == 3 * scale
    step = E.function([], [], updates=[(w, w * 2)])
    step()
    assert function(x)[0, 0] == 18


# ---- effects on the process
def run(code: str) -> list[str]:
    """Return the lines that a script prints in a process of its own."""
    setup = """
import sys
import numpy as np
import neuromancer as nm
from neuromancer import engine as E
x = E.tensor("x", (None, 3), "float32")
f = lambda **options: E.function([x], E.T.dot(x, E.SharedVariable(np.eye(3, dtype="float32"), "w")), **options)
ones = np.ones((1, 3), "float32")
"""
    return subprocess.run(
        [sys.executable, "-c", setup + code], capture_output=True, text=True, check=True
    ).stdout.split()


@needs_openvino
def test_openvino_is_imported_at_first_use() -> None:
    code = """
for function in (f(), f(backend="torch"), f(backend="openvino")):
    function(ones)
    print("openvino" in sys.modules)
"""
    assert run(code) == ["False", "False", "True"]


@needs_openvino
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_runs_on_torch() -> None:
    code = """
import os
function = f(backend="openvino")
function(ones)
child = os.fork()
if child == 0:
    same = function(ones).tolist() == [[1, 1, 1]] and function.accelerator.calls < 2
    os._exit(0 if same else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert run(code) == ["0"]


@needs_openvino
def test_the_number_of_threads_is_torchs() -> None:
    from tests.engine.pytensor.runners import runner_of

    function, _, x = product("torch")
    runner = runner_of(function)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            runner.run([x], function.shared_values)
            last = next(reversed(runner.models.values()))
            assert last.model.get_property("INFERENCE_NUM_THREADS") == threads
    finally:
        torch.set_num_threads(before)


# ---- limits
@needs_openvino
def test_a_missing_operation_is_logged_once_and_runs_on_torch(caplog) -> None:
    with caplog.at_level(logging.INFO, "neuromancer"):
        for backend in ("openvino", None):
            function, _, x = product(backend, extra=lambda y: T.gammaln(y + 1), name="lacking")
            reference, _, _ = product("torch", extra=lambda y: T.gammaln(y + 1))
            for _ in range(3):
                np.testing.assert_array_equal(function(x), reference(x))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "lacking" in record.getMessage() and "ammaln" in record.getMessage().replace("amma_ln", "ammaln").lower()


@needs_openvino
def test_auto_logs_at_level_info(caplog) -> None:
    function, _, x = product(extra=lambda y: T.gammaln(y + 1))
    function.expect(1e15)
    with caplog.at_level(logging.INFO, "neuromancer"):
        function(x)
        function(x)
    assert [r.levelno for r in caplog.records] == [logging.INFO]


@needs_openvino
def test_non_finite_values_run_on_torch() -> None:
    function, _, x = product("openvino", extra=lambda y: T.maximum(y, 0))
    reference, _, _ = product("torch", extra=lambda y: T.maximum(y, 0))
    bad = x.copy()
    bad[0, 1] = np.nan
    np.testing.assert_array_equal(function(bad), reference(bad))
    assert np.isnan(function(bad)[0]).all()
    assert function.accelerator.calls == 0
    function(x)
    assert function.accelerator.calls == 1, "the next call may run on OpenVINO"


@needs_openvino
def test_errors_are_raised_by_torch() -> None:
    a, b = (E.tensor(name, (None, 3), "float32") for name in "ab")
    w = E.SharedVariable(np.eye(3, dtype="float32"), "w")
    messages = []
    for backend in ("torch", "openvino"):
        function = E.function([a, b], T.dot(a, w) + b, backend=backend)
        with pytest.raises(nm.errors.ShapeError) as caught:
            function(np.ones((2, 3), "float32"), np.ones((1, 3), "float32"))
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def without_openvino(monkeypatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)


def test_without_openvino_everything_runs_on_torch(monkeypatch) -> None:
    without_openvino(monkeypatch)
    function, _, x = product()
    assert function.accelerator is None and function(x).shape == (2, 3)
    with pytest.raises(MissingDependencyError, match=r"neuromancer-graph\[openvino\]"):
        product("openvino")
    with pytest.raises(MissingDependencyError, match=r"neuromancer-graph\[openvino\]"):
        product(precision="bf16")


# ---- precision
def supported(precision: str) -> bool:
    from neuromancer.engine.pytensor.link.openvino.runner import require_precision

    try:
        require_precision(precision)
    except DeviceError:
        return False
    return True


@needs_openvino
@pytest.mark.parametrize("precision", ["bf16", "f16"])
def test_reduced_precision_where_the_processor_supports_it(precision) -> None:
    if not supported(precision):
        with pytest.raises(DeviceError, match=precision) as caught:
            product(precision=precision)
        assert "f32" in str(caught.value)
        return
    function, _, x = product(precision=precision)
    reference, _, _ = product("torch")
    np.testing.assert_allclose(function(x), reference(x), rtol=0.02)
    assert function.accelerator.calls == 1, "from the first call on: it was requested"


@needs_openvino
def test_reduced_precision_needs_inference_on_a_processor(monkeypatch) -> None:
    with pytest.raises(ArgumentError, match="torch"):
        product("torch", precision="bf16")
    x = E.tensor("x", (None, 3), "float64")
    with pytest.raises(ArgumentError, match="float64"):
        E.function([x], T.dot(x, x.T), precision="bf16")
    with pytest.raises(DeviceError, match="tf32 is for GPUs; got cpu"):
        product(precision="tf32")
    nm.config.device = "meta"
    assert product(precision="bf16")[0].accelerator is None, "other devices run on torch"
