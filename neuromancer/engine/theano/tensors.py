"""Symbolic inputs, constants and shared variables of Theano."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import theano.tensor as T
from theano.gof import Constant, Variable
from theano.gof import generic as _generic_type
from theano.gof.graph import io_toposort
from theano.gradient import disconnected_grad as _disconnected_grad
from theano.tensor import TensorConstant, TensorType, addbroadcast
from theano.tensor import constant as _constant
from theano.tensor.elemwise import DimShuffle
from theano.tensor.sharedvar import TensorSharedVariable

from neuromancer.config import config
from neuromancer.engine.common import checks


def tensor_type(dtype: str, shape: tuple[int | None, ...]) -> TensorType:
    """Theano's type for these sizes: it keeps only which are 1."""
    return TensorType(dtype, tuple(size == 1 for size in shape))


def tensor(name: str | None, shape: tuple[int | None, ...], dtype: str | None = None) -> Variable:
    """Return a symbolic input.

    Parameters
    ----------
    name : str or None
    shape : tuple
        Sizes, None where unknown. Only axes of known length 1 are broadcast.
    dtype : str, optional
        Default: `config.floatX`.

    Examples
    --------
    >>> known_shape(tensor("x", (None, 1, 9), "float32"))
    (None, 1, 9)
    """
    variable = tensor_type(dtype or config.floatX, shape)(name)
    variable.tag.known_shape = tuple(shape)
    return variable


def known_shape(x: Variable) -> tuple[int | None, ...] | None:
    """Return the sizes of `x`, None where they are known only at run time; None if it is no tensor.

    Theano's types keep only which sizes are 1; others are known of inputs, shared variables, constants, and these
    transposed.

    Examples
    --------
    >>> x = tensor("x", (None, 2), "float32")
    >>> known_shape(x.T), known_shape(x * 2)
    ((2, None), (None, None))
    """
    if not isinstance(x.type, TensorType):
        return None
    if isinstance(x, Constant):
        return np.shape(x.data)
    known = getattr(x.tag, "known_shape", None)
    if known is None and x.owner is not None and isinstance(x.owner.op, DimShuffle):
        below = known_shape(x.owner.inputs[0]) or ()
        known = tuple(1 if axis == "x" else below[axis] for axis in x.owner.op.new_order)
    return known or tuple(1 if one else None for one in x.type.broadcastable)


def with_ones(x: Variable, spatial: Sequence[int | None]) -> Variable:
    """`x` with its spatial axes known to have length 1 where they have, so that they can be broadcast."""
    return addbroadcast(x, *(i + 2 for i, size in enumerate(spatial) if size == 1))


def generic(name: str | None = None) -> Variable:
    """Return a symbolic input that takes any Python object."""
    return _generic_type(name)


def constant(value: Any, name: str | None = None, dtype: str | None = None) -> Constant:
    """Return a symbolic constant.

    Parameters
    ----------
    value : number or array
    dtype : str, optional
        Default: that of an array; `config.floatX` for Python floats and float lists.

    Examples
    --------
    >>> known_shape(constant([1.0, 2.0]))
    (2,)
    """
    return _constant(checks.constant_array(value, dtype), name=name)


