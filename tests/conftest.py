"""Shared fixtures: every test gets its own model and the default settings."""

from __future__ import annotations

import os
import signal

import pytest

import neuromancer as nm

# Jobs in the background of a shell are told to ignore interrupts, and tests send some.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests of one engine's inner workings need its libraries, which are not installed beside another engine's.
ENGINE = os.environ.get("NEUROMANCER_ENGINE", "pytensor")
collect_ignore_glob = [f"engine/{name}/*" for name in ("pytensor", "theano") if name != ENGINE]


@pytest.fixture(autouse=True)
def fresh_model():
    """A new current model and a fixed seed; settings are put back afterwards."""
    settings = nm.config.floatX, nm.config.device, nm.config.backend, nm.config.progress
    nm.seed(0)
    yield nm.model_manager.newmodel(None)
    nm.config.floatX, nm.config.device, nm.config.backend, nm.config.progress = settings
    nm.seed(None)
