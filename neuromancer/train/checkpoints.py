"""Where a training is, and the model files from which it can go on."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neuromancer.errors import ArgumentError, FileError, TrainingError
from neuromancer.train.files import remove_remains, require_writable
from neuromancer.utils import safe_file_name

if TYPE_CHECKING:
    from neuromancer.models.model import Model


@dataclass
class Position:
    """How far a training is, and what it has measured since the last row of its history.

    Attributes
    ----------
    step : int
        Steps done.
    seconds : float
        Time spent on them, in all runs together.
    best_step : int
        After how many of them validation was best.
    since : list of float
        Losses since the last row.
    times : list of float
        Seconds for steps and for waiting for batches since then.

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
        """Means since the last row, which this ends."""
        n = len(self.since)
        row = {
            "loss": float(np.mean(self.since)), "step_time": self.times[0] / n, "wait_time": self.times[1] / n,
        }  # fmt: skip
        self.since, self.times = [], [0.0, 0.0]
        return row

    def get_state(self) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Position:
        """A position from what :meth:`get_state` returned, among other things."""
        lists = {name: [float(v) for v in state[name]] for name in ("since", "times")}
        return cls(int(state["step"]), float(state["seconds"]), int(state["best_step"]), **lists)


def at(step: int) -> dict[str, Any]:
    """The part of a state that says where a training is, for another step, with nothing measured since."""
    return {"step": step, "since": [], "times": [0.0, 0.0]}


class Checkpoints:
    """The model files of one training: ``<name>-<kind>.h5`` in a folder.

    Parameters
    ----------
    folder : Path
    name : str
        Any; files have it in a form that is safe.

    Raises
    ------
    FileError
        If files cannot be written into the folder.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name, self.file_name = folder, name, safe_file_name(name)
        require_writable(folder)

    def path(self, kind: str) -> Path:
        """Of a kind of checkpoint."""
        return self.folder / f"{self.file_name}-{kind}.h5"

    def open(self, goes_on: bool) -> None:
        """Make the folder; remove what an interrupted process left half-written.

        Parameters
        ----------
        goes_on : bool
            Whether it may hold a training.

        Raises
        ------
        ArgumentError
            If it holds one that it may not hold.
        FileError
            If it cannot be made.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileError("the folder cannot be made", node=str(self.folder), got=error.strerror) from error
        if not goes_on and self.path("last").exists():
            raise ArgumentError(
                "the folder holds a training",
                node=f"training of {self.name}",
                got=str(self.folder),
                expected="Trainer.resume(folder, data, ...) to go on, overwrite=True to begin anew, or another folder",
            )
        remove_remains(self.folder, self.file_name)

    def write(self, model: Model, kind: str, state: dict[str, Any], history: dict[str, np.ndarray]) -> Path:
        """Save a model with the state of its training.

        Raises
        ------
        TrainingError
            If a parameter, or what the optimiser keeps, is not finite; nothing is written then.
        FileError
            If the file cannot be written; one that exists is left as it is.
        """
        for what, bad in (("parameters", not_finite(model)), ("moments of the gradient", _spoilt_moments(model))):
            if bad:
                raise TrainingError(
                    f"{what} are not finite after step {state['step']}",
                    node=f"training of {self.name}",
                    got=bad,
                    expected="a smaller learning rate, or clip_norm=1, from the last checkpoint on",
                )
        model.history, model.training_state = history, {"name": self.name, **state}
        model.save(self.path(kind))
        return self.path(kind)


def last_of(folder: Path) -> Path:
    """The last checkpoint of a folder."""
    found = sorted(folder.glob("*-last.h5"), key=lambda p: p.stat().st_mtime)
    if not found:
        raise FileError("no checkpoint in the folder", node=str(folder), expected="a file <name>-last.h5")
    return found[-1]


def not_finite(model: Model) -> list[str]:
    """Names of the parameters that hold anything but finite numbers."""
    return [
        f"{node}_{key}"
        for node, params in model.get_param_values().items()
        for key, value in params.items()
        if not np.isfinite(value).all()
    ]


def _spoilt_moments(model: Model) -> list[str]:
    return [
        f"{name} {key}"
        for name, optimiser in model.optimisers.items()
        for key, value in optimiser.get_state().items()
        if not np.isfinite(value).all()
    ]
