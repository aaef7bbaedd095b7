"""Fixtures of the tests of nodes."""

from __future__ import annotations

import pytest

from neuromancer import engine as E


@pytest.fixture
def compilations(monkeypatch):
    """Names of the functions compiled so far."""
    names = []
    compile_function = E.function

    def counted(*args, **kwargs):
        names.append(kwargs.get("name"))
        return compile_function(*args, **kwargs)

    monkeypatch.setattr(E, "function", counted)
    return names