class SharedVariable(TensorSharedVariable):
    """Symbolic variable with a value that compiled functions share, read and update.

    Parameters
    ----------
    value : numpy.ndarray
        Copied. Its shape and dtype are those of the variable for ever.
    name : str or None

    Examples
    --------
    >>> weight = SharedVariable(np.zeros((2, 3), "float32"), "w")
    >>> weight.set_value(np.ones((2, 3), "float32"))
    >>> float(weight.get_value().sum())
    6.0
    """

    def __init__(self, value: np.ndarray, name: str | None = None) -> None:
        array = checks.numeric_array(value, name)
        super().__init__(type=tensor_type(array.dtype.name, array.shape), value=array, strict=True, name=name)
        self.tag.known_shape = array.shape

    def get_value(self, borrow: bool = False, return_internal_type: bool = False) -> np.ndarray:
        """Return the value as a new numpy array (the arguments of Theano's method change nothing)."""
        return np.array(self.container.storage[0], order="C")

    def set_value(self, new_value: Any, borrow: bool = False) -> None:
        """Copy `new_value` into the variable.

        Raises
        ------
        ShapeError
            If its shape differs.
        InputTypeError
            If it is not numeric or its values do not fit the dtype.
        """
        self.container.storage[0] = checks.new_value(
            new_value, f"shared variable {self.name}", self.dtype, self.tag.known_shape
        )

    def snapshot(self) -> Any:
        """Return a copy of the value for `restore`: Theano writes new values into the memory of old ones."""
        return self.get_value()

    def restore(self, snapshot: Any) -> None:
        """Put back what `snapshot` returned."""
        self.set_value(snapshot)

    def clone(self) -> TensorSharedVariable:
        """Return a plain shared variable on the same storage: what graphs are made of when Theano copies them."""
        twin = TensorSharedVariable(type=self.type, value=None, strict=None, container=self.container, name=self.name)
        twin.tag = copy.copy(self.tag)
        return twin


class ConstantVariable(TensorConstant):
    """Symbolic constant that can be subclassed with attributes of its own; graphs see its value only.

    Parameters
    ----------
    value : numpy.ndarray
    name : str or None

    Examples
    --------
    >>> known_shape(ConstantVariable(np.ones(3, "float32"), "ones"))
    (3,)
    """

    def __init__(self, value: np.ndarray, name: str | None = None) -> None:
        array = np.array(value)
        super().__init__(tensor_type(array.dtype.name, array.shape), array, name=name)

    def clone(self) -> TensorConstant:
        """Return a plain constant of the same value: what graphs are made of when Theano copies them."""
        return TensorConstant(self.type, self.data, name=self.name)


def relu(x: Variable) -> Variable:
    """Return max(x, 0) of floats, with gradient 0 at 0.

    Examples
    --------
    >>> from neuromancer.engine import function
    >>> x = tensor("x", (None,), "float32")
    >>> function([x], relu(x))([-1, 2]).tolist()
    [0.0, 2.0]
    """
    return T.switch(T.le(x, 0), np.zeros((), x.dtype), x)


def softmax(x: Variable, axis: int) -> Variable:
    """Return exp(x) / sum(exp(x)) along `axis`, computed stably (Theano's own knows only the last axis of matrices)."""
    unscaled = T.exp(_below_zero(x, axis))
    return unscaled / T.sum(unscaled, axis=axis, keepdims=True)


def log_softmax(x: Variable, axis: int) -> Variable:
    """Return log(softmax(x)) along `axis`, computed stably."""
    shifted = _below_zero(x, axis)
    return shifted - T.log(T.sum(T.exp(shifted), axis=axis, keepdims=True))


def disconnected_grad(x: Variable) -> Variable:
    """Return `x` as a constant to every gradient."""
    return _disconnected_grad(x)


def _below_zero(x: Variable, axis: int) -> Variable:
    """x minus its maximum, which changes neither softmax nor its gradient."""
    return x - disconnected_grad(x.max(axis=axis, keepdims=True))


def rewire(outputs: Any, replacements: dict[Variable, Variable]) -> Any:
    """Return `outputs` with variables replaced, all at once; what does not depend on them stays as it is.

    Parameters
    ----------
    outputs : Variable or list of Variable
    replacements : dict
        Old variable -> new variable; inputs and intermediate results alike, of the same dtype and number of axes.

    Raises
    ------
    InputTypeError
        If dtype or number of axes differ.

    Examples
    --------
    >>> from neuromancer.engine import function
    >>> x, y = tensor("x", (None,), "float32"), tensor("y", (None,), "float32")
    >>> function([x, y], rewire(x - y, {x: y, y: x}))([1], [3])
    array([2.], dtype=float32)
    """
    return checks.rewire(outputs, replacements, Variable, io_toposort)
