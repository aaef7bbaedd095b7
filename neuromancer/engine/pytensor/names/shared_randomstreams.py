"""Theano's ``theano.tensor.shared_randomstreams``, on the random streams of this package."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytensor.tensor as pt
from pytensor.graph.basic import Variable

from neuromancer.engine.pytensor.random import RandomStream
from neuromancer.errors import ArgumentError

Size = Sequence[Any] | None


class RandomStreams:
    """Source of symbolic random tensors, drawn anew at every call of a function.

    The numbers are not Theano's. `ndim` is accepted and ignored: sizes say it.

    Parameters
    ----------
    seed : int, optional
        Default: one from the package's own seeds.

    Examples
    --------
    >>> from neuromancer import T
    >>> T.shared_randomstreams.RandomStreams(seed=234).uniform((2, 2)).type.shape
    (2, 2)
    """

    def __init__(self, seed: int | None = None) -> None:
        self._stream = RandomStream(seed)

    def seed(self, seed: int | None = None) -> None:
        """Start again with a seed."""
        self._stream.reseed(seed)

    def updates(self) -> list[tuple[Variable, Variable]]:
        """Return no updates: functions advance the streams that they use."""
        return []

    def uniform(
        self, size: Size = None, low: Any = 0.0, high: Any = 1.0, ndim: int | None = None, dtype: str | None = None
    ) -> Variable:
        """Return uniform numbers from `low` to `high`."""
        low, high = pt.as_tensor_variable(low), pt.as_tensor_variable(high)
        draws = self._stream.uniform(_size(size, low, high), dtype)
        return pt.cast(low + (high - low) * draws, draws.dtype)

    def normal(
        self, size: Size = None, avg: Any = 0.0, std: Any = 1.0, ndim: int | None = None, dtype: str | None = None
    ) -> Variable:
        """Return normal numbers of mean `avg` and standard deviation `std`."""
        avg, std = pt.as_tensor_variable(avg), pt.as_tensor_variable(std)
        draws = self._stream.normal(_size(size, avg, std), dtype)
        return pt.cast(avg + std * draws, draws.dtype)

    def binomial(
        self, size: Size = None, n: int = 1, p: Any = 0.5, ndim: int | None = None, dtype: str = "int64",
        prob: Any = None,
    ) -> Variable:  # fmt: skip
        """Return how many of `n` trials succeed, each with probability `p`."""
        p = pt.as_tensor_variable(p if prob is None else prob)
        trials = self._stream.bernoulli(p, (n, *_size(size, p)), "float32")
        return pt.cast(trials.sum(0), dtype)

    def random_integers(
        self, size: Size = None, low: Any = 0, high: Any = 1, ndim: int | None = None, dtype: str = "int64"
    ) -> Variable:
        """Return integers from `low` to `high`, both included."""
        low, high = pt.as_tensor_variable(low), pt.as_tensor_variable(high)
        draws = self._stream.uniform(_size(size, low, high), "float64")
        return pt.cast(low + pt.floor(draws * (high - low + 1)), dtype)

    def choice(
        self, size: Size = None, a: Any = 2, replace: bool = True, p: Any = None, ndim: int | None = None,
        dtype: str = "int64",
    ) -> Variable:  # fmt: skip
        """Return elements of a vector `a`, or numbers below an integer `a`, each with its probability `p`.

        Raises
        ------
        ArgumentError
            If elements that are not put back have probabilities.
        """
        a = pt.as_tensor_variable(a)
        count = a if a.ndim == 0 else a.shape[0]
        if replace and p is None:
            chosen = self.random_integers(size, 0, count - 1)
        elif replace:
            draws = self._stream.uniform(_size(size), "float64")
            chosen = pt.ge(pt.shape_padright(draws), pt.cumsum(pt.as_tensor_variable(p))[:-1]).sum(-1)
        elif p is None:
            sizes = _size(size)
            total = pt.prod(pt.stack([pt.as_tensor_variable(n) for n in sizes])) if sizes else 1
            chosen = self.permutation(n=count)[:total].reshape(sizes)
        else:
            raise ArgumentError("not available", where="choice", got="replace=False with p", expected="one of them")
        return pt.cast(chosen if a.ndim == 0 else a[chosen], dtype)

    def permutation(self, size: Size = None, n: Any = 1, ndim: int | None = None, dtype: str = "int64") -> Variable:
        """Return the numbers below `n` in random order, along a last axis."""
        return pt.cast(pt.argsort(self._stream.uniform((*_size(size), n), "float64"), axis=-1), dtype)

    def multinomial(
        self, size: Size = None, n: int = 1, pvals: Any = (0.5, 0.5), ndim: int | None = None, dtype: str = "int64"
    ) -> Variable:
        """Return how many of `n` draws fall into each class, along a last axis, for probabilities (..., classes)."""
        pvals = pt.as_tensor_variable(pvals)
        lead = _size(size, pvals[..., 0])
        draws = self._stream.uniform((n, *lead), "float64")
        classes = pt.ge(pt.shape_padright(draws), pt.cumsum(pvals, axis=-1)[..., :-1]).sum(-1)
        hits = pt.eq(pt.shape_padright(classes), pt.arange(pvals.shape[-1]))
        return pt.cast(hits.sum(0), dtype)

    def shuffle_row_elements(self, input: Any) -> Variable:
        """Return a tensor with the elements of each row (along the last axis) in a random order of its own."""
        x = pt.as_tensor_variable(input)
        order = self.permutation(tuple(x.shape[k] for k in range(x.ndim - 1)), x.shape[-1])
        return pt.take_along_axis(x, order, -1)


def _size(size: Size, *parameters: Variable) -> tuple[Any, ...]:
    """Return the shape of draws: as given, else that of the parameters."""
    if size is not None:
        return tuple(size[k] for k in range(size.type.shape[0])) if isinstance(size, Variable) else tuple(size)
    shape = sum(parameters[1:], parameters[0]).shape if parameters else ()
    ndim = max((v.ndim for v in parameters), default=0)
    return tuple(shape[k] for k in range(ndim))
