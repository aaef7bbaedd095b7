"""Position of a training run, and the checkpoints that it can be resumed from."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neuromancer.errors import ArgumentError, FileError, TrainingError, naming, short
from neuromancer.optim.optimisers import OPTIMISERS
from neuromancer.train.files import literal, remove_remains, require_writable
from neuromancer.utils import safe_file_name

if TYPE_CHECKING:
    from neuromancer.models.model import Model


@dataclass
class Position:
    """Progress of a training run, and measurements since the last row of its history.

    Attributes
    ----------
    step : int
        Steps done.
    seconds : float
        Time spent, including that before a resume.
    best_step : int
        Step with the best validation.
    since : list of float
        Losses since the last row.
    times : list of float
        Seconds spent on steps and on waiting for batches since the last row.

    Examples
    --------
    >>> position = Position()
    >>> for loss in (2.0, 4.0):
    ...     position.advance(loss, seconds=0.5, waited=0.0)
    >>> position.step, position.row()
    (2, {'loss': 3.0, 'step_time': 0.5, 'wait_time': 0.0})
    """

    step: int = 0
    seconds: float = 0.0
    best_step: int = 0
    since: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=lambda: [0.0, 0.0])

    def advance(self, loss: float, seconds: float, waited: float) -> None:
        """Count a step."""
        self.step += 1
        self.since.append(loss)
        self.times = [self.times[0] + seconds, self.times[1] + waited]

    def row(self) -> dict[str, float]:
        """Return means since the last row, and begin the next row."""
        n = len(self.since)
        row = {
            "loss": float(np.mean(self.since)), "step_time": self.times[0] / n, "wait_time": self.times[1] / n,
        }  # fmt: skip
        self.since, self.times = [], [0.0, 0.0]
        return row

    def get_state(self) -> dict[str, Any]:
        """Return all attributes as JSON values."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Position:
        """Return the position in a state that has passed :func:`check_state`; other entries are ignored."""
        return cls(**{field.name: state[field.name] for field in fields(cls)})


def at(step: int) -> dict[str, Any]:
    """Return the entries of a state that depend on the step, for a step at which a row of the history ended."""
    return {"step": step, "since": [], "times": [0.0, 0.0]}


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < MOST_STEPS


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def _is_duration(value: Any) -> bool:
    return _is_number(value) and value >= 0


def _are_numbers(value: Any) -> bool:
    return all(map(_are_numbers, value)) if isinstance(value, list) else _is_number(value)


def _are(value: Any, *kinds: Callable[[Any], bool]) -> bool:
    """Whether a value is a list with one entry of each kind, in order."""
    return isinstance(value, list) and len(value) == len(kinds) and all(f(v) for f, v in zip(kinds, value, strict=True))


def _table(value: Any, kind: Callable[[Any], bool]) -> bool:
    return isinstance(value, dict) and all(map(kind, value.values()))


def _is_change(value: Any) -> bool:
    """Whether a value is a change of :class:`LiveValues`: what was given, and a value or a scale."""
    whole = isinstance(value, dict) and set(value) in ({"given", "value"}, {"given", "scale"})
    return whole and all(_are_numbers(v) or (key == "given" and v is None) for key, v in value.items())


MOST_STEPS = 1 << 53
STATE: dict[str, tuple[Callable[[Any], bool], str]] = {
    "name": (lambda v: isinstance(v, str), "a string"),
    "optimiser": (lambda v: isinstance(v, str) and v in OPTIMISERS, f"one of {[*OPTIMISERS]}"),
    "data": (lambda v: v is None or _is_count(v), "a checksum"),
    "arrays": (lambda v: _table(v, lambda n: type(n) is int), "whole numbers by name"),
    "watch": (lambda v: _are(v, lambda best: best is None or _is_number(best), _is_count), "best value and patience"),
    "criterion": (lambda v: _are(v, lambda m: isinstance(m, str), lambda b: type(b) is bool), "metric and direction"),
    "starts": (lambda v: _table(v, _are_numbers), "finite numbers by target"),
    "step": (_is_count, "a number of steps"),
    "seconds": (_is_duration, "a duration"),
    "best_step": (_is_count, "a number of steps"),
    "since": (lambda v: isinstance(v, list) and all(map(_is_number, v)), "finite losses"),
    "times": (lambda v: _are(v, _is_duration, _is_duration), "two durations"),
}
"""Entries of the state of a training run: a check, and what it accepts."""
LATER: dict[str, tuple[Callable[[Any], bool], str]] = {
    "changes": (lambda v: _table(v, _is_change), "changed values by target"),
    "ema": (lambda v: v is None or (_is_number(v) and 0 < v < 1), "a decay between 0 and 1"),
}
"""Entries that files of earlier versions lack."""


