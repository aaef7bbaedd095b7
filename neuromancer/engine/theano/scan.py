"""Loops over symbolic sequences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import theano.tensor as T
from theano.gof import Variable
from theano.tensor.opt import Assert

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
    """A loop whose length may turn out to be 0, which Theano's cannot: then one step is made for nothing."""
    given = [sequences] if isinstance(sequences, Variable) else list(sequences)
    enough = T.le(n_steps, T.min([s.shape[0] for s in given])) if given else T.ge(n_steps, 0)
    steps = Assert("a sequence is shorter than the loop")(n_steps, enough)
    outputs, _ = theano.scan(
        fn,
        sequences=[_with_spare(s, go_backwards) for s in given],
        outputs_info=initial,
        non_sequences=non_sequences,
        n_steps=T.maximum(steps, 1),
        go_backwards=go_backwards,
        truncate_gradient=truncate_gradient,
        name=name,
    )
    return [o[:steps] for o in outputs] if isinstance(outputs, list) else outputs[:steps]


def _with_spare(sequence: Variable, backwards: bool) -> Variable:
    """The sequence with one more element of zeros where the loop does not get to unless it has no steps."""
    spare = T.zeros([1, *(sequence.shape[i] for i in range(1, sequence.ndim))], sequence.dtype)
    return T.concatenate([spare, sequence] if backwards else [sequence, spare], axis=0)
