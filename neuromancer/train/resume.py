"""Going on with a training from a checkpoint."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from neuromancer.errors import ArgumentError, FileError, InputTypeError, nearest_name
from neuromancer.models.model import Model, modelload
from neuromancer.train.binding import BoundSchedule
from neuromancer.train.checkpoints import Position, last_of
from neuromancer.train.history import History
from neuromancer.train.stopping import EarlyStopping


class Resumable(Protocol):
    """What :func:`restore` needs of a trainer."""

    name: str
    model: Model
    optimiser: str
    n_steps: int | None
    first: Any
    watch: EarlyStopping
    history: History
    schedules: list[BoundSchedule]

    @property
    def drawing(self) -> dict[str, Any]:
        """How batches are drawn."""

    def go_on_at(self, position: Position, path: Path, same_name: bool) -> None:
        """Begin at a position other than step 0."""

    def starts_anew(self, schedule: BoundSchedule) -> bool:
        """Whether a schedule begins at a value that the trainer was given."""


def require_options(options: Iterable[str], allowed: Iterable[str]) -> None:
    """Raise an error for options that a training that goes on does not have."""
    names = [name for name in allowed if name not in ("folder", "overwrite")]
    for name in options:
        if name == "overwrite":
            raise ArgumentError("a training that goes on overwrites nothing", node="Trainer.resume", got="overwrite")
        if name not in names:
            raise InputTypeError(
                "no such option", node="Trainer.resume", got=name, expected=f"one of {names}",
                nearest=nearest_name(name, names),
            )  # fmt: skip


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what goes wrong with the state in a checkpoint into a FileError."""
    try:
        yield
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        if isinstance(error, (ArgumentError, InputTypeError)):
            raise
        raise FileError(
            "the state of the training is damaged", node=str(path), got=f"{type(error).__name__}: {error}"[:200]
        ) from error


def checkpoint_of(folder: str | Path, checkpoint: str | Path | None = None) -> Path:
    """The file to go on from: the last one of a folder, unless another is given."""
    for name, value in (("folder", folder), ("checkpoint", checkpoint or "")):
        if not isinstance(value, (str, os.PathLike)):
            raise InputTypeError(f"unusable {name}", node="Trainer.resume", got=repr(value)[:100], expected="a path")
    return Path(checkpoint) if checkpoint is not None else last_of(Path(folder))


def load_checkpoint(path: Path, functors: Mapping[str, Callable[..., Any]] | None = None) -> Model:
    """The model of a checkpoint; FileError if no Trainer has written the file."""
    model = modelload(path, functors=functors)
    if "step" not in model.training_state:
        raise FileError("no checkpoint of a training", node=str(path), expected="a file written by a Trainer")
    return model


def restore(trainer: Resumable, state: dict[str, Any], path: Path) -> None:
    """Put a new trainer where an earlier one was.

    Parameters
    ----------
    trainer : Trainer
        Of the model in the checkpoint; what it was given is kept.
    state : dict
        Of the checkpoint.
    path : Path
        The checkpoint.

    Raises
    ------
    ArgumentError
        If optimiser or data are others, or fewer steps are wanted than are done.
    """
    label = f"training of {trainer.name}"
    if state["optimiser"] != trainer.optimiser:
        raise _another("optimiser", trainer.optimiser, state["optimiser"], label)
    if state["data"] != trainer.first:
        before, now = state.get("arrays", {}), trainer.drawing
        changed = [key for key in now if before.get(key, now[key]) != now[key]]
        shown = [", ".join(f"{key}={d[key]}" for key in changed) for d in (now, before)]
        if not changed:
            shown = [f"a first batch with the checksum {value}" for value in (trainer.first, state["data"])]
        raise _another("data", shown[0], shown[1], label)
    position = Position.from_state(state)
    if trainer.n_steps is not None and trainer.n_steps < position.step:
        raise ArgumentError(
            "more steps are done already", node=label, got=f"n_steps={trainer.n_steps}",
            expected=f"at least {position.step}, counted from the beginning",
        )  # fmt: skip
    trainer.go_on_at(position, path, state["name"] == trainer.name)
    if state.get("criterion", trainer.watch.criterion) == trainer.watch.criterion:
        trainer.watch.set_state(state["watch"])
    trainer.history.load(trainer.model.history)
    for schedule in trainer.schedules:
        if schedule.target in state["starts"] and not trainer.starts_anew(schedule):
            _set_start(schedule, state["starts"][schedule.target])


def _another(what: str, now: Any, before: Any, label: str) -> ArgumentError:
    return ArgumentError(f"a training cannot go on with another {what}", node=label, got=now, expected=before)


def _set_start(schedule: BoundSchedule, value: Any) -> None:
    schedule.start = np.asarray(value, "float64") if isinstance(value, list) else float(value)
