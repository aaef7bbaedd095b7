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
from neuromancer.engine.interface import Engine, implements


@implements(Engine.tensor)
def tensor(name: str | None, shape: tuple[int | None, ...], dtype: str | None = None) -> Variable:
    # not pt.tensor, which rejects names that are dtypes, such as "single"
    return TensorType(dtype or config.floatX, shape=tuple(shape))(name)


@implements(Engine.generic)
def generic(name: str | None = None) -> Variable:
    return _generic_type(name)


@implements(Engine.constant)
def constant(value: Any, name: str | None = None, dtype: str | None = None) -> Constant:
    return pt.constant(checks.constant_array(value, dtype), name=name)


@implements(Engine.known_shape)
def known_shape(x: Variable) -> tuple[int | None, ...] | None:
    return x.type.shape if isinstance(x.type, TensorType) else None


class SharedVariable(TensorSharedVariable):
    """Symbolic variable with a value that compiled functions share, read and update.

    The value may live on a device; `get_value` always copies it to a new numpy array.

    Parameters
    ----------
    value : numpy.ndarray
        Copied. Shape and dtype of the variable are fixed.
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
        """Return the value as a new numpy array (the arguments of PyTensor's method are ignored)."""
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
            If it is not numeric, or its kind (integer, float) does not fit the dtype.
        ArgumentError
            If the dtype cannot represent a value.
        """
        self.container.storage[0] = checks.new_value(
            new_value, f"shared variable {self.name}", self.dtype, self.type.shape
        )

    def snapshot(self) -> Any:
        """Return the stored value, on its device, for `restore`: values are replaced, never modified."""
        return self.container.storage[0]

    def restore(self, snapshot: Any) -> None:
        """Set the value to what `snapshot` returned."""
        self.container.storage[0] = snapshot

    def clone(self, **kwargs: Any) -> TensorSharedVariable:
        """Return a plain shared variable with the same storage, which PyTensor uses in copies of a graph."""
        twin = TensorSharedVariable(
            type=self.type, value=None, strict=None, container=self.container, name=kwargs.get("name", self.name)
        )
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
    >>> ConstantVariable(np.ones(3, "float32"), "ones").type.shape
    (3,)
    """

    def __init__(self, value: np.ndarray, name: str | None = None) -> None:
        array = np.array(value)
        super().__init__(TensorType(array.dtype.name, shape=array.shape), array, name=name)

    def clone(self, **kwargs: Any) -> TensorConstant:
        """Return a plain constant with the same value, which PyTensor uses in copies of a graph."""
        return TensorConstant(self.type, self.data, name=kwargs.get("name", self.name))


@implements(Engine.softmax)
def softmax(x: Variable, axis: int) -> Variable:
    return _softmax(x, axis=axis)


@implements(Engine.log_softmax)
def log_softmax(x: Variable, axis: int) -> Variable:
    return _log_softmax(x, axis=axis)


@implements(Engine.rewire)
def rewire(outputs: Any, replacements: dict[Variable, Variable]) -> Any:
    return checks.rewire(outputs, replacements, Variable, io_toposort)
