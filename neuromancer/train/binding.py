"""Schedules, and schedules bound to a value of a model: a meta-parameter, a rate or a node's parameter."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from inspect import Signature, signature
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
"""Attributes that record how a model was built; setting them has no effect."""


FORMS: dict[str, Callable[[Any], Schedule]] = {}
"""Schedules from the short forms of the original library, by keyword."""


class _ShortForms(type):
    """Lets ``Schedule(dec=0.5)`` and the like create the schedule of that kind."""

    @property
    def __signature__(cls) -> Signature:
        """Signature of the constructor, which editors and the reference show."""
        made = signature(cls.__init__)  # type: ignore[misc]
        return made.replace(parameters=list(made.parameters.values())[1:])

    def __call__(cls, *args: Any, **options: Any) -> Any:
        kind = next(iter(options), None)
        if cls is Schedule and not args and len(options) == 1 and kind in FORMS:
            return FORMS[kind](options[kind])
        return super().__call__(*args, **options)


class Schedule(metaclass=_ShortForms):
    """Base class of schedules: a value as a function of the training step.

    As in the original library, ``Schedule(dec=factor)``, ``Schedule(lindec=[n, start])`` and
    ``Schedule(updates=[(step, value), ...])`` create a schedule of that kind, see
    :func:`neuromancer.train.schedules.make_schedules`.

    Parameters
    ----------
    start : number or array, optional
        Value at step 0; default: the target's value when the schedule is bound.

    Raises
    ------
    ArgumentError
        If `start` is not finite.

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
        """Return the value at `step` as a multiple of the start value."""
        raise NotImplementedError

    def value(self, step: int, start: Any = None) -> Any:
        """Return the value at a step.

        Parameters
        ----------
        step : int
            Number of training steps done.
        start : number or array, optional
            Value at step 0; default: the schedule's own.

        Raises
        ------
        ArgumentError
            If there is no start value, or the step is negative.
        """
        if step < 0:
            raise ArgumentError("steps count from 0", where=type(self).__name__, got=step)
        start = self.start if start is None else start
        if start is None:
            raise ArgumentError(
                "a schedule without a start must be bound to a model", where=type(self).__name__, got="start=None"
            )
        return self._at(int(step), start)

    def _at(self, step: int, start: Any) -> Any:
        return start * self.factor(step)

    def turns(self) -> list[int]:
        """Return the steps at which the value can be largest or smallest; between them it stays in the range spanned
        there."""
        return [0]

    def bind(self, model: Model, target: str, start: Any = None) -> BoundSchedule:
        """Bind the schedule to a value of a model.

        Parameters
        ----------
        model : Model
        target : str
            A meta-parameter (``lr``, ``mom``, ``wd``, ``beta2``, ``clip_value``, ``clip_norm``), a property
            (``dropout_rates``, ``gradnet_rates``, ``mixing``), any other numeric attribute of the model, or a parameter
            that is not trained, as ``<node>_<parameter>``.
        start : number or array, optional
            Value at step 0; default: the schedule's, else the target's current value.

        Returns
        -------
        BoundSchedule

        Raises
        ------
        UnknownNameError
            If the model has no such value.
        ArgumentError
            If the target cannot take the scheduled values.
        """
        return BoundSchedule(self, model, target, start)

    def __repr__(self) -> str:
        values = ", ".join(f"{k}={v!r}" for k, v in vars(self).items() if v is not None)
        return f"{type(self).__name__}({values})"


class BoundSchedule:
    """A schedule and the value of a model that it sets.

    Parameters
    ----------
    schedule : Schedule
    model : Model
    target : str
        See :meth:`Schedule.bind`.
    start : number or array, optional
        Value at step 0; default: the schedule's, else the target's current value.

    Attributes
    ----------
    start : number or array
        Value at step 0. To resume training, bind again with the same start.
    scale : float
        Factor of all values, see :meth:`rescale`.
    from_target : bool
        Whether `start` was read from the target, because neither the schedule nor the caller set it.

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
        self.from_target, self.scale = given is None, 1.0
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
        """Raise ArgumentError if the target cannot take the scheduled value at one of the steps."""
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
        """Current value of the target."""
        if self.target in self.model.meta.params:
            return self.model.meta[self.target]
        if self._is_attribute():
            value = getattr(self.model, self.target)
            return np.array(value) if isinstance(value, (list, tuple)) else value
        value = self._params()[self.target].get_value()
        return value if value.ndim else value.item()

    def apply(self, step: int) -> Any:
        """Set the target to its value at `step`, and return that value.

        Parameters
        ----------
        step : int
            Number of training steps done.

        Raises
        ------
        ArgumentError
            If the target cannot take the value.
        """
        value = self.schedule.value(step, self.start)
        value = value if self.scale == 1 else value * self.scale
        self._set(value)
        return value

    def rescale(self, scale: float, step: int) -> None:
        """Multiply all values by a factor from a step on; on an error, nothing is changed.

        Raises
        ------
        ArgumentError
            If the target cannot take a value that is to come.
        """
        before, self.scale = self.scale, scale
        try:
            self.check([step, *(n for n in self.schedule.turns() if n > step)])
        except ArgumentError:
            self.scale = before
            raise

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
        """Return the names of numeric attributes that a user has added to the model."""
        return [
            key
            for key, value in vars(self.model).items()
            if key not in FACTS
            and not key.startswith("_")
            and isinstance(value, (int, float))
            and not isinstance(value, bool)
        ]

    def _params(self) -> dict[str, Any]:
        """Return the parameters that are neither trained nor constant, by ``<node>_<parameter>``."""
        return {
            f"{node.name}_{key}": param
            for node in self.model.nodes.values()
            for key, param in node.params.items()
            if not param.apply_train and not param.constant
        }

    def touched(self) -> list[Any]:
        """Return the node parameters that the schedule sets."""
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
    """Return a value with numbers that underflow in ``config.floatX`` set to 0."""
    return np.where(as_floatX(value) == 0, 0.0, value) if np.ndim(value) else value * bool(as_floatX(value))


def finite(value: Any, what: str, schedule: Any) -> Any:
    """Return a finite float, or a copy of an array of finite floats; raise ArgumentError otherwise."""
    try:
        array = np.array(value, dtype="float64")
    except (TypeError, ValueError):
        array = np.array(np.nan)
    if isinstance(value, (str, bool, np.bool_)) or np.iscomplexobj(value) or not np.isfinite(array).all():
        raise ArgumentError(f"{what} must be finite numbers", where=type(schedule).__name__, got=repr(value)[:200])
    return array if array.ndim else float(array)
