"""The command ``neuromancer-train``."""

from __future__ import annotations

import argparse
import ast
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from neuromancer.commands.console import DONE, INTERRUPTED, Parser, end_with, ending_at_once, prepare_streams, run
from neuromancer.config import config as package_config
from neuromancer.errors import ArgumentError, naming
from neuromancer.files import write_whole

if TYPE_CHECKING:
    from neuromancer.train.trainer import Trainer

DESCRIPTION = """Train the model of a configuration file.

The file is Python: a function create_model(), a function create_data(model) that returns training data (or training
and validation data), and variables with the names of the Trainer's arguments: n_steps, minutes, optimiser, schedules,
validate_every, ... Files go into a folder beside it, or into --folder. Ctrl-C saves and exits; --resume continues.
"""


def _assignment(text: str) -> tuple[str, Any]:
    name, sign, value = text.partition("=")
    if not sign:
        raise argparse.ArgumentTypeError(f"{text!r} is not name=value")
    try:
        return name.strip(), ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):  # the latter two by Python's parser
        return name.strip(), value


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    result = Parser(
        prog="neuromancer-train", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument("config", help="configuration file, such as examples/unet3d_lite.py")
    result.add_argument("--minutes", type=float, help="time limit, including time before a resume")
    result.add_argument("--steps", type=int, metavar="N", help="last step")
    result.add_argument("--folder", help="output folder (default: named like the file, beside it)")
    either = result.add_mutually_exclusive_group()
    either.add_argument("--resume", action="store_true", help="continue from the last checkpoint in the folder")
    either.add_argument("--overwrite", action="store_true", help="start over in a folder that holds a training run")
    result.add_argument("--device", help="cpu, cuda, cuda:N or auto (default: NEUROMANCER_DEVICE, else cpu)")
    result.add_argument("--from", metavar="MODEL", dest="pretrained", help="start from the parameters of a model file")
    result.add_argument("--partial", action="store_true", help="list what does not fit MODEL, and keep initial values")
    result.add_argument(
        "--freeze", action="append", metavar="PATTERN", help="nodes or parameters to leave unchanged, such as 'conv*'"
    )
    result.add_argument("--tensorboard", action="store_true", help="also write curves and previews for TensorBoard")
    result.add_argument("--show", action="store_true", help="draw the first batch with its labels, and end")
    result.add_argument("--seed", type=int, help="seed of weights and random numbers (default: the file's, else 0)")
    result.add_argument(
        "--set", type=_assignment, action="append", default=[], metavar="NAME=VALUE", help="any other setting"
    )
    result.add_argument("--quiet", action="store_true", help="show no progress")
    return result


def changes_of(options: argparse.Namespace) -> dict[str, Any]:
    """Return the settings on the command line, which replace those of the file; refuse any that is given twice."""
    changes: dict[str, Any] = {}
    own = {"minutes": options.minutes, "n_steps": options.steps, "seed": options.seed}
    own |= {
        "pretrained": options.pretrained,
        "partial": options.partial or None,
        "freeze": options.freeze,
        "tensorboard": options.tensorboard or None,
        "overwrite": options.overwrite or None,
        "folder": options.folder,
        "progress": False if options.quiet else None,
    }
    for name, value in [*options.set, *((name, value) for name, value in own.items() if value is not None)]:
        if name in changes:
            raise ArgumentError(
                "given twice", where=name, got=f"{changes[name]!r} and {value!r}", expected="one of them"
            )
        changes[name] = value
    return changes


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 0 when done, 1 on an error, 130 when interrupted; exit with 2 on wrong usage."""
    prepare_streams()
    options = parser().parse_args(arguments)
    return run("neuromancer-train", lambda: _train(options))


def _train(options: argparse.Namespace) -> int:
    """Train as the command line says; return the exit status."""
    with ending_at_once():
        from neuromancer.progress import say
        from neuromancer.train.config_file import failing_run, load_config
        from neuromancer.utils import seed

    changes = changes_of(options)
    if options.device is not None:
        package_config.device = options.device
    seed(options.seed or 0)
    config = load_config(options.config, changes)
    config.settings.setdefault("progress", True)
    seed(config.settings.get("seed", 0))
    folder = config.folder
    trainer = config.trainer(folder, options.resume)
    if options.show:
        return _show(trainer, folder)
    if trainer.progress:
        for remark in config.remarks:
            say(f"{config.path.name}: {remark}")
    copy, text = folder / config.path.name, config.path.read_bytes()
    with naming(copy):
        same = copy.is_file() and copy.read_bytes() == text
    # A training run that has begun has left a copy of its configuration, which may have changed since.
    trainer.open_folder([] if same or (folder / "history.csv").exists() else [copy])
    if not same:
        write_whole(copy, text)
    with failing_run(config.path):
        return INTERRUPTED if trainer.run().reason == "interrupted" else DONE


def _show(trainer: Trainer, folder: Path) -> int:
    """Draw the first batch into the folder, and say where; return the exit status."""
    from neuromancer.progress import say
    from neuromancer.train.run_files import FIRST

    with naming(folder, "the folder cannot be created"):
        folder.mkdir(parents=True, exist_ok=True)
    trainer.show_batch(folder / FIRST)
    say(f"the first batch is drawn in {folder / FIRST}")
    return DONE


def program() -> NoReturn:
    """Run the command line as the whole process."""
    end_with(main)


if __name__ == "__main__":
    program()
