"""Values that change while a training runs: learning rate, momentum, rates and whatever else can be scheduled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from neuromancer.errors import ArgumentError, short
from neuromancer.models.model import Model
from neuromancer.train.binding import BoundSchedule, Schedule
from neuromancer.train.checks import known


class Fixed(Schedule):
    """A value that does not change; binding it checks that a target can have it.

    Parameters
    ----------
    start : number or array

    Examples
    --------
    >>> Fixed(0.1).value(1000)
    0.1
    """

    def factor(self, step: int) -> float:
        """See the class."""
        return 1.0


class LiveValues:
    """Changes of a model's values during a run.

    A schedule goes on with all its further values multiplied. A change is kept by checkpoints, and undone by a resume
    that passes another value for its target.

    Parameters
    ----------
    model : Model
    schedules : sequence of BoundSchedule
        Those of the run.
    params : mapping of str to float
        Meta-parameters that the user passed.
    names : sequence of str
        Meta-parameters of the optimiser in use.
    """

    def __init__(
        self, model: Model, schedules: Sequence[BoundSchedule], params: Mapping[str, float], names: Sequence[str]
    ) -> None:
        self.model, self.params, self.names = model, params, list(names)
        self.schedules = {schedule.target: schedule for schedule in schedules}
        self.changes: dict[str, dict[str, Any]] = {}

    @property
    def targets(self) -> list[str]:
        """Names of the values that can be changed."""
        rates = [name for name in ("dropout_rates", "gradnet_rates") if getattr(self.model, name)]
        return list(dict.fromkeys([*self.names, *rates, *self.schedules]))

    def set(self, target: str, value: float, step: int) -> str:
        """Change a value from a step on.

        Parameters
        ----------
        target : str
            One of :attr:`targets`.
        value : float
        step : int
            Steps done; the next step is the first with the new value.

        Returns
        -------
        str
            What holds now.

        Raises
        ------
        UnknownNameError, ArgumentError
            For an unknown target, or a value that it cannot take; nothing is changed.
        """
        known([target], self.targets, "nothing that can be changed is called so", "command")
        schedule = self.schedules.get(target)
        if schedule is None:
            try:
                Fixed(value).bind(self.model, target).apply(step)
            except ArgumentError as error:
                error.node = target  # the user knows of no schedule
                raise
            given = self.params.get(target)
            self.changes[target] = {"given": None if given is None else float(given), "value": value}
            return f"{target} is {value:g}"
        scale = self._scale(schedule, value, step)
        schedule.rescale(scale, step)
        schedule.apply(step)
        self.changes[target] = {"given": np.asarray(schedule.start).tolist(), "scale": scale}
        return f"{target} is {value:g}, and its schedule goes on from there, times {scale:g}"

    @staticmethod
    def _scale(schedule: BoundSchedule, value: float, step: int) -> float:
        present = np.asarray(schedule.schedule.value(step, schedule.start), "float64")
        if present.size == 0 or not (present == present.flat[0]).all() or present.flat[0] == 0:
            raise ArgumentError(
                f"the schedule of {schedule.target} cannot be scaled to a number", where="command", got=value,
                expected=f"its value at step {step} to be one number other than 0, not {short(present.tolist())}",
            )  # fmt: skip
        return value / float(present.flat[0])

    def restore(self, changes: Mapping[str, Mapping[str, Any]], step: int) -> None:
        """Make the changes of a checkpoint again, except those whose target was given another value since."""
        for target, change in changes.items():
            schedule = self.schedules.get(target)
            if schedule is not None and "scale" in change and np.array_equal(schedule.start, change["given"]):
                schedule.rescale(change["scale"], step)
            elif schedule is None and "value" in change and self.params.get(target) in (None, change["given"]):
                Fixed(change["value"]).bind(self.model, target).apply(step)
            else:
                continue
            self.changes[target] = dict(change)
