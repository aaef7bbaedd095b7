"""Random streams: seeds, positions and reproducibility, the same in every engine."""

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
    """Hash (seed, counter) to 63 bits, so that neighbouring states seed unrelated generators (SplitMix64, Steele 2014).

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
    """Source of symbolic random tensors that take new values at every call of a compiled function.

    Two streams with the same seed give the same numbers if the same draws are made in the same order, whatever else is
    computed.

    Parameters
    ----------
    seed : int, optional
        Default: one from the package's own seeds (`neuromancer.utils.new_seed`).

    Examples
    --------
    >>> from neuromancer.engine import RandomStream, function
    >>> stream = RandomStream(1)
    >>> draw = function([], stream.uniform((2,), "float32"))
    >>> first, second = draw(), draw()
    >>> stream.reseed(1)
    >>> bool((draw() == first).all()), bool((first == second).all())
    (True, False)
    """

    variable_class: Any
    """The engine's class of symbolic variables."""
    shared_class: Any
    """The engine's class of shared variables."""
    draw_class: Any
    """The engine's operation that draws, a :class:`RandomDrawBase`."""

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
        """Return uniform numbers in [0, 1); arguments as for `normal`."""
        return self._draw("uniform", 0.0, shape, dtype)

    def bernoulli(self, p: Any, shape: Sequence[Any], dtype: str | None = None) -> Any:
        """Return 1 with probability `p` (a number, or a symbolic tensor broadcastable to `shape`) and 0 otherwise.

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
        """Restart the stream with a seed: functions that draw from it repeat their results from the first call on."""
        self.seed, self._saved = _valid(seed), []
        for k, state in enumerate(self._states):
            state.set_value(self._initial(k))

    def get_state(self) -> tuple[int, np.ndarray]:
        """Return seed and positions of the stream, for :meth:`set_state`.

        Returns
        -------
        seed : int
        positions : numpy.ndarray of int64, (n_draws, 2)
        """
        values = [state.get_value() for state in self._states] + self._saved[len(self._states) :]
        return self.seed, np.array(values, dtype="int64").reshape(-1, 2)

    def set_state(self, seed: int, positions: np.ndarray) -> None:
        """Continue from a state of `get_state`, also in draws that are added to the stream later.

        Raises
        ------
        ArgumentError
            If `positions` is not an array of (n_draws, 2) integers.
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
        state = self.shared_class(self._initial(len(self._states)), f"random state {len(self._states)}")
        if not isinstance(p, self.variable_class):
            p = np.asarray(p, "float32")
        sample = self.draw_class(kind, dtype or config.floatX)(state, p, *shape)[1]
        self._states.append(state)
        return sample


class RandomDrawBase:
    """Base of the engines' operations (state, probability, *shape) -> (next state, sample).

    The state is int64 (2,): the seed, and the number of draws so far. Compiled functions update it.

    Parameters
    ----------
    kind : {'normal', 'uniform', 'bernoulli'}
        `probability` is used by the last only.
    dtype : {'float32', 'float64'}
        Dtype of the sample.

    Raises
    ------
    ArgumentError
        If `kind` is not one of `KINDS`.
    InputTypeError
        If the dtype is neither float32 nor float64.
    """

    def __init__(self, kind: str, dtype: str) -> None:
        if kind not in KINDS:
            raise ArgumentError("unknown distribution", where="RandomDraw", got=kind, expected=f"one of {KINDS}")
        if dtype not in ("float32", "float64"):
            raise InputTypeError("unsupported dtype", where="RandomDraw", got=dtype, expected="'float32' or 'float64'")
        self.kind, self.dtype = kind, dtype

    def check_sizes(self, sizes: Sequence[Any]) -> None:
        """Raise InputTypeError if a symbolic size is not an integer scalar."""
        for size in sizes:
            if size.ndim or size.dtype[:3] not in ("int", "uin"):
                raise InputTypeError(
                    "a size must be an integer scalar", where=f"random {self.kind}", got=str(size.type), expected="int"
                )

    def connection_pattern(self, node: Any) -> list[list[bool]]:
        """Nothing is differentiable."""
        return [[False, False] for _ in node.inputs]


def next_state(state: np.ndarray) -> np.ndarray:
    """Return the state after one draw.

    Examples
    --------
    >>> next_state(np.array([5, 0])).tolist()
    [5, 1]
    """
    return np.array([state[0], state[1] + 1], np.int64)


def _valid(seed: int | None) -> int:
    if seed is None:
        from neuromancer.utils import new_seed

        return int(new_seed())
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise ArgumentError("a seed must be an integer", where="RandomStream", got=seed, expected="int or None")
    return int(seed)
