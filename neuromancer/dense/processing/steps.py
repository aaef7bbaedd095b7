"""Steps of pre- and postprocessing: their names, arguments and checks. Plain data, safe to store in files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from neuromancer.casts import is_number
from neuromancer.errors import ArgumentError, InputTypeError, nearest_name, short

DTYPES = ("float32", "float64", *(f"{kind}int{n}" for n in (8, 16, 32, 64) for kind in ("u", "")), "bool")
AXES = "bfzyx"
"""Names of axes: images, channels (also ``c``) and space."""
EPS = 1e-6
MOST_STEPS, MOST_NUMBERS = 64, 4096
"""Limits on the number of steps, and of numbers per channel in one."""
EXPECTED = "names of steps, or pairs of a name and a dict of its arguments"


@dataclass(frozen=True)
class Step:
    """A step with checked arguments.

    Parameters
    ----------
    name : str
    items : tuple of (str, value)
        All arguments in a fixed order, defaults included: None, numbers, strings, or tuples of numbers.

    Examples
    --------
    >>> step = steps_of(["sigmoid", ("clip", {"max": 1})], "preprocess")[1]
    >>> step.name, step["max"], step["min"], step.stated
    ('clip', 1.0, None, ('clip', {'max': 1.0}))
    """

    name: str
    items: tuple[tuple[str, Any], ...] = ()

    def __getitem__(self, key: str) -> Any:
        return dict(self.items)[key]

    @property
    def stated(self) -> tuple[str, dict[str, Any]]:
        """The step as a pair of a name and the arguments that differ from their defaults, e.g. for a file."""
        defaults = {key: argument.default for key, argument in STEPS[self.name].items()}
        given = {key: value for key, value in self.items if value != defaults[key]}
        return self.name, {key: list(value) if isinstance(value, tuple) else value for key, value in given.items()}

    @property
    def measured(self) -> str | None:
        """The statistics of a whole volume that it needs: 'moments', 'quantiles' or None."""
        if self.name in ("zero_mean_unit_variance", "scale_mean_variance"):
            return "moments"
        percentiles = self.name == "clip" and (self["min_percentile"], self["max_percentile"]) != (None, None)
        return "quantiles" if percentiles or self.name == "scale_range" else None

    @property
    def arrays(self) -> int:
        """Number of arrays of statistics: mean and deviation, or one per percentile, of the result and of the image."""
        if self.measured is None:
            return 0
        several = 2 if self.measured == "moments" else len(self.fractions)
        return several * (self.looks_at_result + self.looks_at_image)

    @property
    def fractions(self) -> list[float]:
        """The quantiles that it needs, between 0 and 1."""
        return [self[key] / 100 for key in ("min_percentile", "max_percentile") if self[key] is not None]

    @property
    def looks_at_result(self) -> bool:
        """Whether it needs statistics of the volume that it is applied to, not only of the unprocessed image."""
        return self.measured is not None and (self.name == "scale_mean_variance" or self._reference is None)

    @property
    def looks_at_image(self) -> bool:
        """Whether it needs statistics of the unprocessed image."""
        return self._reference is not None

    @property
    def _reference(self) -> Any:
        return dict(self.items).get("reference")

    @property
    def label(self) -> str:
        """Text that identifies the step; part of a run's fingerprint."""
        return repr((self.name, *self.items))

    def __repr__(self) -> str:
        name, given = self.stated
        return f"({name!r}, {given!r})" if given else repr(name)


@dataclass(frozen=True)
class Argument:
    """An argument of a step: its check and its default; `required` ones have none."""

    check: Callable[[Any], Any]
    default: Any = None
    required: bool = False


def _number(value: Any) -> float | None:
    try:
        return float(value) if is_number(value) and isfinite(value) else None
    except OverflowError:  # an integer of hundreds of digits
        return None


def _numbers(value: Any) -> float | tuple[float, ...] | None:
    """A number, or one per channel."""
    if isinstance(value, (list, tuple)) and 0 < len(value) <= MOST_NUMBERS:
        several = tuple(_number(v) for v in value)
        return None if None in several else tuple(float(v) for v in several if v is not None)
    return _number(value)


