"""The command ``neuromancer-train``."""

from __future__ import annotations

import argparse
import ast
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import neuromancer
from neuromancer.config import config as package_config
from neuromancer.errors import ArgumentError, NeuromancerError, naming
from neuromancer.train.config_file import load_config
from neuromancer.train.files import write_whole
from neuromancer.train.result import TrainingResult

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
    either = result.add_mutually_exclusive_group()
    either.add_argument("--resume", action="store_true", help="go on from the last checkpoint of the folder")
    either.add_argument("--overwrite", action="store_true", help="begin anew in a folder that holds a training")
    result.add_argument("--device", help="cpu, cuda, cuda:N or auto (default: NEUROMANCER_DEVICE, else cpu)")
    result.add_argument("--seed", type=int, help="of weights and random numbers (default: the file's, else 0)")
    result.add_argument(
        "--set", type=_assignment, action="append", default=[], metavar="NAME=VALUE", help="any other setting"
    )
    result.add_argument("--quiet", action="store_true", help="show nothing")
    return result


def changes_of(options: argparse.Namespace) -> dict[str, Any]:
    """Settings on the command line, which replace those of the file; ArgumentError if one is given twice."""
    changes: dict[str, Any] = {}
    own = {"minutes": options.minutes, "n_steps": options.steps, "seed": options.seed}
    own |= {
        "overwrite": options.overwrite or None,
        "folder": options.folder,
        "progress": False if options.quiet else None,
    }
    for name, value in [*options.set, *((name, value) for name, value in own.items() if value is not None)]:
        if name in changes:
            raise ArgumentError(
                "given twice", node=name, got=f"{changes[name]!r} and {value!r}", expected="one of them"
            )
        changes[name] = value
    return changes


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; exit status 0 when done, 1 with a message on an error, 130 when interrupted, 2 for wrong usage."""
    options = parser().parse_args(arguments)
    try:
        result = train(options)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        text = str(error) if isinstance(error, NeuromancerError) else f"{type(error).__name__}: {error}{_place(error)}"
        notes = "".join(f"\n  {note}" for note in getattr(error, "__notes__", []))
        sys.stderr.write(f"neuromancer-train: {text}{notes}\n")
        return FAILED
    return INTERRUPTED if result.reason == "interrupted" else DONE


def train(options: argparse.Namespace) -> TrainingResult:
    """Do what the command line says."""
    changes = changes_of(options)
    if options.device is not None:
        package_config.device = options.device
    neuromancer.seed(options.seed or 0)
    config = load_config(options.config, changes)
    config.settings.setdefault("progress", True)
    neuromancer.seed(config.settings.get("seed", 0))
    folder = Path(config.settings.get("folder") or options.config.with_suffix(""))
    trainer = config.trainer(folder, options.resume)
    trainer.open_folder()
    copy = folder / options.config.name
    with naming(copy):
        if not copy.exists() or not copy.samefile(options.config):
            write_whole(copy, options.config.read_bytes())
    return trainer.run()


def _place(error: BaseException) -> str:
    """Where an error arose that is none of the package's: in the user's data, a metric, an augmentation."""
    frames = traceback.extract_tb(error.__traceback__)
    return f", at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
