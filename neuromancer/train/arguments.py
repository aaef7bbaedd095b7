"""Checks of a Trainer's arguments: each takes effect, or is refused before anything is built."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from neuromancer.errors import ArgumentError, InputTypeError, nearest_name
from neuromancer.optim.meta import CLIPS
from neuromancer.optim.optimisers import OPTIMISERS
from neuromancer.train.binding import BoundSchedule
from neuromancer.train.checks import amount, known, mapping, switch, whole
from neuromancer.train.start import patterns_of
from neuromancer.train.stopping import EarlyStopping

LABEL = "Trainer"
COUNTS = ("history_every", "validate_every", "n_validation", "preview_every", "workers")
OPEN_COUNTS = ("n_steps", "batch_size", "keep_every")
SWITCHES = ("processes", "overwrite", "partial", "tensorboard")
OPEN_SWITCHES = ("plots", "progress")
NEEDS = {
    "n_validation": "validation", "metrics": "validation", "early_stopping": "validation", "preview": "folder",
    "preview_every": "preview", "checkpoint_minutes": "folder", "keep_every": "folder", "overwrite": "folder",
    "tensorboard": "folder", "partial": "pretrained",
}  # fmt: skip
"""Options that have no effect without another one."""


def check_values(options: Mapping[str, Any]) -> None:
    """Raise ArgumentError or InputTypeError for an option with an invalid value."""
    for name in COUNTS:
        whole(options[name], name, LABEL, 1)
    for name in OPEN_COUNTS:
        if options[name] is not None:
            whole(options[name], name, LABEL, 1)
    for name in ("seed", "ahead"):
        whole(options[name], name, LABEL)
    for name in ("minutes", "checkpoint_minutes"):
        if options[name] is not None or name == "checkpoint_minutes":
            amount(options[name], name, LABEL, infinite=True)
    for name in (*SWITCHES, *(n for n in OPEN_SWITCHES if options[n] is not None)):
        switch(options[name], name, LABEL)
    for name, kind, expected in (
        ("folder", (str, os.PathLike), "a path"),
        ("pretrained", (str, os.PathLike), "a path"),
        ("name", str, "a string"),
        ("save_name", str, "a string"),
        ("early_stopping", EarlyStopping, "an EarlyStopping"),
    ):
        if options[name] is not None and not isinstance(options[name], kind):
            raise InputTypeError(f"unusable {name}", where=LABEL, got=repr(options[name])[:100], expected=expected)
    names, ema = [options[name] for name in ("name", "save_name") if options[name]], options["ema"]
    if len(names) == 2 and names[0] != names[1]:
        raise ArgumentError("the name is given twice", where=LABEL, got=names, expected="name or save_name")
    if ema is not None and not 0 < amount(ema, "ema", LABEL) < 1:
        raise ArgumentError("unusable ema", where=LABEL, got=ema, expected="a decay between 0 and 1, such as 0.999")
    patterns_of(options["freeze"])


def check_needs(options: Mapping[str, Any], defaults: Mapping[str, Any], measures: bool) -> None:
    """Raise ArgumentError for an option that has no effect because another one is missing.

    Parameters
    ----------
    options, defaults : mapping of str to value
        Options by name, and their defaults.
    measures : bool
        Whether there is anything to measure: validation data, or an error node.
    """
    changed = {
        name
        for name, value in options.items()
        if value is not defaults[name] and not (isinstance(value, (int, float)) and value == defaults[name])
    }
    for name, other in NEEDS.items():
        if name in changed and options[other] is None:
            raise ArgumentError(
                f"{name} has no effect without {other}" + (" data" if other == "validation" else ""),
                where=LABEL, got=_short(options[name]), expected=f"{other}=...",
            )  # fmt: skip
    if "validate_every" in changed and not measures:
        raise ArgumentError(
            "validate_every has no effect without validation data or an error node",
            where=LABEL, got=options["validate_every"], expected="validation=..., or designate_nodes(error_node=...)",
        )  # fmt: skip
    if options["plots"] and options["folder"] is None:
        raise ArgumentError("plots have no effect without folder", where=LABEL, got=True, expected="folder=...")


def check_loading(workers: int, processes: bool) -> None:
    """Raise ArgumentError for several workers, or processes, on an iterator."""
    if workers > 1 or processes:
        raise ArgumentError(
            "an iterator is read by one thread", where=LABEL, got=f"workers={workers}, processes={processes}",
            expected="workers=1, processes=False, or data with batch(step)",
        )  # fmt: skip


def check_metric(metric: str, names: list[str]) -> None:
    """Raise ArgumentError if validation does not compute the metric of early stopping."""
    if metric not in names:
        raise ArgumentError(
            "unknown metric", where="early_stopping", got=metric, expected=f"one of {names}",
            nearest=nearest_name(metric, names),
        )  # fmt: skip


def check_meta(optimiser: Any, params: Any, schedules: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return meta-parameters and schedules as dicts; raise UnknownNameError for any that the optimiser lacks."""
    known([optimiser], OPTIMISERS, "unknown optimiser", LABEL)
    rule = OPTIMISERS[optimiser]
    params = mapping({} if params is None else params, "optimiser_params", LABEL, "numbers by name")
    schedules = mapping({} if schedules is None else schedules, "schedules", LABEL, "schedules by target")
    names = [name for name in (*rule.meta_names, *CLIPS) if name not in rule.unused]
    known(params, names, f"{optimiser} has no such meta-parameter", LABEL)
    foreign = {name for other in OPTIMISERS.values() for name in other.meta_names} - set(names)
    known([t for t in schedules if t in foreign], names, f"{optimiser} has no such meta-parameter", LABEL)
    return params, schedules


def check_starts(schedules: list[BoundSchedule], params: Mapping[str, Any]) -> None:
    """Raise ArgumentError for a meta-parameter whose schedule starts at a different value."""
    for schedule in schedules:
        value = params.get(schedule.target)
        if value is not None and not schedule.from_target and not np.array_equal(schedule.start, value):
            raise ArgumentError(
                f"{schedule.target} is given twice", where=LABEL, expected="one of them",
                got=f"{value!r} in optimiser_params, {schedule.start!r} as start of its schedule",
            )  # fmt: skip


def _short(value: Any) -> Any:
    return value if isinstance(value, (int, float)) else repr(value)[:100]
