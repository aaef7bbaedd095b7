"""Says so where the other tests of the plugin are left out."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("name", ["napari", "qtpy", "pytestqt"])
def test_what_the_tests_of_the_plugin_need_is_installed(name):
    pytest.importorskip(name, reason=f"{name} is not installed: the tests of the plugin are left out")
