"""Resuming training from a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from neuromancer.errors import ArgumentError, FileError, InputTypeError, NeuromancerError, nearest_name, short
from neuromancer.models.model import Model, model_manager, modelload
from neuromancer.places import local_file
from neuromancer.train.binding import BoundSchedule, finite
from neuromancer.train.checkpoints import Position, check_state, last_of
from neuromancer.train.history import History
from neuromancer.train.live import LiveValues
from neuromancer.train.stopping import EarlyStopping

STARTING = ("pretrained", "partial")
"""Options that say where a new run starts from."""


class Resumable(Protocol):
    """Interface of a trainer for :func:`restore`."""

    name: str
    model: Model
    optimiser: str
    n_steps: int | None
    first: Any
    watch: EarlyStopping
    history: History
    schedules: list[BoundSchedule]
    live: LiveValues

    @property
    def drawing(self) -> dict[str, Any]:
        """Parameters of random batches."""

    def continue_at(self, position: Position, path: Path, same_name: bool) -> None:
        """Continue at the position of a checkpoint."""

    def has_own_start(self, schedule: BoundSchedule) -> bool:
        """Whether a schedule starts at a value that was passed to the trainer."""


def require_options(options: Iterable[str], allowed: Iterable[str]) -> None:
    """Raise an error for options that a resumed run does not have."""
    names = [name for name in allowed if name not in ("folder", "overwrite", *STARTING)]
    for name in options:
        if name == "overwrite":
            raise ArgumentError("a resumed run overwrites nothing", where="Trainer.resume", got="overwrite")
        if name in STARTING:
            raise ArgumentError("a resumed run starts from its checkpoint", where="Trainer.resume", got=name)
        if name not in names:
            raise InputTypeError(
                "no such option", where="Trainer.resume", got=name, expected=f"one of {names}",
                nearest=nearest_name(name, names),
            )  # fmt: skip


def require_schedules(before: Iterable[str], options: Mapping[str, Any], name: str) -> None:
    """Raise ArgumentError if a run had schedules and `options` has none for the resumed run."""
    targets = sorted(before)
    if targets and "schedules" not in options:
        raise ArgumentError(
            "the training had schedules, which files do not hold", where=f"training of {name}",
            got=f"none of {targets}",
            expected=f"schedules={{{targets[0]!r}: ...}} as before, or others, or schedules={{}} to continue without",
        )  # fmt: skip


def checkpoint_of(folder: str | Path, checkpoint: str | Path | None = None) -> Path:
    """Return the checkpoint to resume from: the last one in a folder, unless another is given."""
    if checkpoint is not None:
        return local_file(checkpoint, "checkpoint")
    return last_of(local_file(folder, "folder"))


def load_checkpoint(path: Path, functors: Mapping[str, Callable[..., Any]] | None = None) -> Model:
    """Return the model of a checkpoint; raise FileError if no Trainer has written the file."""
    model = modelload(path, functors=functors)
    try:
        if "step" not in model.training_state:
            raise FileError("not a checkpoint of a training", where=str(path), expected="a file written by a Trainer")
        check_state(model.training_state, model.history, path)
        require_finite(model, path)
    except FileError:
        model_manager.delmodel(model.name)
        raise
    return model


def require_finite(model: Model, path: Path) -> None:
    """Raise FileError for moments of the gradient that are not finite; no Trainer writes such a checkpoint."""
    bad = [
        f"{name} {key}"
        for name, state in model.pending_states.items()
        for key, values in state.items()
        if not np.isfinite(values).all()
    ]
    if bad:
        raise FileError("the state of an optimiser is not finite", where=str(path), got=short(bad))


def restore(trainer: Resumable, state: dict[str, Any], path: Path) -> None:
    """Continue a training run with a new trainer.

    Parameters
    ----------
    trainer : Trainer
        Trainer of the model in the checkpoint; its own arguments take precedence over the state.
    state : dict
        Training state in the checkpoint.
    path : Path
        The checkpoint.

    Raises
    ------
    ArgumentError
        If the optimiser or the data is another one, or `n_steps` is below the steps done.
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
            "more steps have been done already", where=label, got=f"n_steps={trainer.n_steps}",
            expected=f"at least {position.step}, counted from the beginning",
        )  # fmt: skip
    trainer.continue_at(position, path, state["name"] == trainer.name)
    if state.get("criterion", trainer.watch.criterion) == trainer.watch.criterion:
        trainer.watch.set_state(state["watch"])
    trainer.history.load(trainer.model.history)
    for schedule in trainer.schedules:
        if schedule.target in state["starts"] and not trainer.has_own_start(schedule):
            _set_start(schedule, state["starts"][schedule.target], position.step, path)
    trainer.live.restore(state.get("changes", {}), position.step)


def _another(what: str, now: Any, before: Any, label: str) -> ArgumentError:
    return ArgumentError(f"training cannot be resumed with another {what}", where=label, got=now, expected=before)


def _set_start(schedule: BoundSchedule, value: Any, step: int, path: Path) -> None:
    try:
        start = finite(value, "start", schedule)
        if np.ndim(start) and np.shape(start) != np.shape(schedule.current):
            raise ArgumentError("the values do not fit the target", got=np.shape(start))
        schedule.start = start
        schedule.check([step])
    except NeuromancerError as error:
        raise FileError(
            f"the state of the training is damaged: the start of {schedule.target}", where=str(path), got=short(value),
            expected="values that it can have",
        ) from error  # fmt: skip
