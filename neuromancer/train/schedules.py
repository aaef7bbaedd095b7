"""Schedules at work: bound to a meta-parameter, a rate or a parameter of a node of a model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from neuromancer.casts import exact_cast
from neuromancer.errors import ArgumentError, UnknownNameError, blame, nearest_name
from neuromancer.train.checks import mapping, whole
from neuromancer.train.curves import (
    CosineSchedule,
    DecaySchedule,
    LinearSchedule,
    Schedule,
    StepSchedule,
    WarmUpSchedule,
    finite,
)
from neuromancer.train.meta import CLIPS, DEFAULTS

if TYPE_CHECKING:
    from neuromancer.model import Model

__all__ = [
    "BoundSchedule",
    "CosineSchedule",
    "DecaySchedule",
    "LinearSchedule",
    "Schedule",
    "StepSchedule",
    "WarmUpSchedule",
    "make_schedules",
]

PROPERTIES = ("dropout_rates", "gradnet_rates", "mixing")
"""Properties of a model, besides the meta-parameters, that can be scheduled."""

FACTS = ("batch_size", "ndim")
"""Numbers of a model that say how it was built; nothing follows from setting them."""


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
        self.from_target = given is None
        self.start = finite(present if given is None else given, "start", schedule)
        if np.ndim(self.start) and np.shape(self.start) != np.shape(present):
            raise ArgumentError(
                "the values do not fit the target",
                node=f"model {model.name}",
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
            self.model.meta.set({self.target: value})
        elif self._is_attribute():
            setattr(self.model, self.target, value)
        else:
            param = self._params()[self.target]
            if not np.isfinite(value).all():
                raise ArgumentError(f"{self.target} would not be finite", node=repr(self.schedule), got=value)
            if np.ndim(value) and np.shape(value) != param.get_value().shape:
                raise ArgumentError(
                    f"{self.target} has another shape", node=repr(self.schedule), got=np.shape(value),
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
    specification = mapping(specification, "schedules", f"model {model.name}", "schedules by target")
    bound = [_from_config(spec, target).bind(model, target) for target, spec in specification.items()]
    _require_apart(bound)
    return bound


def _require_apart(bound: list[BoundSchedule]) -> None:
    """Raise ArgumentError where two schedules set the same parameter under two names."""
    by_param: dict[int, str] = {}
    for schedule in bound:
        for param in schedule.touched():
            other = by_param.setdefault(id(param), schedule.target)
            if other != schedule.target:
                raise ArgumentError(
                    "two schedules set the same parameter", node=f"schedule of {schedule.target}", got=other,
                    expected="one of them",
                )  # fmt: skip


def _from_config(spec: Any, target: str) -> Schedule:
    if isinstance(spec, Schedule):
        return spec
    kinds = {
        "dec": lambda factor: DecaySchedule(factor),
        "lindec": lambda pair: LinearSchedule(
            pair[0], every=min(1000, whole(pair[0], "n", "lindec", 1)), start=pair[1]
        ),
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
