"""Shared fixtures: every test starts with its own model and the default settings."""

from __future__ import annotations

import gc
import os
import signal
import sys
from importlib.util import find_spec

import hypothesis
import pytest

import neuromancer as nm

# Machines are shared: the time of a case says nothing. A change is tested by the same cases as the one before it; new
# ones are looked for on purpose, see docs/testing.md.
shared = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
hypothesis.settings.register_profile("known", **shared, derandomize=True)
hypothesis.settings.register_profile("explore", **shared)
hypothesis.settings.load_profile("known")

# Background jobs of a shell ignore interrupts, and those of nohup the end of the terminal; some tests send both.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Engine-specific tests need the libraries of that engine; only one engine is installed.
ENGINE = os.environ.get("NEUROMANCER_ENGINE", "pytensor")
collect_ignore_glob = [f"engine/{name}/*" for name in ("pytensor", "theano") if name != ENGINE]
if find_spec("onnx") is None:
    collect_ignore_glob.append("interop/*onnx*.py")


FROZEN = {"modules": 0}
"""Number of imported modules that the garbage collector leaves alone."""


def freeze_imports():
    """Spare the garbage collector what was imported: several libraries ask it for complete searches."""
    if len(sys.modules) > FROZEN["modules"] + 50:
        FROZEN["modules"] = len(sys.modules)
        gc.collect()
        gc.freeze()


def pytest_collection_finish():
    """All tests and most modules are imported by now."""
    freeze_imports()


def pytest_runtest_logfinish():
    """Tests import libraries, too."""
    freeze_imports()


@pytest.fixture(autouse=True, scope="session")
def typical_machine():
    """Nothing is measured in this process: algorithms and plans go by typical speeds."""
    from neuromancer.engine.common import benchmark

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmark, "cached", lambda *arguments: benchmark.TYPICAL._asdict())
        if ENGINE == "pytensor":
            from neuromancer.engine.pytensor.kernels import speed

            patch.setattr(speed, "_known", {n: speed.Speed(speed.TYPICAL, n) for n in range(1, 129)})
        yield


@pytest.fixture(autouse=True)
def fresh_model(request):
    """A new current model and fixed seeds; settings are restored and the test's models forgotten afterwards."""
    random = getattr(request.module, "RNG", None)
    if random is not None:  # the same values, whatever ran before
        random.bit_generator.state = type(random.bit_generator)(0).state
    settings = nm.config.floatX, nm.config.device, nm.config.backend, nm.config.progress
    before = set(nm.model_manager)
    nm.seed(0)
    yield nm.model_manager.newmodel(None)
    for name in set(nm.model_manager) - before:
        if not name.startswith("worker "):  # kept by threads that run tiles
            nm.model_manager.delmodel(name)
    nm.config.floatX, nm.config.device, nm.config.backend, nm.config.progress = settings
    nm.seed(None)
