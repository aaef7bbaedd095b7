"""Parameters that a training starts from, and those that it leaves unchanged."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuromancer.errors import ArgumentError, InputTypeError, short
from neuromancer.places import local_file

if TYPE_CHECKING:
    from neuromancer.models.model import Model


def start_from(model: Model, path: str | Path, partial: bool) -> list[str]:
    """Copy the parameters of a model file; return lines that say so, with those left at their initial values.

    Raises
    ------
    ShapeError, ArgumentError, FileError
        See :meth:`neuromancer.Model.load_weights`.
    """
    place = local_file(path, "pretrained")
    left = model.load_weights(place, partial)
    return [f"starts from the parameters of {place}", *(f"left at its initial value: {name}" for name in left)]


def freeze(model: Model, patterns: Any) -> list[str]:
    """Freeze parameters; return a line with all that are frozen, if any are.

    Raises
    ------
    UnknownNameError
        For a pattern that matches nothing.
    ArgumentError
        If nothing is left to train.
    """
    frozen = model.freeze(*patterns_of(patterns))
    if frozen and not model.trainable_params:
        raise ArgumentError("no parameter is left to train", where="freeze", got=short(patterns or frozen))
    n = sum(int(model[node].params[key].get_value().size) for node, key in _places(model, frozen))
    return [f"frozen: {', '.join(frozen)} ({n} values)"] if frozen else []


def require_frozen(model: Model, patterns: Any) -> None:
    """Raise ArgumentError if patterns would freeze other parameters than those frozen in a checkpoint."""
    before = model.frozen
    frozen = model.freeze(*patterns_of(patterns))
    if frozen != before:
        raise ArgumentError(
            "a resumed run cannot freeze other parameters", where="freeze", got=short(frozen), expected=short(before),
            nearest="a new training with pretrained=...",
        )  # fmt: skip


def _places(model: Model, names: list[str]) -> list[tuple[str, str]]:
    wanted = set(names)
    return [(n, k) for n, node in model.nodes.items() for k in node.params if f"{n}_{k}" in wanted]


def patterns_of(patterns: Any) -> list[str]:
    """Return patterns as a list; raise InputTypeError for anything but a string or a list of strings.

    Examples
    --------
    >>> patterns_of("conv*"), patterns_of(None)
    (['conv*'], [])
    """
    found = [patterns] if isinstance(patterns, str) else [] if patterns is None else patterns
    if not isinstance(found, (list, tuple)) or not all(isinstance(p, str) for p in found):
        raise InputTypeError(
            "unusable freeze", where="Trainer", got=short(patterns), expected="a pattern such as 'conv*', or a list"
        )
    return list(found)
