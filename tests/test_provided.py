"""What lower layers get from higher ones."""

from __future__ import annotations

import neuromancer as nm
from neuromancer.provided import MODULES, provided


def test_the_package_says_where_everything_is():
    assert MODULES and all(provided(name) is getattr(nm, name) for name in MODULES)