def check_state(state: Mapping[str, Any], history: Mapping[str, Any], path: Path) -> None:
    """Raise FileError for a state or a history that no Trainer has written.

    Parameters
    ----------
    state : mapping of str to value
        As passed to :meth:`Checkpoints.write`.
    history : mapping of str to array
    path : Path
        File that holds both.
    """
    for key, (check, expected) in (*STATE.items(), *((key, LATER[key]) for key in LATER if key in state)):
        if key not in state or not check(state[key]):
            raise FileError(
                f"the state of the training is damaged: its {key}", where=str(path), expected=expected,
                got=short(state[key]) if key in state else "nothing",
            )  # fmt: skip
    shapes = {np.shape(values) for values in history.values()}
    steps = np.asarray(history.get("step", ()), "float64")
    whole = np.isfinite(steps).all() and (steps == np.floor(steps)).all()
    if len(shapes) > 1 or any(len(shape) != 1 for shape in shapes) or shapes - {steps.shape}:
        raise FileError(
            "the history of the training is damaged", where=str(path), got=f"columns of shapes {sorted(shapes)}",
            expected="columns of equal length, one of them 'step'",
        )  # fmt: skip
    if not whole or (np.diff(steps, prepend=0) < 0).any() or (steps > state["step"]).any():
        raise FileError(
            "the history of the training is damaged: its steps", where=str(path), got=short(steps[:4].tolist()),
            expected=f"ascending whole numbers up to {state['step']}",
        )  # fmt: skip


AVERAGED = ("best", "final")
"""Kinds of checkpoints beside which there is a model with averaged parameters, if there are averages."""
KIND = re.compile(r"last|(best|final)(-ema)?|\d+")


class Checkpoints:
    """Checkpoints of one training run: ``<name>-<kind>.h5`` in a folder.

    Parameters
    ----------
    folder : Path
    name : str
        Any string; file names use a safe form of it.

    Raises
    ------
    FileError
        If files cannot be written into the folder.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name, self.file_name = folder, name, safe_file_name(name)
        require_writable(folder)

    def path(self, kind: str) -> Path:
        """Return the path of a kind of checkpoint."""
        return self.folder / f"{self.file_name}-{kind}.h5"

    def files(self) -> list[Path]:
        """Return the existing checkpoints of this name."""
        return [
            path
            for path in sorted(self.folder.glob(f"{literal(self.file_name)}-*.h5"))
            if KIND.fullmatch(path.stem.removeprefix(f"{self.file_name}-"))
        ]

    def open(self, may_replace: bool, others: Iterable[Path] = ()) -> None:
        """Create the folder, and remove partial files that an interrupted process left in it.

        Parameters
        ----------
        may_replace : bool
            Whether existing files may be replaced: they belong to this run, or the caller wants to overwrite them.
        others : iterable of Path
            Files besides checkpoints that the run will write.

        Raises
        ------
        ArgumentError
            If files would be replaced without permission: those of a training run, or any others.
        FileError
            If the folder cannot be created.
        """
        found = [] if may_replace else [*self.files(), *(path for path in others if os.path.lexists(path))]
        if found:
            begun = self.path("last") in found
            raise ArgumentError(
                "the folder holds a training" if begun else "the folder holds files that the training would replace",
                where=f"training of {self.name}",
                got=str(self.folder) if begun else short([str(path) for path in found]),
                expected=("Trainer.resume(folder, data, ...) to continue, " if begun else "")
                + "overwrite=True to start over, or another folder",
            )
        with naming(self.folder, "the folder cannot be created"):
            self.folder.mkdir(parents=True, exist_ok=True)
        remove_remains(self.folder, self.file_name)

    def write(self, model: Model, kind: str, state: dict[str, Any], history: dict[str, np.ndarray]) -> Path:
        """Save a model with its training state.

        Raises
        ------
        TrainingError
            If a parameter or a moment of an optimiser is not finite; nothing is written.
        FileError
            If the file cannot be written; an existing one is left unchanged.
        """
        for what, bad in (("parameters", not_finite(model)), ("moments of the gradient", _bad_moments(model))):
            if bad:
                raise TrainingError(
                    f"{what} are not finite after step {state['step']}",
                    where=f"training of {self.name}",
                    got=bad,
                    expected="a smaller learning rate, or clip_norm=1, from the last checkpoint on",
                )
        model.history, model.training_state = history, {"name": self.name, **state}
        model.save(self.path(kind))
        return self.path(kind)

    def write_averages(self, model: Model, kind: str, state: dict[str, Any], history: dict[str, np.ndarray]) -> Path:
        """Save a model whose parameters are averages as ``<name>-<kind>-ema.h5``; training cannot be resumed from it.

        Raises
        ------
        FileError
            If the file cannot be written; an existing one is left unchanged.
        """
        before, path = model.training_state, self.path(f"{kind}-ema")
        model.history = history
        model.training_state = {"name": self.name, "ema": state["ema"], "averaged_until": state["step"]}
        try:
            model.save(path)
        finally:
            model.training_state = before
        return path


def last_of(folder: Path) -> Path:
    """Return the last checkpoint in a folder; raise FileError if there is none."""
    found = sorted(folder.glob("*-last.h5"), key=lambda p: p.stat().st_mtime)
    if not found:
        raise FileError("no checkpoint in the folder", where=str(folder), expected="a file <name>-last.h5")
    return found[-1]


def not_finite(model: Model) -> list[str]:
    """Return the names of parameters that are not finite."""
    return [
        f"{node}_{key}"
        for node, params in model.get_param_values().items()
        for key, value in params.items()
        if not np.isfinite(value).all()
    ]


def _bad_moments(model: Model) -> list[str]:
    return [
        f"{name} {key}"
        for name, optimiser in model.optimisers.items()
        for key, value in optimiser.get_state().items()
        if not np.isfinite(value).all()
    ]
