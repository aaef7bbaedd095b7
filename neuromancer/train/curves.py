"""Schedules: values as functions of the training step.

A schedule is a pure function of the step and the start value, so training that is resumed at step n continues with the
value of step n.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from neuromancer.errors import ArgumentError
from neuromancer.train.binding import FORMS, Schedule, finite
from neuromancer.train.checks import switch, whole


class DecaySchedule(Schedule):
    """Stepwise exponential decay: ``start * factor ** (step // every)``.

    Parameters
    ----------
    factor : float
        Above 0.
    every : int
        Number of steps between multiplications.
    start : number or array, optional
        See :class:`Schedule`.

    Examples
    --------
    >>> [DecaySchedule(0.5, every=10, start=8.0).value(n) for n in (0, 9, 10, 35)]
    [8.0, 8.0, 4.0, 1.0]
    """

    def __init__(self, factor: float, every: int = 1000, start: Any = None) -> None:
        super().__init__(start)
        self.decay, self.every = _positive(factor, "factor", self), _count(every, "every", self)

    def factor(self, step: int) -> float:
        """See the class."""
        return self.decay ** (step // self.every)


class LinearSchedule(Schedule):
    """Linear ramp from start to end over `n_steps` steps, then constant.

    Parameters
    ----------
    n_steps : int
    end : number or array
        Value from step `n_steps` on, or from the next multiple of `every`.
    every : int
        Number of steps between changes of the value.
    start : number or array, optional
        See :class:`Schedule`.

    Examples
    --------
    >>> [LinearSchedule(100, end=1.0, start=3.0).value(n) for n in (0, 50, 100, 200)]
    [3.0, 2.0, 1.0, 1.0]
    """

    def __init__(self, n_steps: int, end: Any = 0.0, every: int = 1, start: Any = None) -> None:
        super().__init__(start)
        self.n_steps, self.every = _count(n_steps, "n_steps", self), _count(every, "every", self)
        self.end = finite(end, "end", self)

    def turns(self) -> list[int]:
        """See :class:`Schedule`."""
        return [0, self.n_steps + self.every]

    def _at(self, step: int, start: Any) -> Any:
        done = min(1.0, step // self.every * self.every / self.n_steps)
        return start + (self.end - start) * done


class CosineSchedule(Schedule):
    """Cosine annealing from start to end, then constant (Loshchilov & Hutter 2017, arXiv:1608.03983).

    Parameters
    ----------
    n_steps : int
    end : number or array
        Value from step `n_steps` on.
    restart : bool
        Restart from the start value every `n_steps` steps instead of staying at the end value.
    start : number or array, optional
        See :class:`Schedule`.

    Examples
    --------
    >>> [round(CosineSchedule(100, start=2.0).value(n), 3) for n in (0, 50, 100, 150)]
    [2.0, 1.0, 0.0, 0.0]
    """

    def __init__(self, n_steps: int, end: Any = 0.0, restart: bool = False, start: Any = None) -> None:
        super().__init__(start)
        self.n_steps, self.restart = _count(n_steps, "n_steps", self), switch(restart, "restart", type(self).__name__)
        self.end = finite(end, "end", self)

    def turns(self) -> list[int]:
        """See :class:`Schedule`."""
        return [0, self.n_steps - 1, self.n_steps]

    def _at(self, step: int, start: Any) -> Any:
        done = step % self.n_steps if self.restart else min(step, self.n_steps)
        return self.end + (start - self.end) * (0.5 * (1 + float(np.cos(np.pi * done / self.n_steps))))


class StepSchedule(Schedule):
    """Piecewise constant values.

    Parameters
    ----------
    updates : iterable of (step, value)
        In ascending order of steps.
    start : number or array, optional
        Value before the first update; see :class:`Schedule`.

    Examples
    --------
    >>> [StepSchedule([(10, 0.5), (20, 0.1)], start=1.0).value(n) for n in (9, 10, 19, 20)]
    [1.0, 0.5, 0.5, 0.1]
    """

    def __init__(self, updates: Iterable[tuple[int, Any]], start: Any = None) -> None:
        super().__init__(start)
        try:
            self.updates = [(whole(n, "step", type(self).__name__), finite(v, "a value", self)) for n, v in updates]
        except (TypeError, ValueError) as error:
            if isinstance(error, ArgumentError):
                raise
            raise ArgumentError(
                "updates must be pairs (step, value)", where=type(self).__name__, got=repr(updates)[:200]
            ) from None
        steps = [step for step, _ in self.updates]
        if not steps:
            raise ArgumentError(
                "there are no updates", where=type(self).__name__, got=[], expected="[(step, value), ...]"
            )
        if steps != sorted(set(steps)):
            raise ArgumentError(
                "the steps must ascend", where=type(self).__name__, got=steps, nearest=str(sorted(set(steps)))
            )

    def turns(self) -> list[int]:
        """See :class:`Schedule`."""
        return [0, *(step for step, _ in self.updates)]

    def _at(self, step: int, start: Any) -> Any:
        return next((value for when, value in reversed(self.updates) if when <= step), start)


class WarmUpSchedule(Schedule):
    """Linear warm-up to the full value, then another schedule, whose step 0 is the end of the warm-up.

    Parameters
    ----------
    n_steps : int
        Length of the warm-up.
    then : Schedule, optional
        Schedule after the warm-up; default: stay at the full value.
    factor : float
        Fraction of the full value at step 0, between 0 and 1.
    start : number or array, optional
        The full value; default: the start of `then`, else see :class:`Schedule`.

    Examples
    --------
    >>> schedule = WarmUpSchedule(10, then=CosineSchedule(100), start=2.0)
    >>> [schedule.value(n) for n in (0, 5, 10, 60, 110)]
    [0.0, 1.0, 2.0, 1.0, 0.0]
    """

    def __init__(self, n_steps: int, then: Schedule | None = None, factor: float = 0.0, start: Any = None) -> None:
        super().__init__(start)
        self.n_steps = _count(n_steps, "n_steps", self)
        if then is not None and not isinstance(then, Schedule):
            raise ArgumentError("then must be a schedule", where=type(self).__name__, got=repr(then)[:200])
        if isinstance(factor, bool) or not isinstance(factor, (int, float, np.number)) or not 0 <= factor <= 1:
            raise ArgumentError("factor must lie between 0 and 1", where=type(self).__name__, got=factor)
        self.then, self.lowest = then, float(factor)
        if then is not None and then.start is not None:
            if self.start is not None and not np.array_equal(self.start, then.start):
                raise ArgumentError(
                    "two different starts", where=type(self).__name__, got=f"{start!r}, and {then.start!r} in then",
                    expected="one of them",
                )  # fmt: skip
            self.start = then.start

    def turns(self) -> list[int]:
        """See :class:`Schedule`."""
        return [0, self.n_steps, *(self.n_steps + n for n in (self.then.turns() if self.then else []))]

    def _at(self, step: int, start: Any) -> Any:
        later = max(0, step - self.n_steps)
        full = start if self.then is None else self.then._at(later, start)
        rise = min(1.0, step / self.n_steps)
        return full * (self.lowest + (1 - self.lowest) * rise)


def _positive(value: Any, what: str, schedule: Any) -> float:
    number = finite(value, what, schedule)
    if np.ndim(number) or number <= 0:
        raise ArgumentError(f"{what} must be a number above 0", where=type(schedule).__name__, got=value)
    return float(number)


def _count(value: Any, what: str, schedule: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ArgumentError(
            f"{what} must be a number of steps", where=type(schedule).__name__, got=value, expected="an int >= 1"
        )
    return int(value)


def _linear(pair: Any) -> LinearSchedule:
    """Return a linear decay to 0 from ``[n_steps, start]``, in changes every 1000 steps."""
    if not isinstance(pair, (list, tuple)) or len(pair) != 2:
        raise ArgumentError(
            "lindec needs two numbers", where="lindec", got=repr(pair)[:200], expected="[n_steps, start]"
        )
    return LinearSchedule(pair[0], every=min(1000, whole(pair[0], "n", "lindec", 1)), start=pair[1])


FORMS.update(dec=DecaySchedule, lindec=_linear, updates=StepSchedule)
