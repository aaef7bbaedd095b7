"""Base of nodes whose parameters can be given, shared or made constant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from neuromancer import engine as E
from neuromancer.errors import ArgumentError, InputTypeError, ShapeError
from neuromancer.nodes.node import Node
from neuromancer.variables import ConstantParam, VariableWeight

FORMS = "None, an array, a symbolic or shared variable, [array, 'const'] or [array, 'trainable']"


class ParameterNode(Node):
    """Base of nodes with parameters that can be given in several forms.

    A parameter can be

    * None: a new parameter with default initialisation;
    * an array: a new parameter with these values;
    * a symbolic or shared variable, such as another node's ``w``: used directly and not owned by this node (not in
      ``params``, not counted, not saved with it);
    * ``[array, 'const']``: a constant;
    * ``[array, 'trainable']``: a trainable parameter, even if it is not trained by default.
    """

    def _param(
        self,
        key: str,
        given: Any,
        shape: tuple[int, ...],
        init: dict[str, Any],
        train: bool = True,
        reg: bool | float = True,
    ) -> Any:
        """Create or adopt one parameter; see the class for the accepted forms."""
        if isinstance(given, E.Variable):
            self._check_shared(key, given, shape)
            return given
        name, mark = f"{self.name}_{key}", None
        if isinstance(given, (list, tuple)) and len(given) == 2 and isinstance(given[1], str):
            given, mark = given
            if mark not in ("const", "trainable") or given is None:
                raise ArgumentError(
                    f"parameter {key!r} is given in an unknown form", node=self, got=f"mark {mark!r}", expected=FORMS
                )
        train = train or mark == "trainable"
        if given is None:
            param: Any = VariableWeight(shape, init, name=name, apply_train=train, apply_reg=reg if train else False)
        else:
            value = self._checked_value(key, given, shape)
            if mark == "const":
                param = ConstantParam(value, name=name)
            else:
                param = VariableWeight(value=value, name=name, apply_train=train, apply_reg=reg if train else False)
        self.params[key] = param
        return param

    def _checked_value(self, key: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
        if not isinstance(value, (np.ndarray, np.generic)):
            raise ArgumentError(
                f"parameter {key!r} is given in an unknown form",
                node=self,
                got=f"{type(value).__name__} {value!r}"[:100],
                expected=FORMS,
            )
        if value.dtype.kind not in "biuf":
            raise InputTypeError(
                f"parameter {key!r} is not numeric", node=self, got=str(value.dtype), expected="floats"
            )
        if value.ndim == 0 and shape == (1,):
            value = value.reshape(1)
        if value.shape != shape:
            raise ShapeError(
                f"parameter {key!r} has the wrong shape", node=self, got=tuple(value.shape), expected=str(shape)
            )
        if not np.isfinite(value).all():
            raise ArgumentError(f"parameter {key!r} is not finite", node=self, got="NaN or infinite values")
        return np.asarray(value)

    def _check_shared(self, key: str, variable: Any, shape: tuple[int, ...]) -> None:
        if hasattr(variable, "get_value"):
            known: Sequence[int | None] = variable.get_value().shape
        else:
            known = E.known_shape(variable) or ()
        if len(known) != len(shape) or any(k not in (None, n) for k, n in zip(known, shape, strict=True)):
            raise ShapeError(
                f"the shared parameter {key!r} has the wrong shape", node=self, got=tuple(known), expected=str(shape)
            )
