"""Entry points of the command lines, which import nothing until they handle Ctrl-C."""

from __future__ import annotations

from typing import NoReturn

from neuromancer.commands.interrupts import ending_at_once


def volumes() -> NoReturn:
    """Run ``neuromancer`` as the whole process."""
    with ending_at_once():
        from neuromancer.commands.volumes import program
    program()


def train() -> NoReturn:
    """Run ``neuromancer-train`` as the whole process."""
    with ending_at_once():
        from neuromancer.commands.train import program
    program()


def convert() -> NoReturn:
    """Run ``neuromancer-convert`` as the whole process."""
    with ending_at_once():
        from neuromancer.commands.convert import program
    program()
