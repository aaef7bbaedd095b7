"""A schedule, and a schedule at work: bound to a meta-parameter, a rate or a parameter of a node of a model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from neuromancer.casts import exact_cast
from neuromancer.errors import ArgumentError, UnknownNameError, blame, nearest_name
from neuromancer.models.model import Model
from neuromancer.optim.meta import CLIPS, DEFAULTS
from neuromancer.utils import as_floatX

PROPERTIES = ("dropout_rates", "gradnet_rates", "mixing")
"""Properties of a model, besides the meta-parameters, that can be scheduled."""

FACTS = ("batch_size", "ndim")
"""Numbers of a model that say how it was built; nothing follows from setting them."""


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
        self.start = None if start is None else finite(start, "start", self)

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
            raise ArgumentError("steps count from 0", where=type(self).__name__, got=step)
        start = self.start if start is None else start
        if start is None:
            raise ArgumentError(
                "a schedule without a start is to be bound to a model", where=type(self).__name__, got="start=None"
            )
        return self._at(int(step), start)

    def _at(self, step: int, start: Any) -> Any:
        return start * self.factor(step)

    def turns(self) -> list[int]:
        """Steps at which the value can be at its largest or smallest; between them it neither rises above nor falls
        below what it is there."""
        return [0]

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
    from_target : bool
        Whether that is the value that the target had, as neither the schedule nor the caller gave one.

    Raises
    ------
    UnknownNameError, ArgumentError
        See :meth:`Schedule.bind`.

    Examples
    --------
    >>> import neuromancer as nm
    >>> model = nm.model_manager.newmodel("scheduled")
    >>> model.lr = 0.5
    >>> from neuromancer.train.schedules import DecaySchedule
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
                where=f"model {model.name}",
                got=target,
                expected=f"one of {self._names()}",
                nearest=nearest_name(target, self._names()),
            )
        present = self.current
        given = start if start is not None else schedule.start
        self.from_target = given is None
        self.start = finite(present if given is None else given, "start", schedule)
        if np.ndim(self.start) and np.shape(self.start) != np.shape(present):
            raise ArgumentError(
                "the values do not fit the target",
                where=f"model {model.name}",
                got=f"{np.shape(self.start)} for {target}",
                expected=np.shape(present),
            )
        self.check(schedule.turns())

    def check(self, steps: Iterable[int]) -> None:
        """Raise ArgumentError if the target cannot have the value that the schedule has at one of some steps."""
        present, given = self.current, set(self.model.meta.given)
        try:
            for step in steps:
                with blame(f"schedule of {self.target}, step {step}"):
                    self.apply(step)
        finally:
            self._set(present)
            self.model.meta.given = given

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
        self._set(value)
        return value

    def _set(self, value: Any) -> None:
        if self.target in self.model.meta.params:
            self.model.meta.set({self.target: value if self.target in CLIPS else _faded(value)})
        elif self._is_attribute():
            setattr(self.model, self.target, _faded(value) if self.target in PROPERTIES else value)
        else:
            param = self._params()[self.target]
            if not np.isfinite(value).all():
                raise ArgumentError(f"{self.target} would not be finite", where=repr(self.schedule), got=value)
            if np.ndim(value) and np.shape(value) != param.get_value().shape:
                raise ArgumentError(
                    f"{self.target} has another shape", where=repr(self.schedule), got=np.shape(value),
                    expected=param.get_value().shape,
                )  # fmt: skip
            fitting = exact_cast(value, param.dtype, repr(self.schedule), self.target)
            param.set_value(np.broadcast_to(fitting, param.get_value().shape).copy())

    def _is_attribute(self) -> bool:
        return self.target in PROPERTIES or self.target in self._numbers()

    def _numbers(self) -> list[str]:
        """Numbers that somebody hung on the model."""
        return [
            key
            for key, value in vars(self.model).items()
            if key not in FACTS
            and not key.startswith("_")
            and isinstance(value, (int, float))
            and not isinstance(value, bool)
        ]

    def _params(self) -> dict[str, Any]:
        """Parameters that are neither trained nor constant, by node and name."""
        return {
            f"{node.name}_{key}": param
            for node in self.model.nodes.values()
            for key, param in node.params.items()
            if not param.apply_train and not param.constant
        }

    def touched(self) -> list[Any]:
        """The parameters of nodes that it sets."""
        if self.target == "mixing":
            return [self.model._mixing_loss().params["mixing_weights"]]
        if self.target in PROPERTIES:
            return self.model._rate_params(self.target[:-1])
        return [param for name, param in self._params().items() if name == self.target]

    def _names(self) -> list[str]:
        rates = [name for name in ("dropout_rates", "gradnet_rates") if getattr(self.model, name)]
        return [*DEFAULTS, *CLIPS, *rates, "mixing", *self._numbers(), *self._params()]

    def __repr__(self) -> str:
        return f"{self.target}: {self.schedule!r} from {self.start!r}"


def _faded(value: Any) -> Any:
    """A value with 0 for what has decayed to less than the configured precision has."""
    return np.where(as_floatX(value) == 0, 0.0, value) if np.ndim(value) else value * bool(as_floatX(value))


def finite(value: Any, what: str, schedule: Any) -> Any:
    """A finite float, or an array of them that is nobody else's."""
    try:
        array = np.array(value, dtype="float64")
    except (TypeError, ValueError):
        array = np.array(np.nan)
    if isinstance(value, (str, bool, np.bool_)) or np.iscomplexobj(value) or not np.isfinite(array).all():
        raise ArgumentError(f"{what} must be finite numbers", where=type(schedule).__name__, got=repr(value)[:200])
    return array if array.ndim else float(array)
