"""``python -m neuromancer`` runs the ``neuromancer`` command."""

from __future__ import annotations

import sys

from neuromancer.commands.volumes import main

if __name__ == "__main__":  # spawned workers import this module under another name
    sys.exit(main())