def _spread(value: Any) -> Any:
    found = _numbers(value)
    several = found if isinstance(found, tuple) else (found,)
    return None if found is None or any(v is None or v <= 0 for v in several) else found


def _eps(value: Any) -> float | None:
    found = _number(value)
    return found if found is not None and 0 < found <= 0.1 else None


def _percentile(value: Any) -> float | None:
    found = _number(value)
    return found if found is not None and 0 <= found <= 100 else None


def _dtype(value: Any) -> str | None:
    name = getattr(value, "name", value)
    return name if isinstance(name, str) and name in DTYPES else None


def _channel(value: Any) -> str | None:
    return "f" if isinstance(value, str) and value in ("f", "c") else None


def _axes(value: Any) -> str | None:
    if not isinstance(value, str) and not (isinstance(value, (list, tuple)) and all(isinstance(v, str) for v in value)):
        return None
    letters = "".join(value).replace(",", "").replace("c", "f")
    good = letters and len(set(letters)) == len(letters) and set(letters) <= set(AXES)
    return "".join(sorted(letters, key=AXES.index)) if good else None


def _image(value: Any) -> str | None:
    return value if isinstance(value, str) and value == "image" else None


WORDS = {
    _number: "a finite number",
    _numbers: "a finite number, or a list of them, one per channel",
    _spread: "a positive number, or a list of them, one per channel",
    _eps: "a number above 0, at most 0.1",
    _percentile: "a percentage from 0 to 100",
    _dtype: f"one of {DTYPES}",
    _channel: "'f', the channels",
    _axes: f"some of the axes {', '.join(AXES)}",
    _image: "'image', the unprocessed image",
}
CHANNEL = {"axis": Argument(_channel)}
STEPS: dict[str, dict[str, Argument]] = {
    "ensure_dtype": {"dtype": Argument(_dtype, required=True)},
    "binarize": {"threshold": Argument(_numbers, required=True), **CHANNEL},
    "clip": {
        "min": Argument(_number),
        "max": Argument(_number),
        "min_percentile": Argument(_percentile),
        "max_percentile": Argument(_percentile),
        "axes": Argument(_axes),
    },
    "scale_linear": {"gain": Argument(_numbers, 1.0), "offset": Argument(_numbers, 0.0), **CHANNEL},
    "sigmoid": {},
    "softmax": {"axis": Argument(_channel, "f")},
    "fixed_zero_mean_unit_variance": {
        "mean": Argument(_numbers, required=True),
        "std": Argument(_spread, required=True),
        **CHANNEL,
    },
    "zero_mean_unit_variance": {"axes": Argument(_axes), "eps": Argument(_eps, EPS)},
    "scale_range": {
        "axes": Argument(_axes),
        "min_percentile": Argument(_percentile, 0.0),
        "max_percentile": Argument(_percentile, 100.0),
        "eps": Argument(_eps, EPS),
        "reference": Argument(_image),
    },
    "scale_mean_variance": {
        "axes": Argument(_axes),
        "eps": Argument(_eps, EPS),
        "reference": Argument(_image, "image"),
    },
}
"""Arguments of each step."""


def steps_of(value: Any, where: str) -> tuple[Step, ...]:
    """Return checked steps.

    Parameters
    ----------
    value : None, str, or sequence of str, (str, dict) or Step
        A single step may stand alone.
    where : str
        The argument, for errors.

    Raises
    ------
    InputTypeError, ArgumentError
        The error names the step and its argument.

    Examples
    --------
    >>> steps_of(("scale_range", {"max_percentile": 99.8, "axes": "xy"}), "preprocess")
    (('scale_range', {'axes': 'yx', 'max_percentile': 99.8}),)
    """
    if value is None:
        return ()
    alone = isinstance(value, (str, Step)) or (_is_pair(value) and isinstance(value[1], Mapping))
    several = [value] if alone else value
    if not isinstance(several, (list, tuple)):
        raise InputTypeError("not a list of steps", where=where, got=short(value), expected=EXPECTED)
    if len(several) > MOST_STEPS:
        raise ArgumentError("too many steps", where=where, got=len(several), expected=f"up to {MOST_STEPS}")
    return tuple(_step(each, where) for each in several)


