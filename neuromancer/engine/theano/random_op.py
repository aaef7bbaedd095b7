"""Random draws with an explicit state of two integers, (seed, counter); every draw increments the counter."""

from __future__ import annotations

from typing import Any

import numpy as np
from theano.gof import Apply, Constant, Op, Variable
from theano.gradient import DisconnectedType
from theano.tensor import TensorType, as_tensor_variable, cast

from neuromancer.engine.common.random import RandomDrawBase, mix, next_state


class RandomDraw(RandomDrawBase, Op):
    """(state, probability, *shape) -> (next state, sample)."""

    __props__ = ("kind", "dtype")

    def make_node(self, state: Any, probability: Any, *shape: Any) -> Apply:
        """Type the operands: state int64 (2,), probability a number or broadcastable to the shape, sizes integers."""
        sizes = [as_tensor_variable(s) for s in shape]
        self.check_sizes(sizes)
        ones = [isinstance(s, Constant) and int(s.data) == 1 for s in sizes]
        outputs = [TensorType("int64", (False,))(), TensorType(self.dtype, ones)()]
        known = [int(s.data) if isinstance(s, Constant) else None for s in sizes]
        outputs[1].tag.known_shape = tuple(known)
        operands = [as_tensor_variable(state), as_tensor_variable(probability), *(cast(s, "int64") for s in sizes)]
        return Apply(self, operands, outputs)

    def perform(self, node: Apply, inputs: Any, output_storage: Any, params: Any = None) -> None:
        """Draw."""
        state, probability, *shape = inputs
        sizes = tuple(int(s) for s in shape)
        generator = np.random.default_rng(mix(int(state[0]), int(state[1])))
        if self.kind == "normal":
            numbers = generator.standard_normal(sizes, np.dtype(self.dtype).type)
        elif self.kind == "uniform":
            numbers = generator.random(sizes, np.dtype(self.dtype).type)
        else:
            numbers = (generator.random(sizes, "float32") < probability).astype(self.dtype)
        output_storage[0][0] = next_state(state)
        output_storage[1][0] = np.asarray(numbers, self.dtype)

    def do_constant_folding(self, node: Apply) -> bool:
        """Return False: every call draws new numbers."""
        return False

    def infer_shape(self, node: Apply, shapes: Any) -> list[Any]:
        """Shapes of state and sample."""
        return [shapes[0], tuple(node.inputs[2:])]

    def L_op(self, inputs: Any, outputs: Any, gradients: Any) -> list[Variable]:
        """No gradient flows through a draw."""
        return [DisconnectedType()() for _ in inputs]
