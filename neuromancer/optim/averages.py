"""Exponential moving averages of parameters (Polyak & Juditsky 1992), kept by an optimiser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from neuromancer import engine as E
from neuromancer.casts import exact_cast
from neuromancer.errors import ShapeError, UnknownNameError
from neuromancer.variables import VariableParam

AVERAGE = "average_"
"""Prefix of the averages in the state of an optimiser."""
LAG = 9
"""The decay of step n is at most ``n / (n + LAG)``, so that early averages forget the initial parameters."""


class Averages:
    """Averages ``a <- d a + (1 - d) p``, with ``d = min(decay, n / (n + 9))`` at step n, counted from 0.

    Parameters
    ----------
    params : sequence of parameter
        Trained parameters and running statistics.
    decay : float
        Between 0 and 1.

    Attributes
    ----------
    params : list of parameter
    variables : dict of str to VariableParam
        Number of steps, then the averages in the order of `params`, on the device.

    Examples
    --------
    >>> p = VariableParam(np.array([2.0]), name="p")
    >>> averages = Averages([p], decay=0.99)
    >>> sorted(averages.variables)
    ['average_0', 'average_steps']
    """

    def __init__(self, params: Sequence[Any], decay: float) -> None:
        self.params, self.decay = list(params), decay
        values = {f"{i}": p.get_value() for i, p in enumerate(self.params)} | {"steps": np.zeros((), "float64")}
        self.variables = {
            AVERAGE + key: VariableParam(value, name=AVERAGE + key, apply_train=False, apply_reg=False)
            for key, value in values.items()
        }

    def updates(self, updates: Sequence[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
        """Return the updates of the averages, given those of the parameters."""
        n, new = self.variables[f"{AVERAGE}steps"], {id(v): value for v, value in updates}
        decay = E.T.minimum(self.decay, n / (n + LAG))
        result = [(n, n + 1)]
        for variable, p in self._pairs():
            d = E.T.cast(decay, p.dtype).dimshuffle(*["x"] * p.ndim) if p.ndim else E.T.cast(decay, p.dtype)
            result.append((variable, d * variable + (1 - d) * new[id(p)]))
        return result

    def _pairs(self) -> list[tuple[VariableParam, Any]]:
        return [(self.variables[f"{AVERAGE}{i}"], p) for i, p in enumerate(self.params)]

    def swap(self) -> list[tuple[Any, Any]]:
        """Set the parameters to their averages; return what they were, as (parameter, snapshot)."""
        before = [(p, p.snapshot()) for p in self.params]
        for variable, p in self._pairs():
            p.restore(variable.snapshot())
        return before

    def restart(self) -> None:
        """Start averaging from the present parameters."""
        self.variables[f"{AVERAGE}steps"].set_value(np.zeros((), "float64"))
        for variable, p in self._pairs():
            variable.set_value(p.get_value())

    def set_state(self, values: Mapping[str, Any], where: str) -> None:
        """Restore the values of :attr:`variables`; raise an error for other names or shapes."""
        if set(values) != set(self.variables):
            raise UnknownNameError(
                "the averages do not belong to these parameters", where=where, got=sorted(values),
                expected=sorted(self.variables),
            )  # fmt: skip
        for key, variable in self.variables.items():
            shape = variable.get_value().shape
            if np.shape(values[key]) != shape:
                raise ShapeError(f"{key} has the wrong shape", where=where, got=np.shape(values[key]), expected=shape)
        for key, variable in self.variables.items():
            variable.set_value(exact_cast(values[key], variable.dtype, where, key))
