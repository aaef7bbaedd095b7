"""Schedules: how a meta-parameter, a rate or a parameter of a node changes with the number of the training step.

A schedule is a pure function of the step and of the value at the beginning, so that a training that is resumed at step
n goes on with the value that it had there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from neuromancer.casts import exact_cast
from neuromancer.errors import ArgumentError, UnknownNameError, nearest_name
from neuromancer.train.meta import CLIPS, DEFAULTS

if TYPE_CHECKING:
    from neuromancer.model import Model

PROPERTIES = ("dropout_rates", "gradnet_rates", "mixing")
"""Properties of a model, besides the meta-parameters, that can be scheduled."""


class Schedule:
    """How a value changes with the step; the base of all schedules.

    Parameters
    ----------
    start : number or array, optional
        Value at step 0; default: the one that the target has when the schedule is bound to it.

    Raises
    ------
    ArgumentError
        For numbers that cannot be.

    Examples
    --------
    >>> class Halving(Schedule):
    ...     def factor(self, step):
    ...         return 0.5**step
    >>> Halving(start=8.0).value(2)
    2.0
    """

    def __init__(self, start: Any = None) -> None:
        self.start = None if start is None else _number(start, "start", self)

    def factor(self, step: int) -> Any:
        """The value at `step` as a multiple of that at the start."""
        raise NotImplementedError

    def value(self, step: int, start: Any = None) -> Any:
        """The value at a step.

        Parameters
        ----------
        step : int
            Number of training steps done.
        start : number or array, optional
            Value at step 0; default: the schedule's own.

        Raises
        ------
        ArgumentError
            If there is neither, or the step is negative.
        """
        if step < 0:
            raise ArgumentError("steps count from 0", node=type(self).__name__, got=step)
        start = self.start if start is None else start
        if start is None:
            raise ArgumentError(
                "a schedule without a start is to be bound to a model", node=type(self).__name__, got="start=None"
            )
        return self._at(int(step), start)

    def _at(self, step: int, start: Any) -> Any:
        return start * self.factor(step)

    def bind(self, model: Model, target: str, start: Any = None) -> BoundSchedule:
        """Connect the schedule to a value of a model.

        Parameters
        ----------
        model : Model
        target : str
            A meta-parameter (``lr``, ``mom``, ``wd``, ``beta2``, ``clip_value``, ``clip_norm``), a property
            (``dropout_rates``, ``gradnet_rates``, ``mixing``), another number that the model has as an attribute, or a
            parameter that is not trained as ``<node>_<parameter>``.
        start : number or array, optional
            Value at step 0; default: that of the schedule, else the target's present one.

        Returns
        -------
        BoundSchedule

        Raises
        ------
        UnknownNameError
            If the model has no such value.
        ArgumentError
            If it cannot be set.
        """
        return BoundSchedule(self, model, target, start)

    def __repr__(self) -> str:
        values = ", ".join(f"{k}={v!r}" for k, v in vars(self).items() if v is not None)
        return f"{type(self).__name__}({values})"


class DecaySchedule(Schedule):
    """Multiply by a factor again and again: ``start * factor ** (step // every)``.

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
    """From start to end along a line of `n_steps` steps, constant after that.

    Parameters
    ----------
    n_steps : int
    end : number or array
        Value from step `n_steps` on.
    every : int
        The value changes only every so many steps.
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
        self.end = _number(end, "end", self)

    def _at(self, step: int, start: Any) -> Any:
        done = min(1.0, step // self.every * self.every / self.n_steps)
        return start + (self.end - start) * done


class CosineSchedule(Schedule):
    """From start to end along half a cosine, constant after that (Loshchilov & Hutter 2017, arXiv:1608.03983).

    Parameters
    ----------
    n_steps : int
    end : number or array
        Value from step `n_steps` on.
    restart : bool
        Begin again at the start every `n_steps` steps instead of staying at the end.
    start : number or array, optional
        See :class:`Schedule`.

    Examples
    --------
    >>> [round(CosineSchedule(100, start=2.0).value(n), 3) for n in (0, 50, 100, 150)]
    [2.0, 1.0, 0.0, 0.0]
    """

    def __init__(self, n_steps: int, end: Any = 0.0, restart: bool = False, start: Any = None) -> None:
        super().__init__(start)
        self.n_steps, self.restart = _count(n_steps, "n_steps", self), bool(restart)
        self.end = _number(end, "end", self)

    def _at(self, step: int, start: Any) -> Any:
        done = step % self.n_steps if self.restart else min(step, self.n_steps)
        return self.end + (start - self.end) * (0.5 * (1 + float(np.cos(np.pi * done / self.n_steps))))


class StepSchedule(Schedule):
    """Values that are set at given steps and stay until the next.

    Parameters
    ----------
    updates : iterable of (step, value)
        Steps ascending.
    start : number or array, optional
        Before the first of them; see :class:`Schedule`.

    Examples
    --------
    >>> [StepSchedule([(10, 0.5), (20, 0.1)], start=1.0).value(n) for n in (9, 10, 19, 20)]
    [1.0, 0.5, 0.5, 0.1]
    """

    def __init__(self, updates: Iterable[tuple[int, Any]], start: Any = None) -> None:
        super().__init__(start)
        try:
            self.updates = [(int(step), _number(value, "a value", self)) for step, value in updates]
        except (TypeError, ValueError) as error:
            if isinstance(error, ArgumentError):
                raise
            raise ArgumentError(
                "updates must be pairs (step, value)", node=type(self).__name__, got=repr(updates)[:200]
            ) from None
        steps = [step for step, _ in self.updates]
        if steps != sorted(set(steps)) or (steps and steps[0] < 0):
            raise ArgumentError(
                "the steps must ascend", node=type(self).__name__, got=steps, nearest=str(sorted(set(steps)))
            )

    def _at(self, step: int, start: Any) -> Any:
        return next((value for when, value in reversed(self.updates) if when <= step), start)


class WarmUpSchedule(Schedule):
    """Rise along a line to the full value, then follow another schedule, whose step 0 is the end of the rise.

    Parameters
    ----------
    n_steps : int
        Length of the rise.
    then : Schedule, optional
        What follows; default: the full value stays.
    factor : float
        Fraction of the full value at step 0, between 0 and 1.
    start : number or array, optional
        The full value; default: that of `then`, else see :class:`Schedule`.

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
            raise ArgumentError("then must be a schedule", node=type(self).__name__, got=repr(then)[:200])
        if isinstance(factor, bool) or not isinstance(factor, (int, float, np.number)) or not 0 <= factor <= 1:
            raise ArgumentError("factor must lie between 0 and 1", node=type(self).__name__, got=factor)
        self.then, self.lowest = then, float(factor)
        if start is None and then is not None:
            self.start = then.start

    def _at(self, step: int, start: Any) -> Any:
        later = max(0, step - self.n_steps)
        full = start if self.then is None else self.then._at(later, start)
        rise = min(1.0, step / self.n_steps)
        return full * (self.lowest + (1 - self.lowest) * rise)


class BoundSchedule:
    """A schedule together with the value of a model that it sets.

    Parameters
    ----------
    schedule : Schedule
    model : Model
    target : str
        See :meth:`Schedule.bind`.
    start : number or array, optional
        Value at step 0; default: that of the schedule, else the target's present one.

    Attributes
    ----------
    start : number or array
        Value at step 0. To resume a training, bind again with the same.

    Raises
    ------
    UnknownNameError, ArgumentError
        See :meth:`Schedule.bind`.

    Examples
    --------
    >>> import neuromancer as nm
    >>> model = nm.model_manager.newmodel("scheduled")
    >>> model.lr = 0.5
    >>> bound = DecaySchedule(0.1, every=100).bind(model, "lr")
    >>> round(bound.apply(250), 6), round(model.lr, 6)
    (0.005, 0.005)
    >>> nm.model_manager.delmodel("scheduled")
    """

    def __init__(self, schedule: Schedule, model: Model, target: str, start: Any = None) -> None:
        self.schedule, self.model, self.target = schedule, model, target
        if target not in self._names():
            raise UnknownNameError(
                f"nothing to schedule is called {target!r}",
                node=f"model {model.name}",
                got=target,
                expected=f"one of {self._names()}",
                nearest=nearest_name(target, self._names()),
            )
        present = self.current
        given = start if start is not None else schedule.start
        self.start = _number(present if given is None else given, "start", schedule)
        if np.ndim(self.start) and np.shape(self.start) != np.shape(present):
            raise ArgumentError(
                "the values do not fit the target",
                node=f"model {model.name}",
                got=f"{np.shape(self.start)} for {target}",
                expected=np.shape(present),
            )

    @property
    def current(self) -> Any:
        """The target's present value."""
        if self.target in self.model.meta.params:
            return self.model.meta[self.target]
        if self._is_attribute():
            value = getattr(self.model, self.target)
            return np.array(value) if isinstance(value, (list, tuple)) else value
        value = self._params()[self.target].get_value()
        return value if value.ndim else value.item()

    def apply(self, step: int) -> Any:
        """Set the target to its value at `step` and return that.

        Parameters
        ----------
        step : int
            Number of training steps done.

        Raises
        ------
        ArgumentError
            If the target cannot have the value.
        """
        value = self.schedule.value(step, self.start)
        if self.target in self.model.meta.params:
            self.model.meta.set({self.target: value})
        elif self._is_attribute():
            setattr(self.model, self.target, value)
        else:
            param = self._params()[self.target]
            if not np.isfinite(value).all():
                raise ArgumentError(f"{self.target} would not be finite", node=repr(self.schedule), got=value)
            fitting = exact_cast(value, param.dtype, repr(self.schedule), self.target)
            param.set_value(np.broadcast_to(fitting, param.get_value().shape).copy())
        return value

    def _is_attribute(self) -> bool:
        return self.target in PROPERTIES or self.target in self._numbers()

    def _numbers(self) -> list[str]:
        """Numbers that somebody hung on the model."""
        return [
            key
            for key, value in vars(self.model).items()
            if not key.startswith("_") and isinstance(value, (int, float)) and not isinstance(value, bool)
        ]

    def _params(self) -> dict[str, Any]:
        """Parameters that are neither trained nor constant, by node and name."""
        return {
            f"{node.name}_{key}": param
            for node in self.model.nodes.values()
            for key, param in node.params.items()
            if not param.apply_train and not param.constant
        }

    def _names(self) -> list[str]:
        return [*DEFAULTS, *CLIPS, *PROPERTIES, *self._numbers(), *self._params()]

    def __repr__(self) -> str:
        return f"{self.target}: {self.schedule!r} from {self.start!r}"


def make_schedules(model: Model, specification: dict[str, Any]) -> list[BoundSchedule]:
    """Schedules from the short form that configuration files use.

    Parameters
    ----------
    model : Model
    specification : dict of str to (Schedule or dict)
        By target; a dict has one key: ``{"dec": factor}`` multiplies every 1000 steps, ``{"lindec": [n, start]}`` goes
        to 0 along a line of n steps, in pieces of 1000, and ``{"updates": [(step, value), ...]}`` sets values.

    Returns
    -------
    list of BoundSchedule

    Raises
    ------
    UnknownNameError, ArgumentError
        For unknown targets and kinds.

    Examples
    --------
    >>> import neuromancer as nm
    >>> model = nm.model_manager.newmodel("configured")
    >>> [b] = make_schedules(model, {"lr": {"lindec": [4000, 0.2]}})
    >>> b.apply(1999)
    0.15000000000000002
    >>> nm.model_manager.delmodel("configured")
    """
    return [_from_config(spec, target).bind(model, target) for target, spec in specification.items()]


def _from_config(spec: Any, target: str) -> Schedule:
    if isinstance(spec, Schedule):
        return spec
    kinds = {
        "dec": lambda factor: DecaySchedule(factor),
        "lindec": lambda pair: LinearSchedule(pair[0], every=min(1000, int(pair[0])), start=pair[1]),
        "updates": lambda updates: StepSchedule(updates),
    }
    if not isinstance(spec, dict) or len(spec) != 1 or next(iter(spec)) not in kinds:
        raise ArgumentError(
            "unknown kind of schedule",
            node=f"schedule of {target}",
            got=repr(spec)[:200],
            expected=f"a Schedule or a dict with one key out of {list(kinds)}",
        )
    ((kind, value),) = spec.items()
    if kind == "lindec" and (not isinstance(value, (list, tuple)) or len(value) != 2):
        raise ArgumentError(
            "lindec needs two numbers", node=f"schedule of {target}", got=repr(value)[:200], expected="[n_steps, start]"
        )
    return kinds[kind](value)


def _number(value: Any, what: str, schedule: Any) -> Any:
    """A finite float, or an array of them."""
    try:
        array = np.asarray(value, dtype="float64")
    except (TypeError, ValueError):
        array = np.array(np.nan)
    if isinstance(value, (str, bool)) or not np.isfinite(array).all():
        raise ArgumentError(f"{what} must be finite numbers", node=type(schedule).__name__, got=repr(value)[:200])
    return array if array.ndim else float(array)


def _positive(value: Any, what: str, schedule: Any) -> float:
    number = _number(value, what, schedule)
    if np.ndim(number) or number <= 0:
        raise ArgumentError(f"{what} must be a number above 0", node=type(schedule).__name__, got=value)
    return float(number)


def _count(value: Any, what: str, schedule: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ArgumentError(
            f"{what} must be a number of steps", node=type(schedule).__name__, got=value, expected="an int >= 1"
        )
    return int(value)
