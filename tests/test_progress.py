"""Progress bars: shown on request, and counted in millions of voxels."""

from __future__ import annotations

import io
import sys

import pytest

import neuromancer as nm
from neuromancer.progress import counted, say, voxel_bar


class Terminal(io.StringIO):
    def __init__(self, tty):
        super().__init__()
        self.tty = tty

    def isatty(self):
        return self.tty


@pytest.mark.parametrize("tty", [True, False])
@pytest.mark.parametrize("setting", [True, False, None])
@pytest.mark.parametrize("show", [True, False, None])
def test_the_argument_goes_before_the_setting_and_both_before_the_terminal(monkeypatch, show, setting, tty):
    monkeypatch.setattr(sys, "stderr", Terminal(tty))
    nm.config.progress = setting
    expected = next(value for value in (show, setting, tty) if value is not None)
    with voxel_bar(10, "raw", show) as bar:
        assert bar.disable != expected
    assert bool(sys.stderr.getvalue()) == expected


def test_voxels_are_shown_in_millions(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal(True))
    with voxel_bar(2_500_000, "raw\x1b", True) as bar:
        bar.update(2.5)
    last = sys.stderr.getvalue().split("\r")[-1]
    assert "raw\\x1b: 100%" in last and "2.50/2.50 MVx" in last


def test_a_bar_and_a_function_count_the_same_voxels(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal(True))
    told = []
    for progress in (True, lambda done, total: told.append((done, total))):
        with counted(2_500_000, "raw", progress) as advance:
            advance(1_500_000)
            advance(1_000_000)
    assert "2.50/2.50 MVx" in sys.stderr.getvalue()
    assert told == [(0, 2_500_000), (1_500_000, 2_500_000), (2_500_000, 2_500_000)]


def test_lines_end_as_told(capsys):
    say("a")
    say("b", end="")
    say("c", end="|\n", flush=True)
    assert capsys.readouterr() == ("a\nbc|\n", "")
