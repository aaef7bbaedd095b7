"""Random draws with an explicit state of two integers, (seed, counter); every draw increments the counter.

A draw is a function of its state, so results are reproducible, and the state is small enough to stay on the host while
the device generates the numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytensor.tensor as pt
import torch
from pytensor.gradient import disconnected_type
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.op import Op
from pytensor.tensor.type import TensorType

from neuromancer.engine.common.random import RandomDrawBase, mix, next_state
from neuromancer.engine.pytensor.ops.base import tensor_view


def seeded(generator: torch.Generator, state: np.ndarray) -> torch.Generator:
    """Seed `generator` from a state and return it."""
    return generator.manual_seed(mix(int(state[0]), int(state[1])))


def sample(
    kind: str,
    probability: Any,
    shape: Sequence[int],
    dtype: torch.dtype,
    device: torch.device,
    generator: torch.Generator | None,
) -> torch.Tensor:
    """Draw numbers: standard normal, uniform in [0, 1), or 1 with `probability` and 0 otherwise."""
    if kind == "normal":
        return torch.randn(shape, dtype=dtype, device=device, generator=generator)
    if kind == "uniform":
        return torch.rand(shape, dtype=dtype, device=device, generator=generator)
    numbers = torch.rand(shape, dtype=torch.float32, device=device, generator=generator)
    if not isinstance(probability, torch.Tensor):
        probability = float(probability)
    return (numbers < probability).to(dtype)


class RandomDraw(RandomDrawBase, Op):
    """(state, probability, *shape) -> (next state, sample)."""

    __props__ = ("kind", "dtype")

    def make_node(self, state: Any, probability: Any, *shape: Any) -> Apply:
        """Type the operands: state int64 (2,), probability a number or broadcastable to the shape, sizes integers."""
        sizes = [pt.as_tensor_variable(s) for s in shape]
        self.check_sizes(sizes)
        static = tuple(int(s.data) if isinstance(s, Constant) else None for s in sizes)
        sizes = [pt.cast(s, "int64") for s in sizes]
        state = pt.as_tensor_variable(state)
        outputs = [TensorType("int64", shape=(2,))(), TensorType(self.dtype, shape=static)()]
        return Apply(self, [state, pt.as_tensor_variable(probability), *sizes], outputs)

    def perform(self, node: Apply, inputs: Any, output_storage: Any) -> None:
        """Draw on the host; the numbers equal those of the torch form on the CPU."""
        state, probability, *shape = inputs
        generator = seeded(torch.Generator(), state)
        if np.ndim(probability):
            probability = tensor_view(probability)
        numbers = sample(
            self.kind,
            probability,
            [int(s) for s in shape],
            getattr(torch, self.dtype),
            torch.device("cpu"),
            generator,
        )
        output_storage[0][0] = next_state(state)
        output_storage[1][0] = numbers.numpy()

    def do_constant_folding(self, fgraph: Any, node: Apply) -> bool:
        """Return False: every call draws new numbers."""
        return False

    def infer_shape(self, *args: Any) -> list[tuple[Variable, ...]]:
        """Shapes of state and sample."""
        node = args[-2]
        return [(pt.constant(2, dtype="int64"),), tuple(node.inputs[2:])]

    def pullback(self, inputs: Any, outputs: Any, cotangents: Any) -> list[Variable]:
        """No gradient flows through a draw."""
        return [disconnected_type() for _ in inputs]
