"""The engine is selected by name and has every name of the interface."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from neuromancer import engine as E
from neuromancer.engine import interface


def test_every_name_is_there_and_documented() -> None:
    assert len(interface.NAMES) > 30
    for name in interface.NAMES:
        assert hasattr(E, name)
        own = getattr(interface.Engine, name, None)
        assert own.__doc__ if own is not None else name in interface.Engine.__doc__
        assert own is None or getattr(E, name).__doc__
    assert E.NAME == os.environ.get("NEUROMANCER_ENGINE", E.DEFAULT)


@pytest.mark.parametrize("name, message", [("pytensr", "unknown engine.*got pytensr.*nearest valid: pytensor")])
def test_unknown_engine_is_an_error(name, message) -> None:
    code = (
        "import re\n"
        "from neuromancer.errors import EngineError\n"
        "try:\n    import neuromancer.engine\n"
        f"except EngineError as error:\n    assert re.search({message!r}, str(error)), error\n"
        "else:\n    raise SystemExit('no error')\n"
    )
    loader = (
        "import sys, types\n"
        "package = types.ModuleType('neuromancer')\n"
        "import importlib.util\n"
        "package.__path__ = importlib.util.find_spec('neuromancer').submodule_search_locations\n"
        "sys.modules['neuromancer'] = package\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", loader + code],
        env={**os.environ, "NEUROMANCER_ENGINE": name},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
