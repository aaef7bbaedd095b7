"""``python -m neuromancer`` is the command ``neuromancer``."""

from __future__ import annotations

import sys

from neuromancer.commands.volumes import main

if __name__ == "__main__":  # workers import it by another name
    sys.exit(main())
