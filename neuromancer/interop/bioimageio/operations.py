"""Operations of bioimage.io as steps of this package, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from neuromancer.dense.processing.steps import Step, steps_of
from neuromancer.errors import ArgumentError, TranslationError, short

OPERATIONS = (
    "binarize",
    "clip",
    "ensure_dtype",
    "fixed_zero_mean_unit_variance",
    "scale_linear",
    "scale_mean_variance",
    "scale_range",
    "sigmoid",
    "softmax",
    "zero_mean_unit_variance",
)
PLAIN = ("threshold", "min", "max", "min_percentile", "max_percentile", "gain", "offset", "mean", "std", "eps", "dtype")
"""Arguments that mean the same in both."""
LISTS = ("threshold", "gain", "offset", "mean", "std")


def steps_from(
    operations: Sequence[tuple[str, dict[str, Any]]],
    tags: Mapping[str, str],
    channels: int | None,
    inputs: set[str],
    where: str,
) -> tuple[Step, ...]:
    """Return the steps of a list of operations.

    Parameters
    ----------
    operations : sequence of (str, dict)
        Names and arguments; those of format 0.4 are marked by ``format='0.4'``.
    tags : mapping of str to str
        Tags by the names of axes.
    channels : int or None
    inputs : set of str
        Names of the input tensors, to which operations may refer.
    where : str
        For errors.

    Raises
    ------
    TranslationError
        If an operation has no counterpart.
    """
    steps: list[Step] = []
    for name, kwargs in operations:
        name, arguments = _translated(name, dict(kwargs), tags, channels, inputs, where)
        try:
            steps.extend(steps_of([(name, arguments)], where))
        except ArgumentError as error:
            raise TranslationError(
                error.problem, where=f"{where}, {name}", got=error.got, expected=error.expected
            ) from None
    return tuple(steps)


def _translated(
    name: str, kwargs: dict[str, Any], tags: Mapping[str, str], channels: int | None, inputs: set[str], where: str
) -> tuple[str, dict[str, Any]]:
    place = f"{where}, {name}"
    old = kwargs.pop("format", None) is not None
    mode = kwargs.pop("mode", None)
    if name == "zero_mean_unit_variance" and mode == "fixed":
        name = "fixed_zero_mean_unit_variance"
        kwargs.pop("eps", None)
    arguments = {key: _plain(value) for key, value in kwargs.items() if key in PLAIN}
    lists = any(isinstance(arguments.get(key), list) for key in LISTS)
    axes = kwargs.get("axes")
    if old and axes is not None and name in ("scale_linear", "fixed_zero_mean_unit_variance"):
        left = [tags[a] for a in tags if a not in axes and tags[a] != "b"]
        if lists and left not in ([], ["f"]):
            raise _no_counterpart(place, f"a list of numbers along {left}")
    elif axes is not None:
        arguments["axes"] = _axes(axes, tags, place) + ("b" if mode == "per_dataset" else "")
    elif old and name == "scale_mean_variance":
        arguments["axes"] = "".join(tag for tag in tags.values() if tag != "b") + ("b" if mode == "per_dataset" else "")
    axis = kwargs.get("axis")
    if axis is not None and tags.get(str(axis)) != "f":
        raise _no_counterpart(place, f"axis {short(str(axis))}")
    if (axis is not None and name != "softmax") or lists:
        arguments |= _per_channel(arguments, channels, place)
    reference = kwargs.get("reference_tensor")
    if reference is not None:
        if str(reference) not in inputs:
            raise _no_counterpart(place, f"the reference {short(str(reference))}", "an input tensor")
        arguments["reference"] = "image"
    return name, arguments


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value


def _axes(axes: Any, tags: Mapping[str, str], place: str) -> str:
    names = [str(a) for a in axes]
    # An operation may name the axes of other tensors, or a batch axis that this tensor does not have.
    known = {**tags, "batch": "b"}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise _no_counterpart(place, f"axis {short(unknown[0])}", f"axes {', '.join(known)}")
    return "".join(dict.fromkeys(known[name] for name in names))


def _per_channel(arguments: dict[str, Any], channels: int | None, place: str) -> dict[str, Any]:
    """Lists of one number are numbers; others need one per channel."""
    found = {}
    for key in LISTS:
        value = arguments.get(key)
        if isinstance(value, list) and len(value) == 1:
            found[key] = value[0]
        elif isinstance(value, list) and channels is not None and len(value) != channels:
            raise _no_counterpart(place, f"{len(value)} numbers {key!r}", f"one per channel, {channels}")
    return found


def _no_counterpart(place: str, got: str, expected: str = "the channels") -> TranslationError:
    return TranslationError("the operation has no counterpart", where=place, got=got, expected=expected)


def operations_from(steps: Sequence[Step], tensor: str, axes: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return operations of format 0.5 as plain data.

    Parameters
    ----------
    steps : sequence of Step
    tensor : str
        Name of the input tensor, for steps that refer to the image.
    axes : mapping of str to str
        Names of the axes by their tags.
    """
    found = []
    for step in steps:
        name, given = step.stated
        kwargs: dict[str, Any] = {key: value for key, value in given.items() if key in PLAIN}
        if "axes" in given:
            # The images of a stack, z for a network without that axis, are a batch.
            kwargs["axes"] = list(dict.fromkeys(axes.get(tag, axes["b"]) for tag in given["axes"]))
        if any(isinstance(kwargs.get(key), list) for key in LISTS):
            kwargs["axis"] = axes["f"]
            for key in LISTS:  # both lists have the same length
                if key in dict(step.items) and not isinstance(kwargs.get(key), list):
                    length = max(len(v) for v in kwargs.values() if isinstance(v, list))
                    kwargs[key] = [step[key]] * length
        if name == "softmax":
            kwargs["axis"] = axes["f"]
        if step.looks_at_image:
            kwargs["reference_tensor"] = tensor
        found.append({"id": name, "kwargs": kwargs} if kwargs else {"id": name})
    return found
