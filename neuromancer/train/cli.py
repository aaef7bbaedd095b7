"""The command ``neuromancer-train``."""

from __future__ import annotations

import argparse
import ast
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import neuromancer
from neuromancer.config import config as package_config
from neuromancer.errors import NeuromancerError
from neuromancer.train.config_file import load_config

DONE, FAILED, INTERRUPTED = 0, 1, 130

DESCRIPTION = """Train the model of a configuration file.

The file is Python: a function create_model(), a function create_data(model) that returns training data (or training
and validation data), and variables with the names of the Trainer's arguments: n_steps, minutes, optimiser, schedules,
validate_every, ... Files go into a folder beside it, or where --folder says. Ctrl-C saves and ends; --resume goes on.
"""


def _assignment(text: str) -> tuple[str, Any]:
    name, sign, value = text.partition("=")
    if not sign:
        raise argparse.ArgumentTypeError(f"{text!r} is not name=value")
    try:
        return name.strip(), ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name.strip(), value


def parser() -> argparse.ArgumentParser:
    """What the command understands."""
    result = argparse.ArgumentParser(
        prog="neuromancer-train", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument("config", type=Path, help="configuration file, such as examples/unet3d_lite.py")
    result.add_argument("--minutes", type=float, help="time limit, over all runs together")
    result.add_argument("--steps", type=int, metavar="N", help="last step")
    result.add_argument("--folder", type=Path, help="where files go (default: a folder named like the file, beside it)")
    result.add_argument("--resume", action="store_true", help="go on from the last checkpoint of the folder")
    result.add_argument("--overwrite", action="store_true", help="begin anew in a folder that holds a training")
    result.add_argument("--device", help="cpu, cuda, cuda:N or auto (default: NEUROMANCER_DEVICE, else cpu)")
    result.add_argument("--seed", type=int, help="of weights and random numbers (default: the file's, else 0)")
    result.add_argument(
        "--set", type=_assignment, action="append", default=[], metavar="NAME=VALUE", help="any other setting"
    )
    result.add_argument("--quiet", action="store_true", help="show nothing")
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; exit status 0 when done, 1 with a message on an error, 130 when interrupted, 2 for wrong usage."""
    options = parser().parse_args(arguments)
    changes: dict[str, Any] = dict(options.set)
    if options.minutes is not None:
        changes["minutes"] = options.minutes
    if options.steps is not None:
        changes["n_steps"] = options.steps
    if options.seed is not None:
        changes["seed"] = options.seed
    if options.overwrite:
        changes["overwrite"] = True
    changes["progress"] = not options.quiet
    try:
        if options.device is not None:
            package_config.device = options.device
        neuromancer.seed(options.seed or 0)
        config = load_config(options.config, changes)
        neuromancer.seed(config.settings.get("seed", 0))
        folder = options.folder or Path(config.settings.get("folder") or options.config.with_suffix(""))
        trainer = config.trainer(folder, options.resume)
        trainer.open_folder()
        shutil.copyfile(options.config, folder / options.config.name)
        result = trainer.run()
    except NeuromancerError as error:
        notes = "".join(f"\n  {note}" for note in getattr(error, "__notes__", []))
        sys.stderr.write(f"neuromancer-train: {error}{notes}\n")
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    return INTERRUPTED if result.reason == "interrupted" else DONE
