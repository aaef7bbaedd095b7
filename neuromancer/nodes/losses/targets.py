"""Checks of the targets, weights and masks passed to losses, before they are cast to the dtypes of their sources."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuromancer import engine as E
from neuromancer.casts import exact_cast
from neuromancer.errors import ArgumentError
from neuromancer.nodes.layout import is_int
from neuromancer.nodes.losses.common import EPS, MISSING
from neuromancer.nodes.node import Node

Check = Callable[[np.ndarray], None]


@dataclass(frozen=True)
class SpecialValues:
    """Special values that a target may contain, such as markers of missing values."""

    text: str
    found: Callable[[np.ndarray], np.ndarray]


MISSING_ONLY = SpecialValues("NaN where missing", np.isnan)
MISSING_NUMBERS = SpecialValues("-666 or NaN where missing", lambda v: np.isnan(v) | (np.abs(v - MISSING) < 1e-2))
IGNORED_NUMBERS = SpecialValues("negative or NaN where ignored", lambda v: np.isnan(v) | ((v < 0) & np.isfinite(v)))
MAX_LABEL = 2**63 - 1
SHOWN = 10
"""Maximum number of values listed in a message."""


def check_ignored(node: Node, label: Any, target_is_sparse: bool) -> int | None:
    """Return `ignore_label` as an int or None; raise ArgumentError unless it is an integer and the target sparse."""
    if label is None:
        return None
    if not is_int(label) or abs(int(label)) > MAX_LABEL or not target_is_sparse:
        raise ArgumentError(
            "ignore_label must be a label of a sparse target",
            node=node,
            got=f"ignore_label={label!r}, target_is_sparse={target_is_sparse}",
            expected="an int of 64 bits with target_is_sparse=True, or None",
        )
    return int(label)


def ignoring(labels: Any, ignored: int | None) -> Any:
    """Return symbolic labels in which the ignored one is negative."""
    return labels if ignored is None else E.T.switch(E.T.eq(labels, ignored), -1, labels)


def check_labels(node: Node, labels: np.ndarray, n_class: int, ignored: int | None = None) -> None:
    """Raise ArgumentError unless labels are integers below `n_class`; negative ones and `ignored` are allowed."""
    labels = np.asarray(labels)
    if ignored is not None:
        labels = labels[labels != ignored]
    if not labels.size or (labels.dtype.kind != "f" and labels.max() < n_class):
        return
    bad = labels >= n_class
    if labels.dtype.kind == "f":
        bad |= ~_whole(labels)
    _refuse(
        node,
        "the target has labels that are not classes",
        labels,
        bad,
        f"integers from 0 to {n_class - 1}, or negative to ignore",
        "labels",
    )


def check_objects(node: Node, labels: np.ndarray, dtype: str) -> None:
    """Raise ArgumentError unless object ids are integers that a dtype represents exactly."""
    labels = np.asarray(labels)
    if labels.dtype.kind == "f":
        _refuse(
            node,
            "the segmentation has labels that are not integers",
            labels,
            ~_whole(labels),
            "integers, below 1 for background",
        )
    if np.dtype(dtype).kind == "f":
        exact_cast(labels, dtype, node, "the segmentation", ids=True)


def check_fractions(node: Node, what: str, values: np.ndarray, special: SpecialValues | None = None) -> None:
    """Raise ArgumentError unless values are in [0, 1] or special values."""
    values = np.asarray(values)
    if not values.size or (values.min() >= 0 and values.max() <= 1 + EPS):  # False for NaN
        return
    good = (values >= 0) & (values <= 1 + EPS)
    expected = "0 to 1"
    if special is not None:
        good |= special.found(values)
        expected += f", {special.text}"
    _refuse(node, f"{what} has values out of range", values, ~good, expected)


def check_finite(node: Node, what: str, values: np.ndarray, special: SpecialValues | None = None) -> None:
    """Raise ArgumentError unless values are finite or special values."""
    values = np.asarray(values)
    if values.dtype.kind == "f":
        good, expected = np.isfinite(values), "finite numbers"
        if special is not None:
            good |= special.found(values)
            expected += f", {special.text}"
        _refuse(node, f"{what} has values that are not finite", values, ~good, expected)


def _whole(values: np.ndarray) -> np.ndarray:
    """Return a boolean mask of the floating-point numbers that are integers."""
    whole: np.ndarray = np.isfinite(values) & (values == np.floor(values))
    return whole


def _refuse(node: Any, problem: str, values: np.ndarray, bad: np.ndarray, expected: str, noun: str = "values") -> None:
    """Raise ArgumentError if any value is bad."""
    count = int(np.count_nonzero(bad))
    if count:
        examples = np.unique(values[bad])[:SHOWN].tolist()
        raise ArgumentError(problem, node=node, got=f"{examples} ({count} of {values.size} {noun})", expected=expected)
