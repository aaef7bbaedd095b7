"""Doctests of the engine in use only: the other one's libraries are not installed beside it."""

from __future__ import annotations

import os

ENGINE = os.environ.get("NEUROMANCER_ENGINE", "pytensor")
OTHERS = {"pytensor", "theano"} - {ENGINE}
collect_ignore_glob = [f"neuromancer/engine/{name}/*" for name in OTHERS]


def pytest_configure(config):
    """Theano leaves its C source files open; what it does is not ours to mend."""
    if ENGINE == "theano":
        config.addinivalue_line("filterwarnings", "ignore:unclosed file.*theano:ResourceWarning")
