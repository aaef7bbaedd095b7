"""Loops over symbolic sequences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from theano.gof import Variable

from neuromancer.engine.theano.function import building
from neuromancer.engine.theano.library import theano


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
    """Apply `fn` step by step and stack what it returns.

    Parameters
    ----------
    fn : callable
        Takes one element of each sequence, then the earlier values of each output that has an initial value, then the
        non-sequences; returns the outputs of the step.
    sequences : Variable, list or dict, optional
        Iterated along their first axis. ``dict(input=x, taps=[-1, 0])`` gives several elements per step.
    initial : Variable, list, optional
        Per output: its value before the first step, None if later steps do not see it, or
        ``dict(initial=x, taps=[-2, -1])``.
    non_sequences : Variable or list, optional
        Passed to every step as they are.
    n_steps : int or symbolic integer, optional
        Default: the length of the shortest sequence.
    go_backwards : bool
        Iterate from the last element to the first.
    truncate_gradient : int
        Number of steps through which gradients flow; -1 for all.
    name : str, optional

    Returns
    -------
    Variable or list of Variable
        Every output with the steps along a new first axis.

    Examples
    --------
    >>> from neuromancer.engine import T, function, tensor
    >>> x = tensor("x", (None,), "float32")
    >>> function([x], scan(lambda v, total: total + v, x, T.zeros((), "float32")))([1, 2, 3])
    array([1., 3., 6.], dtype=float32)
    """
    with building():
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
