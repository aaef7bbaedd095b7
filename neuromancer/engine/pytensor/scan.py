"""Loops over symbolic sequences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytensor
from pytensor.graph.basic import Constant, Variable

from neuromancer.engine.interface import Engine, implements
from neuromancer.engine.pytensor.function import building
from neuromancer.engine.pytensor.ops.fence import fence
from neuromancer.engine.pytensor.tensors import constant


@implements(Engine.scan)
def scan(
    fn: Callable[..., Any],
    sequences: Any = None,
    initial: Any = None,
    non_sequences: Any = None,
    n_steps: Any = None,
    go_backwards: bool = False,
    truncate_gradient: int = -1,
    name: str | None = None,
) -> Variable | list[Variable]:
    if go_backwards and isinstance(n_steps, int | np.integer | Constant) and getattr(n_steps, "data", n_steps) == 1:
        n_steps = fence(constant(1, dtype="int64"))  # PyTensor replaces a loop of one step by its first element
    with building():
        return pytensor.scan(
            fn,
            sequences=sequences,
            outputs_info=initial,
            non_sequences=non_sequences,
            n_steps=n_steps,
            go_backwards=go_backwards,
            truncate_gradient=truncate_gradient,
            name=name,
            return_updates=False,
        )
