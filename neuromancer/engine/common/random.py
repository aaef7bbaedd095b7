"""Random streams, but for the operation that draws: seeds, positions and reproducibility are those of every engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from neuromancer.config import config
from neuromancer.errors import ArgumentError, InputTypeError

KINDS = ("normal", "uniform", "bernoulli")

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def mix(seed: int, counter: int) -> int:
    """Hash (seed, counter) to 63 bits, so that neighbouring states give unrelated generators (SplitMix64, Steele 2014).

    Examples
    --------
    >>> mix(0, 0) == mix(0, 1)
    False
    """
    z = ((seed & _MASK) * 0xBF58476D1CE4E5B9 + (counter + 1) * _GOLDEN) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return (z ^ (z >> 31)) >> 1


class RandomStreamBase:
    """Source of symbolic random tensors that are drawn afresh at every call of a compiled function.

    Two streams with one seed give the same numbers if they are asked in the same order, whatever else is computed.

    Parameters
    ----------
    seed : int, optional
        Default: one from the package's own seeds (`neuromancer.utils.new_seed`).
    """

    variable_class: Any
    """The engine's class of symbolic variables."""

    def __init__(self, seed: int | None = None) -> None:
        self._states: list[Any] = []
        self._saved: list[np.ndarray] = []
        self.seed = _valid(seed)

    def normal(self, shape: Sequence[Any], dtype: str | None = None) -> Any:
        """Return standard normal numbers.

        Parameters
        ----------
        shape : sequence of int or symbolic integer
        dtype : str, optional
            Default: `config.floatX`.
        """
        return self._draw("normal", 0.0, shape, dtype)

    def uniform(self, shape: Sequence[Any], dtype: str | None = None) -> Any:
        """Return numbers uniform in [0, 1); arguments as for `normal`."""
        return self._draw("uniform", 0.0, shape, dtype)

    def bernoulli(self, p: Any, shape: Sequence[Any], dtype: str | None = None) -> Any:
        """Return 1 with probability `p` (a number or a symbolic tensor that fits `shape`) and 0 otherwise.

        Raises
        ------
        ArgumentError
            If `p` is a number outside [0, 1].
        """
        if not isinstance(p, self.variable_class):
            values = np.asarray(p, dtype="float32")
            if not ((values >= 0) & (values <= 1)).all():
                raise ArgumentError("not a probability", where="RandomStream", got=p, expected="values in [0, 1]")
            p = values
        return self._draw("bernoulli", p, shape, dtype)

    def reseed(self, seed: int | None = None) -> None:
        """Start again: the next call of every function that draws from this stream is as its first with this seed."""
        self.seed, self._saved = _valid(seed), []
        for k, state in enumerate(self._states):
            state.set_value(self._initial(k))

    def get_state(self) -> tuple[int, np.ndarray]:
        """Seed and position of the stream, from which :meth:`set_state` goes on.

        Returns
        -------
        seed : int
        positions : numpy.ndarray of int64, (n_draws, 2)
        """
        values = [state.get_value() for state in self._states] + self._saved[len(self._states) :]
        return self.seed, np.array(values, dtype="int64").reshape(-1, 2)

    def set_state(self, seed: int, positions: np.ndarray) -> None:
        """Go on where another stream, which gave this state, is; also in tensors drawn later.

        Raises
        ------
        ArgumentError
            If the positions are no (n_draws, 2) integers.
        """
        values = np.asarray(positions)
        if values.ndim != 2 or values.shape[1] != 2 or values.dtype.kind not in "iu":
            raise ArgumentError(
                "not the state of a stream",
                where="RandomStream",
                got=f"{values.dtype} {values.shape}",
                expected="(n_draws, 2) integers",
            )
        self.seed, self._saved = _valid(seed), list(values.astype("int64"))
        for k, state in enumerate(self._states):
            state.set_value(self._initial(k))

    def _initial(self, k: int) -> np.ndarray:
        if k < len(self._saved):
            return self._saved[k].copy()
        return np.array([mix(self.seed, k), 0], np.int64)

    def _draw(self, kind: str, p: Any, shape: Sequence[Any], dtype: str | None) -> Any:
        state = self._state(self._initial(len(self._states)), f"random state {len(self._states)}")
        if not isinstance(p, self.variable_class):
            p = np.asarray(p, "float32")
        sample = self._sample(kind, state, p, shape, dtype or config.floatX)
        self._states.append(state)
        return sample

    def _state(self, value: np.ndarray, name: str) -> Any:
        """A shared variable: (seed, number of draws so far)."""
        raise NotImplementedError

    def _sample(self, kind: str, state: Any, p: Any, shape: Sequence[Any], dtype: str) -> Any:
        """A symbolic draw from `state`; compiled functions update the state."""
        raise NotImplementedError


def check_draw(kind: str, dtype: str) -> None:
    """Raise if there is no such draw.

    Raises
    ------
    ArgumentError
        If `kind` is no distribution of `KINDS`.
    InputTypeError
        If the dtype is neither float32 nor float64.
    """
    if kind not in KINDS:
        raise ArgumentError("unknown distribution", where="RandomDraw", got=kind, expected=f"one of {KINDS}")
    if dtype not in ("float32", "float64"):
        raise InputTypeError("unsupported dtype", where="RandomDraw", got=dtype, expected="'float32' or 'float64'")


def _valid(seed: int | None) -> int:
    if seed is None:
        from neuromancer.utils import new_seed

        return int(new_seed())
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise ArgumentError("a seed is an integer", where="RandomStream", got=seed, expected="int or None")
    return int(seed)
