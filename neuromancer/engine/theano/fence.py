"""A variable that rewrites of sums and products do not look into."""

from __future__ import annotations

from typing import Any

from theano.gof import Apply, Op, Variable
from theano.tensor import as_tensor_variable


class Fence(Op):
    """The identity; Theano does not merge what is on one side of it with what is on the other."""

    __props__ = ()
    view_map = {0: [0]}  # noqa: RUF012 (Theano's name and form)

    def make_node(self, x: Any) -> Apply:
        """Type x, of any shape."""
        x = as_tensor_variable(x)
        out = x.type()
        if hasattr(x.tag, "known_shape"):
            out.tag.known_shape = x.tag.known_shape
        return Apply(self, [x], [out])

    def perform(self, node: Apply, inputs: Any, output_storage: Any, params: Any = None) -> None:
        """Hand the array on."""
        output_storage[0][0] = inputs[0]

    def infer_shape(self, node: Apply, shapes: Any) -> Any:
        """The shape of x."""
        return shapes

    def L_op(self, inputs: Any, outputs: Any, gradients: Any) -> list[Variable]:
        """The gradient; its sums and products are kept apart too."""
        return [self(gradients[0])]


def fence(x: Variable) -> Variable:
    """x, as something that simplification does not look into: ``fence(x - a) - b`` is not ``x - (a + b)``."""
    return Fence()(x)
