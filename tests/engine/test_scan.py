"""Loops: values and gradients against PyTensor's own Python mode, on the torch form of Scan."""

from __future__ import annotations

import numpy as np
import pytensor
import pytest
from pytensor.scan.op import Scan
from pytensor.scan.utils import until

from neuromancer import engine as E
from neuromancer.errors import ShapeError
from tests.engine.test_conv import PYTHON

T = E.T
RNG = np.random.default_rng(0)
X = RNG.standard_normal((6, 2, 3))
W = RNG.standard_normal((3, 3)) / 2


def symbols():
    """Symbolic (time, batch, features) and weights."""
    return E.tensor("x", (None, None, 3), "float64"), E.tensor("w", (3, 3), "float64")


def rnn(x, w, **kwargs):
    """A plain recurrent layer."""
    return E.scan(lambda v, h, m: T.tanh(v + T.dot(h, m)), x, T.zeros_like(x[0]), w, **kwargs)


def lstm_like(x, w):
    """Two states and an output that is not fed back."""

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
    "until": lambda x, w: [E.scan(lambda v, h: (h + T.sqr(v), until(h.sum() > 5)), x, T.zeros_like(x[0]))],
}


@pytest.mark.parametrize("name", LOOPS)
def test_values_and_gradients(name) -> None:
    x, w = symbols()
    with pytensor.config.change_flags(floatX="float64"):
        outputs = LOOPS[name](x, w)
        cost = sum((T.cast(k + 1, "float64") * o**2).sum() for k, o in enumerate(outputs))
        outputs += [g for g in E.grad(cost, [x, w]) if g is not None]
        with pytensor.config.change_flags(mode="FAST_COMPILE", cxx=""):
            expected = pytensor.function([x, w], outputs, mode=PYTHON, on_unused_input="ignore")(X, W)
    function = E.function([x, w], outputs)
    if name != "sequence taps":  # a loop without a state is rewritten into one operation on all steps
        assert any(isinstance(step.node.op, Scan) for step in function.program.steps if step.node is not None)
    for result, value in zip(function(X, W), expected, strict=True):
        assert result.dtype == value.dtype and result.shape == value.shape
        np.testing.assert_allclose(result, value, rtol=1e-9, atol=1e-12)


def test_any_length_without_compiling_again() -> None:
    x, w = symbols()
    f = E.function([x, w], rnn(x, w))
    for n in (1, 2, 9):
        assert f(np.ones((n, 2, 3)), W).shape == (n, 2, 3)


def test_weights_are_shared_and_trained() -> None:
    x, _ = symbols()
    w = E.SharedVariable(W, "w")
    cost = (rnn(x, w)[-1] ** 2).sum()
    train = E.function([x], cost, updates=[(w, w - 0.1 * E.grad(cost, [w])[0])])
    costs = [train(X).item() for _ in range(5)]
    assert costs == sorted(costs, reverse=True)
    assert train.counters.uploads == 5 + 1


def test_sequences_shorter_than_the_loop() -> None:
    x, _ = symbols()
    n = E.tensor("n", (), "int64")
    f = E.function([x, n], E.scan(lambda v, h: T.tanh(h + v), x, T.zeros_like(x[0]), n_steps=n))
    assert f(X, 3).shape == (3, 2, 3)
    with pytest.raises(ShapeError, match=r"shorter than the loop"):
        f(X, 9)
