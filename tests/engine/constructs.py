"""Constructs of a neural graph library: name -> (inputs, expression), for comparing engines and modes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from neuromancer import engine as E

T = E.T

rng = np.random.default_rng(0)
x5 = E.tensor("x5", (None,) * 5, "float32")
m = E.tensor("m", (None, None), "float32")
n = E.tensor("n", (None, None), "float32")
i = E.tensor("i", (None,), "int32")
s = E.tensor("s", (), "int32")
u = E.tensor("u", (None, None), "uint8")

_m = rng.standard_normal((4, 5)).astype("float32")
_n = _m.copy()
_n[0] += 1
VALUES: dict[Any, np.ndarray] = {
    x5: rng.standard_normal((2, 3, 4, 6, 5)).astype("float32"),
    m: _m,
    n: _n,
    i: np.array([3, 0, 2], "int32"),
    s: np.array(2, "int32"),
    u: rng.integers(0, 255, (3, 4)).astype("uint8"),
}


def grad(cost: Any, x: Any) -> Any:
    """Return the gradient for one variable."""
    return E.grad(cost, [x])[0]


def tanh_scan() -> Any:
    """Return a recurrence with one state."""
    return E.scan(lambda a, h: T.tanh(a + h), sequences=[m], initial=[T.zeros_like(m[0])])


LACKING: dict[str, tuple[str, ...]] = {
    "theano": ("squeeze", "pad constant", "pad reflect", "batched matmul", "grad batched matmul"),
}
"""Engine -> constructs that it does not support."""

CONSTRUCTS: dict[str, tuple[list[Any], Callable[[], Any]]] = {
    "eq": ([m, n], lambda: T.eq(m, n)),
    "neq": ([m, n], lambda: T.neq(m, n)),
    "switch": ([m, n], lambda: T.switch(m > 0, m, n)),
    "switch constants": ([m], lambda: T.switch(m > 0, 1.0, 0.0)),
    "switch int condition": ([i], lambda: T.switch(i, i, -1)),
    "relu": ([m], lambda: T.maximum(m, 0)),
    "minimum swapped": ([m], lambda: T.minimum(np.float32(0.1), m)),
    "abs sqr sqrt": ([m], lambda: T.sqrt(T.sqr(m) + abs(m))),
    "pow": ([m], lambda: abs(m) ** 1.5),
    "int pow float": ([i], lambda: i**0.5),
    "float pow int array": ([m, i], lambda: abs(m[:, :3]) ** i),
    "int divided": ([i], lambda: i / 2),
    "int by int": ([i], lambda: i / (i + 1)),
    "int floor division and mod of negatives": ([i], lambda: (-i) // 2 + (-i) % 3),
    "float floor division and mod": ([m], lambda: m // 0.3 + m % 0.7),
    "uint8 arithmetic": ([u], lambda: u + 1),
    "uint8 scaled": ([u], lambda: u.astype("float32") / 255),
    "uint8 mean": ([u], lambda: u.mean()),
    "uint8 sum": ([u], lambda: u.sum(axis=0)),
    "int mean": ([i], lambda: i.mean()),
    "int exp": ([i], lambda: T.exp(i)),
    "mixed dtypes": ([m, i], lambda: m[:, :3] * i),
    "compare int float": ([m, i], lambda: m[:, :3] < i),
    "exp log tanh sigmoid softplus": ([m], lambda: T.log(T.exp(m) + 1) + T.tanh(m) + T.sigmoid(m) + T.softplus(m)),
    "softplus far": ([m], lambda: T.softplus(30 * m)),
    "log1p expm1 erf": ([m], lambda: T.log1p(abs(m)) + T.expm1(m) + T.erf(m)),
    "gammaln": ([m], lambda: T.gammaln(abs(m) + 1)),
    "trigonometric": ([m], lambda: T.sin(m) + T.cos(m) + T.arctan2(m, 0.5) + T.sinh(m)),
    "clip": ([m], lambda: T.clip(m, -1, 1)),
    "clip symbolic": ([m, n], lambda: T.clip(m, n - 0.1, n + 0.1)),
    "round sign floor": ([m], lambda: T.round(m) + T.sign(m) + T.floor(m) + T.ceil(m) + T.trunc(m)),
    "logical": ([m], lambda: T.and_(m > 0, m < 1) | T.invert(m > 2)),
    "isnan": ([m], lambda: T.isnan(m)),
    "softmax axis1": ([x5], lambda: E.softmax(x5, axis=1)),
    "log_softmax": ([m], lambda: E.log_softmax(m, axis=1)),
    "sum tuple axes": ([x5], lambda: x5.sum(axis=(2, 3, 4))),
    "mean keepdims": ([x5], lambda: x5.mean(axis=(0, 2), keepdims=True)),
    "var std": ([x5], lambda: x5.var(axis=1) + x5.std(axis=1)),
    "max axis": ([x5], lambda: x5.max(axis=1)),
    "max tuple": ([x5], lambda: x5.max(axis=(1, 2))),
    "min": ([x5], lambda: x5.min(axis=(1, 2))),
    "argmax": ([x5], lambda: T.argmax(x5, axis=1)),
    "argmax flat": ([m], lambda: T.argmax(m)),
    "argmax of ties": ([i], lambda: T.argmax(i * 0)),
    "prod": ([m], lambda: m.prod(axis=0)),
    "any all": ([m, n], lambda: T.any(m > n, axis=0) & T.all(m > n, axis=0)),
    "slice strided": ([x5], lambda: x5[:, :, ::2, 1:-1, ::-1]),
    "slice negative step symbolic": ([m, s], lambda: m[::-s, s::-1]),
    "integer and slice": ([x5], lambda: x5[0, :, -1, 1:]),
    "fancy index": ([m, i], lambda: m[i]),
    "fancy 2": ([m, i], lambda: m[i, i]),
    "fancy with slice": ([x5, i], lambda: x5[:, :, i, 1:4]),
    "bool mask": ([m], lambda: m[m > 0]),
    "nonzero": ([m], lambda: T.nonzero(m > 0)[0]),
    "set_subtensor strided": ([x5], lambda: T.set_subtensor(x5[:, :, ::2], 0)),
    "set_subtensor negative": ([m, n], lambda: T.set_subtensor(m[::-1], n)),
    "set_subtensor fancy": ([m, i], lambda: T.set_subtensor(m[i], 1)),
    "inc_subtensor": ([m, i], lambda: T.inc_subtensor(m[i], 1)),
    "inc_subtensor repeated": ([m], lambda: T.inc_subtensor(m[np.array([0, 0, 1])], 1)),
    "inc_subtensor with slice": ([x5, i], lambda: T.inc_subtensor(x5[:, :, i, 1:4], 1)),
    "symbolic slice": ([m, s], lambda: m[s:, :s]),
    "concatenate": ([m, n], lambda: T.concatenate([m, n], axis=1)),
    "concatenate dtypes": ([m, i], lambda: T.concatenate([m[0], i])),
    "stack": ([m, n], lambda: T.stack([m, n], axis=1)),
    "split": ([m], lambda: T.split(m, np.array([2, 2]), n_splits=2, axis=0)[1]),
    "reshape symbolic": ([x5], lambda: x5.reshape((x5.shape[0], -1))),
    "reshape flat": ([x5], lambda: x5.flatten(2)),
    "dimshuffle": ([x5], lambda: x5.dimshuffle(0, 2, 1, "x", 3, 4)),
    "squeeze": ([m], lambda: m[:1].squeeze(0)),
    "shape vector": ([x5], lambda: x5.shape),
    "shape arithmetic": ([x5], lambda: (x5.shape[2] - 1) // 2 + 1),
    "shape as factor": ([x5], lambda: x5 * x5.shape[2]),
    "zeros symbolic": ([x5], lambda: T.zeros((x5.shape[0], x5.shape[3])) + 1),
    "alloc": ([m], lambda: T.alloc(m[0], 3, m.shape[1])),
    "ones_like": ([m], lambda: T.ones_like(m) * 2),
    "eye": ([m], lambda: T.eye(m.shape[0], m.shape[1], 1)),
    "arange symbolic": ([s], lambda: T.arange(s)),
    "arange shape": ([m], lambda: T.arange(m.shape[0])),
    "repeat": ([m], lambda: T.repeat(m, 2, axis=1)),
    "tile": ([m], lambda: T.tile(m, (2, 3))),
    "pad constant": ([m], lambda: T.pad(m, ((1, 1), (2, 0)))),
    "pad reflect": ([m], lambda: T.pad(m, 1, mode="reflect")),
    "dot": ([m, n], lambda: T.dot(m, n.T)),
    "dot vectors": ([m], lambda: T.dot(m[0], m[1])),
    "dot matrix vector": ([m], lambda: T.dot(m, m[0])),
    "tensordot": ([x5, m], lambda: T.tensordot(x5, m, axes=[[4], [1]])),
    "batched matmul": ([x5], lambda: x5 @ x5.swapaxes(3, 4)),
    "cast": ([m], lambda: T.cast(m, "int32")),
    "cast bool": ([m], lambda: T.cast(m, "bool")),
    "sort": ([m], lambda: T.sort(m, axis=1)),
    "argsort": ([m], lambda: T.argsort(m, axis=0)),
    "cumsum": ([m], lambda: T.cumsum(m, axis=0)),
    "diagonal": ([m], lambda: T.diagonal(m[:4, :4])),
    "one-hot": ([i], lambda: T.extra_ops.to_one_hot(i, 4)),
    "scan cumulative": ([m], tanh_scan),
    "scan non-sequences": (
        [m, n],
        lambda: E.scan(
            lambda a, h, w: T.tanh(a + T.dot(w, h)),
            sequences=[m],
            initial=[T.zeros((5,), dtype="float32")],
            non_sequences=[T.dot(n.T, n)],
        ),
    ),
    "scan n_steps symbolic": ([m, s], lambda: E.scan(lambda h: h * 2, initial=[m], n_steps=s)[-1]),
    "scan two taps": (
        [m],
        lambda: E.scan(
            lambda a, h2, h1: h1 * 0.5 + h2 * 0.25 + a,
            sequences=[m],
            initial=[{"initial": m[:2], "taps": [-2, -1]}],
        ),
    ),
    "scan sequence taps": (
        [m],
        lambda: E.scan(lambda a, b: a * b, sequences=[{"input": m, "taps": [-1, 0]}], initial=[None]),
    ),
    "scan backwards, two outputs": (
        [m],
        lambda: E.scan(
            lambda a, h: (h + a, a.sum()),
            sequences=[m],
            initial=[T.zeros((5,), "float32"), None],
            go_backwards=True,
        ),
    ),
    "grad scan": ([m], lambda: grad(tanh_scan().sum(), m)),
    "grad scan weights": (
        [m, n],
        lambda: grad(
            E.scan(
                lambda a, h, w: T.tanh(a + T.dot(w, h)),
                sequences=[m],
                initial=[T.zeros((5,), dtype="float32")],
                non_sequences=[T.dot(n.T, n)],
            )[-1].sum(),
            n,
        ),
    ),
    "grad softmax cross-entropy": ([m], lambda: grad(-T.log(E.softmax(m, axis=1)[:, 0]).mean(), m)),
    "grad max": ([x5], lambda: grad(x5.max(axis=1).sum(), x5)),
    "grad slice": ([x5], lambda: grad((x5[:, :, ::2] ** 2).sum(), x5)),
    "grad mean": ([x5], lambda: grad((x5**2).mean(), x5)),
    "grad var": ([x5], lambda: grad(x5.var(axis=(0, 2, 3, 4)).sum(), x5)),
    "grad relu": ([m], lambda: grad(T.sqr(T.maximum(m, 0)).sum(), m)),
    "grad switch": ([m], lambda: grad(T.switch(m > 0, m, 0.1 * m).sum(), m)),
    "grad concatenate": ([m, n], lambda: grad((T.concatenate([m, n]) ** 2).sum(), m)),
    "grad reshape": ([x5], lambda: grad((x5.flatten(2) ** 2).sum(), x5)),
    "grad fancy": ([m, i], lambda: grad((m[i] ** 2).sum(), m)),
    "grad sort": ([m], lambda: grad((T.sort(m, axis=1) * T.arange(5)).sum(), m)),
    "grad batched matmul": ([x5], lambda: grad((x5 @ x5.swapaxes(3, 4)).sum(), x5)),
}
