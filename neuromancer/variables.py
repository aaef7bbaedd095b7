"""Parameters of nodes: shared variables and constants with training attributes, and weight initialisation."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from math import prod
from typing import Any

import numpy as np

from neuromancer import engine as E
from neuromancer.casts import exact_cast, is_number, is_whole, numbers
from neuromancer.config import config
from neuromancer.errors import ArgumentError, EngineError, ShapeError
from neuromancer.utils import rng

MODES = ("normal", "uni", "ortho", "const", "fix-uni", "prelu")


class VariableParam(E.SharedVariable):
    """Shared variable with training attributes.

    Parameters
    ----------
    value : scalar or array
        Initial value; Python numbers become arrays.
    name : str, optional
        ``_noTrain`` is appended if the parameter is not trained.
    apply_train : bool
        Whether optimisers update it.
    apply_reg : bool or float
        Whether weight decay applies; a number scales the decay.
    dtype : str, optional
        Default: dtype of the value (for Python numbers and lists ``config.floatX``).
    strict, allow_downcast, borrow, broadcastable
        Accepted for compatibility.

    Raises
    ------
    ArgumentError, InputTypeError
        If there is no value, or the dtype cannot represent it.

    Attributes
    ----------
    constant : bool
        False.
    trained : bool
        Whether optimisers update it unless it is frozen; `apply_train` is False while it is.
    frozen : bool
        Whether training leaves it unchanged, see :meth:`neuromancer.Model.freeze`.
    updates : tuple or None
        ``(parameter, expression)``, applied on every training step; only for parameters that are neither trained nor
        regularised. None while it is frozen.

    Examples
    --------
    >>> p = VariableParam(2.0, name="rate", apply_train=False, apply_reg=False)
    >>> p.name, float(p.get_value())
    ('rate_noTrain', 2.0)
    """

    constant = False

    def __init__(
        self,
        value: Any = None,
        name: str | None = None,
        apply_train: bool = True,
        apply_reg: bool | float = True,
        dtype: str | None = None,
        strict: bool = False,
        allow_downcast: bool | None = None,
        borrow: bool = False,
        broadcastable: Any = None,
    ) -> None:
        if value is None:
            raise ArgumentError("a parameter needs a value", node=name or "parameter", got=None)
        array = numbers(value, name or "parameter", "the value")
        if dtype is None:
            dtype = array.dtype.name if isinstance(value, (np.ndarray, np.generic)) else config.floatX
        if name is not None and not apply_train:
            name += "_noTrain"
        super().__init__(exact_cast(array, dtype, name or "parameter", "the value"), name)
        self.trained, self.frozen = apply_train, False
        self.apply_reg = apply_reg
        self._updates: tuple[Any, Any] | None = None

    @property
    def apply_train(self) -> bool:
        """Whether optimisers update the parameter."""
        return self.trained and not self.frozen

    @apply_train.setter
    def apply_train(self, value: bool) -> None:
        self.trained = value

    @property
    def updates(self) -> tuple[Any, Any] | None:
        """Update applied on every training step, as (parameter, expression)."""
        return None if self.frozen else self._updates

    @updates.setter
    def updates(self, update: tuple[Any, Any]) -> None:
        if self.trained or self.apply_reg:
            raise ArgumentError(
                "only a parameter that is neither trained nor regularised can have its own update",
                node=self.name or "parameter",
                got=f"apply_train={self.trained}, apply_reg={self.apply_reg}",
            )
        self._updates = update


class VariableWeight(VariableParam):
    """Weight: a :class:`VariableParam` that can draw its own initial value.

    Parameters
    ----------
    shape : sequence of int, optional
        Shape; required unless `value` is an array.
    init_kwargs : dict, optional
        Arguments of :func:`initweights`, used if `value` is None.
    value : scalar or array, optional
        Initial value, broadcast to `shape` if that is given.
    name, apply_train, apply_reg, dtype, strict, allow_downcast, borrow, broadcastable
        See :class:`VariableParam`.

    Raises
    ------
    ArgumentError
        If neither a value nor both `shape` and `init_kwargs` are given.
    ShapeError
        If the value cannot be broadcast to the shape.

    Examples
    --------
    >>> VariableWeight((2, 3), dict(mode="const", scale=0.5), name="w").get_value().tolist()
    [[0.5, 0.5, 0.5], [0.5, 0.5, 0.5]]
    """

    def __init__(
        self,
        shape: Sequence[int] | None = None,
        init_kwargs: dict[str, Any] | None = None,
        value: Any = None,
        name: str | None = None,
        apply_train: bool = True,
        apply_reg: bool | float = True,
        dtype: str | None = None,
        strict: bool = False,
        allow_downcast: bool | None = None,
        borrow: bool = False,
        broadcastable: Any = None,
    ) -> None:
        if value is None:
            if shape is None or init_kwargs is None:
                raise ArgumentError(
                    "a weight without a value needs both shape and init_kwargs",
                    node=name or "weight",
                    got=f"shape={shape}, init_kwargs={init_kwargs}",
                )
            known = list(signature(initweights).parameters)[1:]
            if not isinstance(init_kwargs, dict) or not set(init_kwargs) <= set(known):
                raise ArgumentError(
                    "init_kwargs must be arguments of initweights",
                    node=name or "weight",
                    got=init_kwargs,
                    expected=f"a dict with some of {known}",
                )
            value = initweights(shape, **init_kwargs)
        elif shape is not None:
            shape = _checked_shape(shape, name or "weight")
            array = numbers(value, name or "weight", "the value")
            try:
                value = np.broadcast_to(array, shape).copy()
            except ValueError:
                raise ShapeError(
                    "the value does not fit the shape",
                    node=name or "weight",
                    got=array.shape,
                    expected=shape,
                ) from None
        super().__init__(value, name, apply_train, apply_reg, dtype or config.floatX)

    def set_value(self, value: Any, borrow: bool = False) -> None:
        """Set the value; a number fills the weight, an array must have the same shape.

        Raises
        ------
        ShapeError
            For an array of another shape.
        ArgumentError
            For values that the dtype cannot represent.
        """
        array = exact_cast(value, self.dtype, self.name or "weight", "the value")
        shape = self.get_value().shape
        if array.ndim and array.shape != shape:
            raise ShapeError(
                "the value has the wrong shape", node=self.name or "weight", got=array.shape, expected=shape
            )
        super().set_value(np.array(np.broadcast_to(array, shape)))


class ConstantParam(E.ConstantVariable):
    """Parameter that is a constant of the graph: it never changes and can be folded.

    Parameters
    ----------
    value : scalar or array
    name : str, optional
        ``_const`` is appended.
    dtype : str, optional
        Default: dtype of the value if it is a NumPy array of integers or bools, else ``config.floatX``.
    make_singletons_broadcastable : bool
        Accepted for compatibility; axes of size 1 always broadcast.

    Examples
    --------
    >>> ConstantParam([1.0, 2.0], name="b").get_value().tolist()
    [1.0, 2.0]
    """

    constant = True
    apply_train = trained = frozen = False
    apply_reg = False
    updates = None

    def __init__(
        self,
        value: Any,
        name: str | None = None,
        dtype: str | None = None,
        make_singletons_broadcastable: bool = True,
    ) -> None:
        array = numbers(value, name or "constant", "the value")
        if dtype is None:
            dtype = array.dtype.name if array.dtype.kind in "iub" and isinstance(value, np.ndarray) else config.floatX
        fitting = exact_cast(array, dtype, name or "constant", "the value")
        super().__init__(np.array(fitting), None if name is None else name + "_const")

    def get_value(self, borrow: bool = False) -> np.ndarray:
        """Return a copy of the value."""
        return np.array(self.data)

    def set_value(self, value: Any, borrow: bool = False) -> None:
        """Raise EngineError, as constants cannot be set."""
        raise EngineError("a constant cannot be set", node=self.name or "constant", got=np.shape(value))


def initweights(
    shape: Sequence[int],
    dtype: str | None = None,
    scale: str | float = "glorot",
    mode: str = "normal",
    pool: Sequence[int] | None = None,
    spatial_axes: Sequence[int] | None = None,
) -> np.ndarray:
    """Draw initial weights.

    Parameters
    ----------
    shape : sequence of int
        ``(n_in, n_out)`` for dense layers; for convolutions, the non-spatial axes are ``(n_out, n_in)``.
    dtype : str, optional
        Default ``config.floatX``.
    scale : 'glorot' or float
        'glorot', required by the modes normal, uni and ortho, gives the standard deviation
        ``sqrt(2 / (fan_in + fan_out))`` of Glorot & Bengio 2010, with fan_out divided by the pooling factor. The other
        modes take a number.
    mode : {'normal', 'uni', 'ortho', 'const', 'fix-uni', 'prelu'}
        normal: N(0, sigma). uni: uniform with standard deviation sigma. ortho: orthonormal rows (Saxe et al. 2014),
        scaled to standard deviation sigma. const: all `scale`. fix-uni: uniform in (-scale, scale). prelu: (n, 2) with
        `scale` in the first column and 1 in the second.
    pool : sequence of int, optional
        Pooling factors after a convolution.
    spatial_axes : sequence of int, optional
        Spatial axes of a convolution kernel; required for shapes of more than two axes.

    Returns
    -------
    numpy.ndarray
        Drawn from the generator of the package (``config.seed``).

    Raises
    ------
    ArgumentError
        For an unknown mode, a scale that does not match the mode, or `spatial_axes` that do not leave two axes.
    ShapeError
        For a shape of anything but positive integers.

    Examples
    --------
    >>> initweights((2, 2), mode="const", scale=3.0).tolist()
    [[3.0, 3.0], [3.0, 3.0]]
    """
    shape = _checked_shape(shape, "initweights")
    if not isinstance(mode, str) or mode not in MODES:
        raise ArgumentError("unknown initialisation mode", where="initweights", got=mode, expected=f"one of {MODES}")
    numeric = mode in ("const", "fix-uni", "prelu")
    if not (is_number(scale) if numeric else isinstance(scale, str) and scale == "glorot"):
        raise ArgumentError(
            f"the scale does not match mode {mode!r}",
            where="initweights",
            got=scale,
            expected="a number" if numeric else "'glorot'",
        )
    if numeric:
        values = _with_number(shape, mode, float(scale))
    else:
        sigma = _glorot(shape, pool, spatial_axes)
        if mode == "normal":
            values = rng().normal(0.0, sigma, shape)
        elif mode == "uni":
            values = rng().uniform(-sigma * 3**0.5, sigma * 3**0.5, shape)
        else:
            values = _orthogonal(shape, spatial_axes) * sigma
    fitting = exact_cast(values, dtype or config.floatX, "initweights", f"scale {scale}")
    return np.ascontiguousarray(fitting).reshape(shape)


def _checked_shape(shape: Any, name: str) -> tuple[int, ...]:
    is_sequence = isinstance(shape, (list, tuple)) or (isinstance(shape, np.ndarray) and shape.ndim == 1)
    if not is_sequence or not all(is_whole(s) and s >= 1 for s in shape):
        raise ShapeError("not the shape of weights", where=name, got=shape, expected="positive integers")
    return tuple(int(s) for s in shape)


def _with_number(shape: tuple[int, ...], mode: str, scale: float) -> np.ndarray:
    if mode == "const":
        return np.full(shape, scale)
    if mode == "fix-uni":
        return rng().uniform(-scale, scale, shape)
    if len(shape) != 2 or shape[1] != 2:
        raise ShapeError("prelu parameters have two columns", where="initweights", got=shape, expected="(n, 2)")
    return np.stack([np.full(shape[0], scale), np.ones(shape[0])], axis=1)


def _glorot(shape: tuple[int, ...], pool: Sequence[int] | None, spatial_axes: Sequence[int] | None) -> float:
    if len(shape) == 2 and not spatial_axes:
        return float((2.0 / sum(shape)) ** 0.5)
    if spatial_axes is None:
        raise ArgumentError("convolution weights need spatial_axes", where="initweights", got=shape)
    if len(set(spatial_axes) & set(range(len(shape)))) != len(spatial_axes) or len(spatial_axes) != len(shape) - 2:
        raise ArgumentError(
            "spatial_axes must leave two axes",
            where="initweights",
            got=list(spatial_axes),
            expected=f"{len(shape) - 2} axes of the shape {shape}",
        )
    kernel = prod(shape[i] for i in spatial_axes)
    n_out, n_in = (shape[i] for i in range(len(shape)) if i not in list(spatial_axes))
    return float((2.0 / ((n_in + n_out / prod(pool or [1])) * kernel)) ** 0.5)


def _orthogonal(shape: tuple[int, ...], spatial_axes: Sequence[int] | None) -> np.ndarray:
    """Draw a matrix (outputs, all other axes) with orthogonal rows, or orthogonal columns if there are more outputs."""
    dense = len(shape) == 2 and not spatial_axes
    axis = 1 if dense else next(i for i in range(len(shape)) if i not in list(spatial_axes or ()))
    n_out = shape[axis]
    rest = prod(shape) // n_out
    q, r = np.linalg.qr(rng().normal(size=(max(n_out, rest), min(n_out, rest))))
    q = q * np.sign(np.diag(r))
    matrix = (q if n_out > rest else q.T) * max(n_out, rest) ** 0.5
    moved = (n_out, *(s for i, s in enumerate(shape) if i != axis))
    return np.moveaxis(matrix.reshape(moved), 0, axis)
