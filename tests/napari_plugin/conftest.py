"""A display for the tests of the plugin: that of the machine, or one of Xvfb, if it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

HERE = Path(__file__).parent
if not all(map(find_spec, ("napari", "qtpy", "pytestqt"))):
    # What is left says so.
    collect_ignore = [path.name for path in HERE.glob("test_*.py") if path.name != "test_installed.py"]


@pytest.fixture(autouse=True, scope="session")
def display():
    """The name of a display; skips where there is none. Qt's offscreen platform has no OpenGL, which napari needs."""
    if sys.platform != "linux" or os.environ.get("DISPLAY"):
        yield
        return
    program = shutil.which("Xvfb")
    if program is None:
        pytest.skip("needs a display, or Xvfb")
    reading, writing = os.pipe()
    arguments = [program, "-displayfd", str(writing), "-screen", "0", "1600x1000x24", "-nolisten", "tcp"]
    server = subprocess.Popen(arguments, pass_fds=[writing], stderr=subprocess.DEVNULL)
    os.close(writing)
    with pytest.MonkeyPatch.context() as patch, os.fdopen(reading) as said:
        patch.setenv("DISPLAY", f":{said.readline().strip()}")
        patch.delenv("QT_QPA_PLATFORM", raising=False)
        yield
    server.terminate()
    server.wait()
