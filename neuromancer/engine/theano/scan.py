"""Loops over symbolic sequences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import theano.tensor as T
from theano.gof import Constant, Variable
from theano.tensor.opt import Assert

from neuromancer.engine.interface import Engine, implements
from neuromancer.engine.theano.fence import fence
from neuromancer.engine.theano.function import building
from neuromancer.engine.theano.library import theano
from neuromancer.engine.theano.tensors import constant


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
        n_steps = fence(constant(1, dtype="int64"))  # Theano replaces a loop of one step by its first element
    with building():
        if isinstance(n_steps, Variable) and isinstance(sequences, Variable | list | tuple):
            return _any_steps(fn, sequences, initial, non_sequences, n_steps, go_backwards, truncate_gradient, name)
        outputs, _ = theano.scan(
            fn,
            sequences=sequences,
            outputs_info=initial,
            non_sequences=non_sequences,
            n_steps=n_steps,
            go_backwards=go_backwards,
            truncate_gradient=truncate_gradient,
            name=name,
        )
    return outputs


def _any_steps(
    fn: Callable[..., Any],
    sequences: Variable | Sequence[Variable],
    initial: Any,
    non_sequences: Any,
    n_steps: Variable,
    go_backwards: bool,
    truncate_gradient: int,
    name: str | None,
) -> Variable | list[Variable]:
    """Run at least one step and cut it off if `n_steps` is 0: Theano's loop cannot have length 0."""
    listed = [sequences] if isinstance(sequences, Variable) else list(sequences)
    enough = T.le(n_steps, T.min([s.shape[0] for s in listed])) if listed else T.ge(n_steps, 0)
    steps = Assert("a sequence is shorter than the loop")(n_steps, enough)
    outputs, _ = theano.scan(
        fn,
        sequences=[_with_spare(s, go_backwards) for s in listed],
        outputs_info=initial,
        non_sequences=non_sequences,
        n_steps=T.maximum(steps, 1),
        go_backwards=go_backwards,
        truncate_gradient=truncate_gradient,
        name=name,
    )
    return [o[:steps] for o in outputs] if isinstance(outputs, list) else outputs[:steps]


def _with_spare(sequence: Variable, backwards: bool) -> Variable:
    """Return the sequence with an element of zeros at its far end, read only by the step of an empty loop."""
    spare = T.zeros([1, *(sequence.shape[i] for i in range(1, sequence.ndim))], sequence.dtype)
    return T.concatenate([spare, sequence] if backwards else [sequence, spare], axis=0)
