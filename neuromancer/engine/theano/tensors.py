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
from neuromancer.engine.interface import Engine, implements


def tensor_type(dtype: str, shape: tuple[int | None, ...]) -> TensorType:
    """Return Theano's type for these sizes, which records only which of them are 1."""
    return TensorType(dtype, tuple(size == 1 for size in shape))


@implements(Engine.tensor)
def tensor(name: str | None, shape: tuple[int | None, ...], dtype: str | None = None) -> Variable:
    variable = tensor_type(dtype or config.floatX, shape)(name)
    variable.tag.known_shape = tuple(shape)
    return variable


@implements(Engine.known_shape)
def known_shape(x: Variable) -> tuple[int | None, ...] | None:
    # Theano's types record only which sizes are 1. The others are known of inputs, shared variables, constants, and
    # transpositions of these.
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
    """Return `x` with spatial axes of length 1 marked as broadcastable."""
    return addbroadcast(x, *(i + 2 for i, size in enumerate(spatial) if size == 1))


@implements(Engine.generic)
def generic(name: str | None = None) -> Variable:
    return _generic_type(name)


@implements(Engine.constant)
def constant(value: Any, name: str | None = None, dtype: str | None = None) -> Constant:
    return _constant(checks.constant_array(value, dtype), name=name)


class SharedVariable(TensorSharedVariable):
    """Symbolic variable with a value that compiled functions share, read and update.

    Parameters
    ----------
    value : numpy.ndarray
        Copied. Shape and dtype of the variable are fixed.
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
        """Return the value as a new numpy array (the arguments of Theano's method are ignored)."""
        return np.array(self.container.storage[0], order="C")

    def set_value(self, new_value: Any, borrow: bool = False) -> None:
        """Copy `new_value` into the variable.

        Raises
        ------
        ShapeError
            If its shape differs.
        InputTypeError
            If it is not numeric, or its kind (integer, float) does not fit the dtype.
        ArgumentError
            If the dtype cannot represent a value.
        """
        self.container.storage[0] = checks.new_value(
            new_value, f"shared variable {self.name}", self.dtype, self.tag.known_shape
        )

    def snapshot(self) -> Any:
        """Return a copy of the value for `restore`: Theano updates values in place."""
        return self.get_value()

    def restore(self, snapshot: Any) -> None:
        """Set the value to what `snapshot` returned."""
        self.set_value(snapshot)

    def clone(self) -> TensorSharedVariable:
        """Return a plain shared variable with the same storage, which Theano uses in copies of a graph."""
        twin = TensorSharedVariable(type=self.type, value=None, strict=None, container=self.container, name=self.name)
        twin.tag = copy.copy(self.tag)
        return twin


class ConstantVariable(TensorConstant):
    """Symbolic constant that subclasses may extend with attributes; graphs use only its value.

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
        """Return a plain constant with the same value, which Theano uses in copies of a graph."""
        return TensorConstant(self.type, self.data, name=self.name)


@implements(Engine.relu)
def relu(x: Variable) -> Variable:
    return T.switch(T.le(x, 0), np.zeros((), x.dtype), x)


@implements(Engine.softmax)
def softmax(x: Variable, axis: int) -> Variable:
    unscaled = T.exp(_below_zero(x, axis))
    return unscaled / T.sum(unscaled, axis=axis, keepdims=True)


@implements(Engine.log_softmax)
def log_softmax(x: Variable, axis: int) -> Variable:
    shifted = _below_zero(x, axis)
    return shifted - T.log(T.sum(T.exp(shifted), axis=axis, keepdims=True))


@implements(Engine.disconnected_grad)
def disconnected_grad(x: Variable) -> Variable:
    return _disconnected_grad(x)


def _below_zero(x: Variable, axis: int) -> Variable:
    """Subtract the maximum, which changes neither softmax nor its gradient."""
    return x - disconnected_grad(x.max(axis=axis, keepdims=True))


@implements(Engine.rewire)
def rewire(outputs: Any, replacements: dict[Variable, Variable]) -> Any:
    return checks.rewire(outputs, replacements, Variable, io_toposort)
