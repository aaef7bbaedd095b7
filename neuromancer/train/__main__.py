"""``python -m neuromancer.train config.py``: the same as the command ``neuromancer-train``."""

from __future__ import annotations

import sys

from neuromancer.train.cli import main

if __name__ == "__main__":
    sys.exit(main())
