"""Meta-parameters of the optimisers: shared scalars that can be changed without recompilation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from neuromancer.casts import holds, vanishes
from neuromancer.errors import ArgumentError, UnknownNameError, nearest_name
from neuromancer.variables import VariableParam

DEFAULTS = {"lr": 1.0, "mom": 0.9, "wd": 0.0, "beta2": 0.999}
"""Learning rate, momentum, weight decay, and Adam's decay rate of the second moment."""

CLIPS = ("clip_value", "clip_norm")
"""Gradient clipping: limits of each element and of the global norm; 0 disables them."""

BELOW_ONE = ("mom", "beta2")


class ClipParam(VariableParam):
    """A clipping limit, disabled at 0. Whether it is active is known without reading from the device.

    Parameters
    ----------
    name : str

    Attributes
    ----------
    active : bool

    Examples
    --------
    >>> limit = ClipParam("clip_norm")
    >>> limit.set_value(np.array(2.0, limit.dtype)); limit.active
    True
    """

    def __init__(self, name: str) -> None:
        super().__init__(0.0, name=name, apply_train=False, apply_reg=False)
        self.active = False

    def set_value(self, new_value: Any, borrow: bool = False) -> None:
        """Set the limit."""
        super().set_value(new_value, borrow)
        self.active = bool(np.asarray(new_value) > 0)


class MetaParams:
    """The meta-parameters of one model, shared by its optimisers.

    Parameters
    ----------
    label : str
        Owner, for messages.
    **values : float
        Override the defaults: ``lr`` 1, ``mom`` 0.9, ``wd`` 0, ``beta2`` 0.999, ``clip_value`` 0 and ``clip_norm`` 0
        (no limit, as is None).

    Attributes
    ----------
    params : dict of str to VariableParam
        The shared scalars, dtype ``config.floatX``.
    given : set of str
        Those set explicitly; a :class:`neuromancer.Trainer` chooses the learning rate only if it is not among them.

    Raises
    ------
    UnknownNameError, ArgumentError
        See :meth:`set`.

    Examples
    --------
    >>> meta = MetaParams(lr=0.1)
    >>> meta.set({"mom": 0.5})
    >>> round(meta["lr"], 3), meta["mom"]
    (0.1, 0.5)
    """

    def __init__(self, label: str = "meta-parameters", **values: float) -> None:
        self.label = label
        self.given: set[str] = set()
        self.params: dict[str, VariableParam] = {
            key: VariableParam(value, name=key, apply_train=False, apply_reg=False) for key, value in DEFAULTS.items()
        }
        self.params.update((key, ClipParam(key)) for key in CLIPS)
        self.set(values)

    def __getitem__(self, key: str) -> float:
        self._require(key, self.params)
        return float(self.params[key].get_value())

    def set(self, values: dict[str, Any], allowed: Iterable[str] = (*DEFAULTS, *CLIPS)) -> None:
        """Set several meta-parameters; on an error, none is changed.

        Parameters
        ----------
        values : dict of str to float
        allowed : iterable of str
            The names that may be set.

        Raises
        ------
        UnknownNameError
            For a name that is not allowed.
        ArgumentError
            For a negative or non-finite value; mom and beta2 must be below 1. Values are checked after rounding to
            ``config.floatX``, the precision of training, and a nonzero value must not underflow to 0.
        """
        values = {key: 0.0 if value is None and key in CLIPS else value for key, value in values.items()}
        checked = {}
        for key, value in values.items():
            self._require(key, allowed)
            checked[key] = self._checked(key, value)
        for key, number in checked.items():
            self.params[key].set_value(number)
        self.given |= set(values)

    def restore(self, values: dict[str, Any], given: Iterable[str] | None = None) -> None:
        """Restore the values from a file, and which of them had been set explicitly.

        Files of earlier versions lack the latter; then values that differ from the defaults count as set.
        """
        before, defaults = set(self.given), MetaParams()
        self.set(values)
        chosen = [key for key in values if self[key] != defaults[key]] if given is None else list(given)
        for key in chosen:
            self._require(key, self.params)
        self.given = before | set(chosen)

    @property
    def clipping(self) -> tuple[bool, ...]:
        """Whether each of the limits in CLIPS is active."""
        return tuple(self.params[key].active for key in CLIPS)

    def _checked(self, key: str, value: Any) -> np.ndarray:
        """Return the value rounded to the dtype of the meta-parameter, if it is valid."""
        kind = np.dtype(self.params[key].dtype)
        array = np.asarray(value)
        real = not array.ndim and array.dtype.kind in "iuf" and holds(kind, array)
        number = array.astype(kind) if real else np.asarray(np.nan, kind)
        wrong = not np.isfinite(number) or number < 0 or (key in BELOW_ONE and number >= 1)
        if wrong or vanishes(kind, array):
            raise ArgumentError(
                f"{key} cannot have this value",
                where=self.label,
                got=value,
                expected=f"{'0 <= value < 1' if key in BELOW_ONE else 'a finite number >= 0'}, in {kind}, where "
                f"{np.nextafter(kind.type(0), kind.type(1)):.2g} is the smallest above 0",
            )
        return number

    def _require(self, key: str, allowed: Iterable[str]) -> None:
        names = list(allowed)
        if key not in names:
            raise UnknownNameError(
                "unknown meta-parameter",
                where=self.label,
                got=key,
                expected=f"one of {names}",
                nearest=nearest_name(key, names),
            )
