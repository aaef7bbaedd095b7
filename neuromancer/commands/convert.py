"""The command ``neuromancer-convert``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from neuromancer.commands.console import DONE, Parser, end_with, ending_at_once, prepare_streams, run


def convert(old: str | Path, new: str | Path) -> None:
    """Load a model file of either kind and save it in the current format.

    Parameters
    ----------
    old, new : path
        The new file is replaced if it exists.

    Raises
    ------
    FileError
        If the old file cannot be loaded, or the new one cannot be written.
    """
    with ending_at_once():
        from neuromancer.models.model import model_manager, modelload

    model = modelload(old)
    try:
        model.save(new)
    finally:
        model_manager.delmodel(model.name)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    result = Parser(
        prog="neuromancer-convert", description="Convert a model file of the original library (.mdl) to HDF5."
    )
    result.add_argument("old", help="file to read")
    result.add_argument("new", help="file to write")
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line ``neuromancer-convert old.mdl new.h5``; return 0 on success, 1 on an error."""
    prepare_streams()
    options = parser().parse_args(arguments)

    def command() -> int:
        convert(options.old, options.new)
        return DONE

    return run("neuromancer-convert", command)


def program() -> NoReturn:
    """Run the command line as the whole process."""
    end_with(main)


if __name__ == "__main__":
    program()
