"""Intensity augmentation: contrast, noise, blur, holes.

Each is a function of a patch (f, *spatial), its labels and a generator; labels and shapes are unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuromancer.errors import ArgumentError
from neuromancer.train.checks import amount, whole
from neuromancer.train.data.geometric import probability

Pair = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class GreyValues:
    """Random contrast, brightness and gamma, independently for every channel.

    Values v become ``m + c (v - m) + b``, with m the channel's mean in the patch. Gamma then raises them to a power
    within the patch's range of values, which is preserved.

    Parameters
    ----------
    contrast : float
        Factors c from 1 / (1 + contrast) to 1 + contrast.
    brightness : float
        Shifts b between -brightness and brightness.
    gamma : float
        Powers from 1 / (1 + gamma) to 1 + gamma.
    p : float
        Probability of changing a patch.

    Examples
    --------
    >>> patch = np.linspace(0, 1, 5, dtype="float32")[None]
    >>> changed, _ = GreyValues(contrast=0.5, brightness=0)(patch, None, np.random.default_rng(0))
    >>> bool(np.isclose(changed.mean(), 0.5))
    True
    """

    contrast: float = 0.2
    brightness: float = 0.1
    gamma: float = 0.0
    p: float = 1.0

    def __post_init__(self) -> None:
        probability(self.p, "GreyValues")
        for name in ("contrast", "brightness", "gamma"):
            amount(getattr(self, name), name, "GreyValues")

    def __call__(self, raw: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> Pair:
        """Return the changed raw patch and the same labels."""
        if rng.random() >= self.p:
            return raw, labels
        shape = (len(raw),) + (1,) * (raw.ndim - 1)
        factor = _around_one(self.contrast, shape, rng).astype(raw.dtype)
        shift = rng.uniform(-self.brightness, self.brightness, shape).astype(raw.dtype)
        mean = raw.mean(axis=tuple(range(1, raw.ndim)), keepdims=True)
        raw = mean + factor * (raw - mean) + shift
        if self.gamma:
            power = _around_one(self.gamma, shape, rng).astype(raw.dtype)
            low = raw.min(axis=tuple(range(1, raw.ndim)), keepdims=True)
            width = raw.max(axis=tuple(range(1, raw.ndim)), keepdims=True) - low
            width = np.where(width > 0, width, 1).astype(raw.dtype)
            raw = low + width * ((raw - low) / width) ** power
        return raw, labels


@dataclass(frozen=True)
class Noise:
    """Gaussian noise.

    Parameters
    ----------
    sigma : float
        Largest standard deviation; drawn between 0 and this for every patch.
    p : float
        Probability of changing a patch.

    Examples
    --------
    >>> noise = Noise(0.05, p=0.5)
    """

    sigma: float = 0.05
    p: float = 1.0

    def __post_init__(self) -> None:
        probability(self.p, "Noise")
        amount(self.sigma, "sigma", "Noise")

    def __call__(self, raw: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> Pair:
        """Return the noisy raw patch and the same labels."""
        if rng.random() >= self.p:
            return raw, labels
        sigma = raw.dtype.type(rng.uniform(0, self.sigma))
        return raw + sigma * rng.standard_normal(raw.shape, dtype=raw.dtype), labels


@dataclass(frozen=True)
class Blur:
    """Gaussian blur.

    Parameters
    ----------
    sigma : float or sequence of float
        Largest standard deviation in voxels, for all axes or per spatial axis; scaled by one random factor per patch.
    p : float
        Probability of changing a patch.

    Examples
    --------
    >>> blur = Blur((0, 1.5, 1.5), p=0.3)
    """

    sigma: float | Sequence[float] = 1.0
    p: float = 0.3

    def __post_init__(self) -> None:
        probability(self.p, "Blur")
        for sigma in _each(self.sigma):
            amount(sigma, "sigma", "Blur")

    def __call__(self, raw: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> Pair:
        """Return the blurred raw patch and the same labels."""
        if rng.random() >= self.p:
            return raw, labels
        from scipy.ndimage import gaussian_filter

        share = rng.random()
        sigma = _per_axis(self.sigma, raw, "Blur", "sigma") * share
        return gaussian_filter(raw, (0, *sigma), mode="reflect"), labels


@dataclass(frozen=True)
class CutOut:
    """Boxes filled with the patch's mean, so that the network learns to use their surroundings.

    Parameters
    ----------
    size : int or sequence of int
        Largest size of a box, for all axes or per spatial axis.
    number : int
        Number of boxes.
    p : float
        Probability of each box.

    Examples
    --------
    >>> hole = CutOut((2, 8, 8), number=3, p=0.5)
    """

    size: int | Sequence[int] = 8
    number: int = 1
    p: float = 0.5

    def __post_init__(self) -> None:
        probability(self.p, "CutOut")
        for size in _each(self.size):
            whole(size, "size", "CutOut", 1)
        whole(self.number, "number", "CutOut", 1)

    def __call__(self, raw: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> Pair:
        """Return the raw patch with filled boxes and the same labels."""
        grey, sizes = raw.mean(), np.array(raw.shape[1:])
        largest = np.minimum(_per_axis(self.size, raw, "CutOut", "size"), sizes)
        for _ in range(self.number):
            if rng.random() >= self.p:
                continue
            size = rng.integers(np.minimum(1, largest), largest + 1)
            start = rng.integers(0, sizes - size + 1)
            raw = raw.copy()
            raw[(slice(None), *(slice(a, a + n) for a, n in zip(start, size, strict=True)))] = grey
        return raw, labels


@dataclass(frozen=True)
class OneOf:
    """One of several functions, drawn for every patch.

    Parameters
    ----------
    functions : sequence of callable
        ``(raw, labels, rng) -> (raw, labels)``.

    Examples
    --------
    >>> either = OneOf([Blur(), Noise()])
    """

    functions: Sequence[Callable[[np.ndarray, np.ndarray, np.random.Generator], Pair]]

    def __post_init__(self) -> None:
        several = isinstance(self.functions, Sequence) and len(self.functions) > 0
        if not several or any(not callable(f) or isinstance(f, type) for f in self.functions):
            raise ArgumentError(
                "needs functions", where="OneOf", got=repr(self.functions)[:200], expected="[Blur(), ...]"
            )

    def __call__(self, raw: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> Pair:
        """Apply a function drawn at random."""
        return self.functions[int(rng.integers(len(self.functions)))](raw, labels, rng)


def _around_one(amount: float, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Return factors from 1 / (1 + amount) to 1 + amount, log-uniformly distributed."""
    log = np.log1p(amount)
    return np.exp(rng.uniform(-log, log, shape))


def _each(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (Sequence, np.ndarray)) and not isinstance(value, str) else [value]


def _per_axis(value: Any, raw: np.ndarray, who: str, name: str) -> np.ndarray:
    """Return a number per spatial axis of a patch."""
    values, n = _each(value), raw.ndim - 1
    if len(values) not in (1, n) or (len(values) == 1 < n and np.ndim(value)):
        raise ArgumentError(f"unusable {name}", node=who, got=value, expected=f"one number, or {n}")
    return np.broadcast_to(np.array(values), n)
