"""Documented import path of the schedules, and their short form in configuration files."""

from __future__ import annotations

from typing import Any

from neuromancer.errors import ArgumentError
from neuromancer.models.model import Model
from neuromancer.train.binding import FORMS, BoundSchedule, Schedule
from neuromancer.train.checks import mapping
from neuromancer.train.curves import CosineSchedule, DecaySchedule, LinearSchedule, StepSchedule, WarmUpSchedule

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


def make_schedules(model: Model, specification: dict[str, Any]) -> list[BoundSchedule]:
    """Create bound schedules from the short form of configuration files.

    Parameters
    ----------
    model : Model
    specification : dict of str to (Schedule or dict)
        By target; a dict has one key: ``{"dec": factor}`` multiplies every 1000 steps, ``{"lindec": [n, start]}``
        decays linearly to 0 over n steps, changing every 1000, and ``{"updates": [(step, value), ...]}`` sets values.

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
    """Raise ArgumentError if two schedules set the same parameter under different names."""
    by_param: dict[int, str] = {}
    for schedule in bound:
        for param in schedule.touched():
            other = by_param.setdefault(id(param), schedule.target)
            if other != schedule.target:
                raise ArgumentError(
                    "two schedules set the same parameter", where=f"schedule of {schedule.target}", got=other,
                    expected="one of them",
                )  # fmt: skip


def _from_config(spec: Any, target: str) -> Schedule:
    if isinstance(spec, Schedule):
        return spec
    if not isinstance(spec, dict) or len(spec) != 1 or next(iter(spec)) not in FORMS:
        raise ArgumentError(
            "unknown kind of schedule",
            where=f"schedule of {target}",
            got=repr(spec)[:200],
            expected=f"a Schedule, or a dict with one key of {list(FORMS)}",
        )
    ((kind, value),) = spec.items()
    return FORMS[kind](value)
