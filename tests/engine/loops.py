"""Loops: name -> outputs, from a sequence (time, batch, features) and weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from neuromancer import engine as E
from neuromancer.config import config

T = E.T
RNG = np.random.default_rng(0)
X = RNG.standard_normal((6, 2, 3))
W = RNG.standard_normal((3, 3)) / 2


def symbols():
    """Return a symbolic sequence (time, batch, features) and weights."""
    return E.tensor("x", (None, None, 3), "float64"), E.tensor("w", (3, 3), "float64")


def rnn(x, w, **kwargs):
    """Return a plain recurrent layer."""
    return E.scan(lambda v, h, m: T.tanh(v + T.dot(h, m)), x, T.zeros_like(x[0]), w, **kwargs)


def lstm_like(x, w):
    """Return a loop with two states and an output that is not fed back."""

    def step(v, h, c, m):
        gate = T.sigmoid(v + T.dot(h, m))
        c_new = gate * c + (1 - gate) * T.tanh(v)
        return gate * T.tanh(c_new), c_new, gate.sum(axis=1)

    return E.scan(step, x, [T.zeros_like(x[0]), T.ones_like(x[0]), None], w)


LOOPS = {
    "rnn": lambda x, w: [rnn(x, w)],
    "last state": lambda x, w: [rnn(x, w)[-1]],
    "last two states": lambda x, w: [rnn(x, w)[-2:]],
    "backwards": lambda x, w: [rnn(x, w, go_backwards=True)],
    "truncated gradient": lambda x, w: [rnn(x, w, truncate_gradient=2)],
    "several outputs": lstm_like,
    "symbolic steps": lambda x, w: [E.scan(lambda h, m: T.dot(h, m), None, x[0], w, n_steps=x.shape[0] - 1)],
    "two taps": lambda x, w: [E.scan(lambda v, a, b: v + 0.5 * a * b, x[2:], {"initial": x[:2], "taps": [-2, -1]})],
    "sequence taps": lambda x, w: [E.scan(lambda a, b: a * b, {"input": x, "taps": [-1, 0]}, [None])],
    "integer sequence": lambda x, w: [
        E.scan(lambda k, h, s: h + s[k] * k, T.arange(x.shape[0]), T.zeros_like(x[0]), x)
    ],
    "nested": lambda x, w: [
        E.scan(
            lambda v, h, m: h + E.scan(lambda a, b, n: T.tanh(a + T.dot(b, n)), v, T.zeros((3,), "float64"), m)[-1],
            x,
            T.zeros((3,), "float64"),
            w,
        )
    ],
}


def graph(name: str) -> tuple[list[Any], list[Any]]:
    """Return inputs and outputs of a loop: its results, and the gradients of a cost."""
    before, config.floatX = config.floatX, "float64"
    try:
        x, w = symbols()
        with E.building():
            outputs = LOOPS[name](x, w)
            cost = sum((T.cast(k + 1, "float64") * o**2).sum() for k, o in enumerate(outputs))
        return [x, w], outputs + [g for g in E.grad(cost, [x, w]) if g is not None]
    finally:
        config.floatX = before
