"""``python -m neuromancer`` runs the ``neuromancer`` command."""

from __future__ import annotations

from neuromancer.commands.start import volumes

if __name__ == "__main__":  # spawned workers import this module under another name
    volumes()
