"""What may be fed to losses: checks of targets, weights and masks before they are cast to their sources' dtypes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuromancer.casts import exact_cast
from neuromancer.errors import ArgumentError
from neuromancer.nodes.losses.common import EPS, MISSING
from neuromancer.nodes.node import Node

Check = Callable[[np.ndarray], None]


@dataclass(frozen=True)
class Besides:
    """Values that a target may have besides those that it is about."""

    text: str
    found: Callable[[np.ndarray], np.ndarray]


MISSING_ONLY = Besides("NaN where missing", np.isnan)
MISSING_NUMBERS = Besides("-666 or NaN where missing", lambda v: np.isnan(v) | (np.abs(v - MISSING) < 1e-2))
IGNORED_NUMBERS = Besides("negative or NaN where ignored", lambda v: np.isnan(v) | ((v < 0) & np.isfinite(v)))
SHOWN = 10
"""Values that a message names, at most."""


def check_labels(node: Node, labels: np.ndarray, n_class: int) -> None:
    """Raise ArgumentError for labels that are no integers or not below `n_class`; below 0 is ignored."""
    labels = np.asarray(labels)
    if not labels.size or (labels.dtype.kind != "f" and labels.max() < n_class):
        return
    bad = labels >= n_class
    if labels.dtype.kind == "f":
        bad |= ~_whole(labels)
    _refuse(
        node,
        "the target has labels that are no classes",
        labels,
        bad,
        f"integers from 0 to {n_class - 1}, negative ones are ignored",
        "labels",
    )


def check_objects(node: Node, labels: np.ndarray, dtype: str) -> None:
    """Raise ArgumentError for numbers of objects that are no integers, or that would be rounded in a dtype."""
    labels = np.asarray(labels)
    if labels.dtype.kind == "f":
        _refuse(
            node,
            "the segmentation has labels that are no objects",
            labels,
            ~_whole(labels),
            "integers, those below 1 are none",
        )
    if np.dtype(dtype).kind == "f":
        exact_cast(labels, dtype, node, "the segmentation", ids=True)


def check_fractions(node: Node, what: str, values: np.ndarray, besides: Besides | None = None) -> None:
    """Raise ArgumentError for values outside of [0, 1], besides those that have a meaning of their own."""
    values = np.asarray(values)
    if not values.size or (values.min() >= 0 and values.max() <= 1 + EPS):  # of NaN neither is true
        return
    good = (values >= 0) & (values <= 1 + EPS)
    expected = "0 to 1"
    if besides is not None:
        good |= besides.found(values)
        expected += f", {besides.text}"
    _refuse(node, f"{what} has values out of range", values, ~good, expected)


def check_finite(node: Node, what: str, values: np.ndarray, besides: Besides | None = None) -> None:
    """Raise ArgumentError for infinity and NaN, besides what has a meaning of its own."""
    values = np.asarray(values)
    if values.dtype.kind == "f":
        good, expected = np.isfinite(values), "finite numbers"
        if besides is not None:
            good |= besides.found(values)
            expected += f", {besides.text}"
        _refuse(node, f"{what} has values that are not finite", values, ~good, expected)


def _whole(values: np.ndarray) -> np.ndarray:
    """Where floating point numbers are integers."""
    whole: np.ndarray = np.isfinite(values) & (values == np.floor(values))
    return whole


def _refuse(node: Any, problem: str, values: np.ndarray, bad: np.ndarray, expected: str, noun: str = "values") -> None:
    """Raise if any value is bad."""
    count = int(np.count_nonzero(bad))
    if count:
        some = np.unique(values[bad])[:SHOWN].tolist()
        raise ArgumentError(problem, node=node, got=f"{some} ({count} of {values.size} {noun})", expected=expected)
