"""Random draws with an explicit state of two integers, (seed, counter), that every draw advances by one.

A draw is a function of its state, so results are reproducible, and the state is small enough to stay on the host while
the numbers are made on the device.
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

from neuromancer.engine.common.random import check_draw, mix
from neuromancer.engine.pytensor.ops.base import tensor_view
from neuromancer.errors import InputTypeError


def seeded(generator: torch.Generator, state: np.ndarray) -> torch.Generator:
    """Seed `generator` from a state."""
    return generator.manual_seed(mix(int(state[0]), int(state[1])))


def next_state(state: np.ndarray) -> np.ndarray:
    """The state after one draw."""
    return np.array([state[0], state[1] + 1], np.int64)


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


class RandomDraw(Op):
    """(state, probability, *shape) -> (next state, sample).

    Parameters
    ----------
    kind : {'normal', 'uniform', 'bernoulli'}
        `probability` matters only for the last.
    dtype : str
        Floating point dtype of the sample.
    """

    __props__ = ("kind", "dtype")

    def __init__(self, kind: str, dtype: str) -> None:
        check_draw(kind, dtype)
        self.kind, self.dtype = kind, dtype

    def make_node(self, state: Any, probability: Any, *shape: Any) -> Apply:
        """Type the operands: state int64 (2,), probability a number or broadcastable to the shape, sizes integers."""
        sizes = [pt.as_tensor_variable(s) for s in shape]
        for size in sizes:
            if size.ndim or size.dtype[:3] not in ("int", "uin"):
                raise InputTypeError(
                    "a size must be an integer scalar", where=f"random {self.kind}", got=str(size.type), expected="int"
                )
        static = tuple(int(s.data) if isinstance(s, Constant) else None for s in sizes)
        sizes = [pt.cast(s, "int64") for s in sizes]
        state = pt.as_tensor_variable(state)
        outputs = [TensorType("int64", shape=(2,))(), TensorType(self.dtype, shape=static)()]
        return Apply(self, [state, pt.as_tensor_variable(probability), *sizes], outputs)

    def perform(self, node: Apply, inputs: Any, output_storage: Any) -> None:
        """Draw on the host: the same numbers as the torch form on the CPU."""
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
        """Never: numbers must be fresh."""
        return False

    def infer_shape(self, *args: Any) -> list[tuple[Variable, ...]]:
        """Shapes of state and sample."""
        node = args[-2]
        return [(pt.constant(2, dtype="int64"),), tuple(node.inputs[2:])]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """Nothing is differentiable."""
        return [[False, False] for _ in node.inputs]

    def pullback(self, inputs: Any, outputs: Any, cotangents: Any) -> list[Variable]:
        """No gradient flows through a draw."""
        return [disconnected_type() for _ in inputs]
