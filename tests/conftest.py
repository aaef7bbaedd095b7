"""Shared fixtures: every test gets its own model and the default settings."""

from __future__ import annotations

import pytest

import neuromancer as nm


@pytest.fixture(autouse=True)
def fresh_model():
    """A new current model and a fixed seed; settings are put back afterwards."""
    settings = nm.config.floatX, nm.config.device, nm.config.backend, nm.config.progress
    nm.seed(0)
    yield nm.model_manager.newmodel(None)
    nm.config.floatX, nm.config.device, nm.config.backend, nm.config.progress = settings
    nm.seed(None)
