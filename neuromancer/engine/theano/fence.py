"""A barrier to rewrites of sums and products."""

from __future__ import annotations

from typing import Any

from theano.gof import Apply, Op, Variable
from theano.tensor import as_tensor_variable

from neuromancer.engine.interface import Engine, implements


class Fence(Op):
    """The identity; Theano does not merge operations across it."""

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
        """Return the array itself."""
        output_storage[0][0] = inputs[0]

    def infer_shape(self, node: Apply, shapes: Any) -> Any:
        """The shape of x."""
        return shapes

    def L_op(self, inputs: Any, outputs: Any, gradients: Any) -> list[Variable]:
        """Pass the gradient on, behind a fence of its own."""
        return [self(gradients[0])]


@implements(Engine.fence)
def fence(x: Variable) -> Variable:
    return Fence()(x)
