"""The scripts of the gallery run, and each makes a picture."""

from __future__ import annotations

import os
import runpy
from pathlib import Path

import pytest

plt = pytest.importorskip("matplotlib.pyplot")

SCRIPTS = sorted((Path(__file__).parents[2] / "docs" / "gallery").glob("*.py"))
pytestmark = pytest.mark.skipif(
    os.environ.get("NEUROMANCER_ENGINE", "pytensor") != "pytensor", reason="the site is built on the default engine"
)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_script_runs(script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    plt.switch_backend("Agg")
    runpy.run_path(str(script))
    figures = plt.get_fignums()
    plt.close("all")
    assert figures and not list(tmp_path.iterdir())
