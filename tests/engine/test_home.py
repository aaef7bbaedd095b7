"""Users without a home directory."""

from __future__ import annotations

import os
from pathlib import Path

from neuromancer.engine.common.home import NOWHERE, some_home


def test_a_home_is_set_during_an_import(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    with some_home():
        assert os.environ["HOME"] == "/home/somebody"
    monkeypatch.delenv("HOME")

    def unknown():
        if "HOME" not in os.environ:
            raise RuntimeError("Could not determine home directory.")
        return Path(os.environ["HOME"])

    monkeypatch.setattr(Path, "home", unknown)
    with some_home():
        assert os.environ["HOME"] == NOWHERE
    assert "HOME" not in os.environ