def _is_pair(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2 and isinstance(value[0], str)


def _step(value: Any, where: str) -> Step:
    if isinstance(value, Step):
        return value
    name, given = value if _is_pair(value) else (value, {})
    if not isinstance(name, str) or not isinstance(given, Mapping):
        raise InputTypeError("not a step", where=where, got=short(value), expected=EXPECTED)
    if name not in STEPS:
        raise ArgumentError(
            "there is no such step", where=where, got=short(name), expected=f"one of {', '.join(STEPS)}",
            nearest=nearest_name(name, STEPS),
        )  # fmt: skip
    label, arguments = f"{where}, {name}", STEPS[name]
    unknown = [key for key in given if key not in arguments]
    if unknown:
        raise ArgumentError(
            "the step has no such argument", where=label, got=short(unknown[0]),
            expected=f"some of {', '.join(arguments)}" if arguments else "no arguments",
            nearest=nearest_name(unknown[0], arguments),
        )  # fmt: skip
    step = Step(name, tuple((key, _checked(given, key, a, label)) for key, a in arguments.items()))
    _require_consistent(step, label)
    return step


def _checked(given: Mapping[str, Any], key: str, argument: Argument, label: str) -> Any:
    value = given.get(key)
    if value is None:
        if argument.required:
            raise ArgumentError(f"needs {key!r}", where=label, expected=WORDS[argument.check])  # type: ignore[index]
        return argument.default
    found = argument.check(value)
    if found is None:
        raise ArgumentError(
            f"{key!r} is not valid",
            where=label,
            got=short(value),
            expected=WORDS[argument.check],  # type: ignore[index]
        )
    return found


def _require_consistent(step: Step, label: str) -> None:
    """Raise ArgumentError for arguments that contradict each other."""
    values = dict(step.items)
    lists = {key: value for key, value in values.items() if isinstance(value, tuple)}
    if len({len(value) for value in lists.values()}) > 1:
        raise ArgumentError("lists of different lengths", where=label, got={k: len(v) for k, v in lists.items()})
    low, high = values.get("min_percentile"), values.get("max_percentile")
    if low is not None and high is not None and low >= high:
        raise ArgumentError("the lower percentile is not below the upper one", where=label, got=(low, high))
    if step.name != "clip":
        return
    for end in ("min", "max"):
        if values[end] is not None and values[f"{end}_percentile"] is not None:
            raise ArgumentError(f"only one of {end!r} and '{end}_percentile' can be given", where=label)
    if all(value is None for key, value in values.items() if key != "axes"):
        raise ArgumentError("needs a limit", where=label, expected="'min', 'max', or a percentile for one of them")
    if values["min"] is not None and values["max"] is not None and values["min"] > values["max"]:
        raise ArgumentError("the minimum is above the maximum", where=label, got=(values["min"], values["max"]))


def reduced_axes(step: Step, names: Sequence[str], where: str) -> tuple[int, ...]:
    """Return the axes of a volume over which a step takes its statistics jointly.

    Parameters
    ----------
    step : Step
    names : sequence of str
        Names of each axis of the volume: ``'f'``, a spatial axis, or ``'bz'`` for the images of a stack.
    where : str
        For errors.

    Raises
    ------
    ArgumentError
        If the step names a spatial axis that the volume does not have.

    Examples
    --------
    >>> reduced_axes(*steps_of(("scale_range", {"axes": "yx"}), "x"), ["f", "bz", "y", "x"], "x")
    (2, 3)
    """
    wanted = step["axes"]
    if wanted is None:
        return tuple(range(len(names)))
    missing = [a for a in wanted if a not in "bf" and not any(a in own for own in names)]
    if missing:
        raise ArgumentError(
            "the volume has no such axis",
            where=f"{where}, {step.name}",
            got=missing[0],
            expected=f"axes {', '.join(''.join(names))}",
        )
    return tuple(k for k, own in enumerate(names) if any(a in own for a in wanted))
