"""Symbolic inputs, constants and shared variables."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytensor.tensor as pt
import torch
from pytensor.graph.basic import Constant, Variable
from pytensor.graph.traversal import io_toposort
from pytensor.link.c.type import generic as _generic_type
from pytensor.tensor.sharedvar import TensorSharedVariable
from pytensor.tensor.special import log_softmax as _log_softmax
from pytensor.tensor.special import softmax as _softmax
from pytensor.tensor.type import TensorType
from pytensor.tensor.variable import TensorConstant

from neuromancer.config import config
from neuromancer.engine.common import checks


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
    >>> tensor("x", (None, 1, 9), "float32").type.shape
    (None, 1, 9)
    """
    # not pt.tensor, which refuses names that are dtypes, such as "single"
    return TensorType(dtype or config.floatX, shape=tuple(shape))(name)


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
    >>> constant([1.0, 2.0]).type.shape
    (2,)
    """
    return pt.constant(checks.constant_array(value, dtype), name=name)


def known_shape(x: Variable) -> tuple[int | None, ...] | None:
    """Return the sizes of `x`, None where they are known only at run time; None if it is no tensor.

    Examples
    --------
    >>> known_shape(tensor("x", (None, 2), "float32"))
    (None, 2)
    """
    return x.type.shape if isinstance(x.type, TensorType) else None


class SharedVariable(TensorSharedVariable):
    """Symbolic variable with a value that compiled functions share, read and update.

    The value may live on the device; `get_value` always copies it to a fresh numpy array.

    Parameters
    ----------
    value : numpy.ndarray
        Copied. Its shape and dtype are those of the variable for ever.
    name : str or None

    Examples
    --------
    >>> weight = SharedVariable(np.zeros((2, 3), "float32"), "w")
    >>> weight.set_value(np.ones((2, 3), "float32"))
    >>> weight.get_value().sum()
    np.float32(6.0)
    """

    def __init__(self, value: np.ndarray, name: str | None = None) -> None:
        array = checks.numeric_array(value, name)
        variable_type = TensorType(array.dtype.name, shape=array.shape)
        super().__init__(type=variable_type, value=array, strict=True, name=name)

    def get_value(self, borrow: bool = False, return_internal_type: bool = False) -> np.ndarray:
        """Return the value as a new numpy array (the arguments of PyTensor's method change nothing)."""
        value = self.container.storage[0]
        if isinstance(value, torch.Tensor):
            value = value.detach().cpu().numpy()
        return np.array(value, order="C")

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
            new_value, f"shared variable {self.name}", self.dtype, self.type.shape
        )

    def snapshot(self) -> Any:
        """Return the value as it lies on its device, for `restore`: values are replaced, never written into."""
        return self.container.storage[0]

    def restore(self, snapshot: Any) -> None:
        """Put back what `snapshot` returned."""
        self.container.storage[0] = snapshot

    def clone(self, **kwargs: Any) -> TensorSharedVariable:
        """Return a plain shared variable on the same storage: what graphs are made of when PyTensor copies them."""
        twin = TensorSharedVariable(
            type=self.type, value=None, strict=None, container=self.container, name=kwargs.get("name", self.name)
        )
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
    >>> ConstantVariable(np.ones(3, "float32"), "ones").type.shape
    (3,)
    """

    def __init__(self, value: np.ndarray, name: str | None = None) -> None:
        array = np.array(value)
        super().__init__(TensorType(array.dtype.name, shape=array.shape), array, name=name)

    def clone(self, **kwargs: Any) -> TensorConstant:
        """Return a plain constant of the same value: what graphs are made of when PyTensor copies them."""
        return TensorConstant(self.type, self.data, name=kwargs.get("name", self.name))


def softmax(x: Variable, axis: int) -> Variable:
    """Return exp(x) / sum(exp(x)) along `axis`, computed stably."""
    return _softmax(x, axis=axis)


def log_softmax(x: Variable, axis: int) -> Variable:
    """Return log(softmax(x)) along `axis`, computed stably."""
    return _log_softmax(x, axis=axis)


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
