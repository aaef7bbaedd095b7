"""Constructs of a neural graph library: name -> (inputs, expression), for comparing engines and modes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.tensor.special import log_softmax, softmax

try:
    from pytensor.conditional import ifelse
except ImportError:  # before PyTensor 3.1
    from pytensor.ifelse import ifelse

rng = np.random.default_rng(0)
x5 = pt.tensor("x5", shape=(None,) * 5, dtype="float32")
m = pt.matrix("m", dtype="float32")
n = pt.matrix("n", dtype="float32")
i = pt.ivector("i")
s = pt.iscalar("s")
u = pt.tensor("u", shape=(None, None), dtype="uint8")

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


def scan(fn: Callable[..., Any], **kwargs: Any) -> Any:
    """pytensor.scan without its updates."""
    return pytensor.scan(fn, return_updates=False, **kwargs)


def tanh_scan() -> Any:
    """A recurrence with one state."""
    return scan(lambda a, h: pt.tanh(a + h), sequences=[m], outputs_info=[pt.zeros_like(m[0])])


CONSTRUCTS: dict[str, tuple[list[Any], Callable[[], Any]]] = {
    "eq": ([m, n], lambda: pt.eq(m, n)),
    "neq": ([m, n], lambda: pt.neq(m, n)),
    "switch": ([m, n], lambda: pt.switch(m > 0, m, n)),
    "switch constants": ([m], lambda: pt.switch(m > 0, 1.0, 0.0)),
    "switch int condition": ([i], lambda: pt.switch(i, i, -1)),
    "relu": ([m], lambda: pt.maximum(m, 0)),
    "minimum swapped": ([m], lambda: pt.minimum(np.float32(0.1), m)),
    "abs sqr sqrt": ([m], lambda: pt.sqrt(pt.sqr(m) + abs(m))),
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
    "int exp": ([i], lambda: pt.exp(i)),
    "mixed dtypes": ([m, i], lambda: m[:, :3] * i),
    "compare int float": ([m, i], lambda: m[:, :3] < i),
    "exp log tanh sigmoid softplus": ([m], lambda: pt.log(pt.exp(m) + 1) + pt.tanh(m) + pt.sigmoid(m) + pt.softplus(m)),
    "softplus far": ([m], lambda: pt.softplus(30 * m)),
    "log1p expm1 erf": ([m], lambda: pt.log1p(abs(m)) + pt.expm1(m) + pt.erf(m)),
    "gammaln": ([m], lambda: pt.gammaln(abs(m) + 1)),
    "trigonometric": ([m], lambda: pt.sin(m) + pt.cos(m) + pt.arctan2(m, 0.5) + pt.sinh(m)),
    "clip": ([m], lambda: pt.clip(m, -1, 1)),
    "clip symbolic": ([m, n], lambda: pt.clip(m, n - 0.1, n + 0.1)),
    "round sign floor": ([m], lambda: pt.round(m) + pt.sign(m) + pt.floor(m) + pt.ceil(m) + pt.trunc(m)),
    "logical": ([m], lambda: pt.and_(m > 0, m < 1) | pt.invert(m > 2)),
    "isnan": ([m], lambda: pt.isnan(m)),
    "softmax axis1": ([x5], lambda: softmax(x5, axis=1)),
    "softmax all axes": ([m], lambda: softmax(m, axis=None)),
    "log_softmax": ([m], lambda: log_softmax(m, axis=1)),
    "sum tuple axes": ([x5], lambda: x5.sum(axis=(2, 3, 4))),
    "mean keepdims": ([x5], lambda: x5.mean(axis=(0, 2), keepdims=True)),
    "var std": ([x5], lambda: x5.var(axis=1) + x5.std(axis=1)),
    "max axis": ([x5], lambda: x5.max(axis=1)),
    "max tuple": ([x5], lambda: x5.max(axis=(1, 2))),
    "min": ([x5], lambda: x5.min(axis=(1, 2))),
    "argmax": ([x5], lambda: pt.argmax(x5, axis=1)),
    "argmax flat": ([m], lambda: pt.argmax(m)),
    "argmax of ties": ([i], lambda: pt.argmax(i * 0)),
    "prod": ([m], lambda: m.prod(axis=0)),
    "any all": ([m, n], lambda: pt.any(m > n, axis=0) & pt.all(m > n, axis=0)),
    "slice strided": ([x5], lambda: x5[:, :, ::2, 1:-1, ::-1]),
    "slice negative step symbolic": ([m, s], lambda: m[::-s, s::-1]),
    "integer and slice": ([x5], lambda: x5[0, :, -1, 1:]),
    "fancy index": ([m, i], lambda: m[i]),
    "fancy 2": ([m, i], lambda: m[i, i]),
    "fancy with slice": ([x5, i], lambda: x5[:, :, i, 1:4]),
    "bool mask": ([m], lambda: m[m > 0]),
    "nonzero": ([m], lambda: pt.nonzero(m > 0)[0]),
    "set_subtensor strided": ([x5], lambda: pt.set_subtensor(x5[:, :, ::2], 0)),
    "set_subtensor negative": ([m, n], lambda: pt.set_subtensor(m[::-1], n)),
    "set_subtensor fancy": ([m, i], lambda: pt.set_subtensor(m[i], 1)),
    "inc_subtensor": ([m, i], lambda: pt.inc_subtensor(m[i], 1)),
    "inc_subtensor repeated": ([m], lambda: pt.inc_subtensor(m[np.array([0, 0, 1])], 1)),
    "inc_subtensor with slice": ([x5, i], lambda: pt.inc_subtensor(x5[:, :, i, 1:4], 1)),
    "symbolic slice": ([m, s], lambda: m[s:, :s]),
    "concatenate": ([m, n], lambda: pt.concatenate([m, n], axis=1)),
    "concatenate dtypes": ([m, i], lambda: pt.concatenate([m[0], i])),
    "stack": ([m, n], lambda: pt.stack([m, n], axis=1)),
    "split": ([m], lambda: pt.split(m, np.array([2, 2]), axis=0, n_splits=2)[1]),
    "reshape symbolic": ([x5], lambda: x5.reshape((x5.shape[0], -1))),
    "reshape flat": ([x5], lambda: x5.flatten(2)),
    "dimshuffle": ([x5], lambda: x5.dimshuffle(0, 2, 1, "x", 3, 4)),
    "squeeze": ([m], lambda: m[:1].squeeze(0)),
    "shape vector": ([x5], lambda: x5.shape),
    "shape arithmetic": ([x5], lambda: (x5.shape[2] - 1) // 2 + 1),
    "shape as factor": ([x5], lambda: x5 * x5.shape[2]),
    "zeros symbolic": ([x5], lambda: pt.zeros((x5.shape[0], x5.shape[3])) + 1),
    "alloc": ([m], lambda: pt.alloc(m[0], 3, m.shape[1])),
    "ones_like": ([m], lambda: pt.ones_like(m) * 2),
    "eye": ([m], lambda: pt.eye(m.shape[0], m.shape[1], 1)),
    "arange symbolic": ([s], lambda: pt.arange(s)),
    "arange shape": ([m], lambda: pt.arange(m.shape[0])),
    "repeat": ([m], lambda: pt.repeat(m, 2, axis=1)),
    "tile": ([m], lambda: pt.tile(m, (2, 3))),
    "pad constant": ([m], lambda: pt.pad(m, ((1, 1), (2, 0)))),
    "pad reflect": ([m], lambda: pt.pad(m, 1, mode="reflect")),
    "dot": ([m, n], lambda: m @ n.T),
    "dot vectors": ([m], lambda: pt.dot(m[0], m[1])),
    "dot matrix vector": ([m], lambda: pt.dot(m, m[0])),
    "tensordot": ([x5, m], lambda: pt.tensordot(x5, m, axes=[[4], [1]])),
    "batched matmul": ([x5], lambda: x5 @ x5.swapaxes(3, 4)),
    "cast": ([m], lambda: pt.cast(m, "int32")),
    "cast bool": ([m], lambda: pt.cast(m, "bool")),
    "sort": ([m], lambda: pt.sort(m, axis=1)),
    "argsort": ([m], lambda: pt.argsort(m, axis=0)),
    "cumsum": ([m], lambda: pt.cumsum(m, axis=0)),
    "diagonal": ([m], lambda: pt.diagonal(m[:4, :4])),
    "one-hot": ([i], lambda: pt.extra_ops.to_one_hot(i, 4)),
    "ifelse": ([m, n, s], lambda: ifelse(pt.gt(s, 1), m, n)),
    "scan cumulative": ([m], tanh_scan),
    "scan non-sequences": (
        [m, n],
        lambda: scan(
            lambda a, h, w: pt.tanh(a + pt.dot(w, h)),
            sequences=[m],
            outputs_info=[pt.zeros((5,), dtype="float32")],
            non_sequences=[n.T @ n],
        ),
    ),
    "scan n_steps symbolic": ([m, s], lambda: scan(lambda h: h * 2, outputs_info=[m], n_steps=s)[-1]),
    "scan two taps": (
        [m],
        lambda: scan(
            lambda a, h2, h1: h1 * 0.5 + h2 * 0.25 + a,
            sequences=[m],
            outputs_info=[{"initial": m[:2], "taps": [-2, -1]}],
        ),
    ),
    "scan sequence taps": (
        [m],
        lambda: scan(lambda a, b: a * b, sequences=[{"input": m, "taps": [-1, 0]}], outputs_info=[None]),
    ),
    "scan backwards, two outputs": (
        [m],
        lambda: scan(
            lambda a, h: (h + a, a.sum()),
            sequences=[m],
            outputs_info=[pt.zeros((5,), "float32"), None],
            go_backwards=True,
        ),
    ),
    "grad scan": ([m], lambda: pt.grad(tanh_scan().sum(), m)),
    "grad scan weights": (
        [m, n],
        lambda: pt.grad(
            scan(
                lambda a, h, w: pt.tanh(a + pt.dot(w, h)),
                sequences=[m],
                outputs_info=[pt.zeros((5,), dtype="float32")],
                non_sequences=[n.T @ n],
            )[-1].sum(),
            n,
        ),
    ),
    "grad softmax cross-entropy": ([m], lambda: pt.grad(-pt.log(softmax(m, axis=1)[:, 0]).mean(), m)),
    "grad max": ([x5], lambda: pt.grad(x5.max(axis=1).sum(), x5)),
    "grad slice": ([x5], lambda: pt.grad((x5[:, :, ::2] ** 2).sum(), x5)),
    "grad mean": ([x5], lambda: pt.grad((x5**2).mean(), x5)),
    "grad var": ([x5], lambda: pt.grad(x5.var(axis=(0, 2, 3, 4)).sum(), x5)),
    "grad relu": ([m], lambda: pt.grad(pt.sqr(pt.maximum(m, 0)).sum(), m)),
    "grad switch": ([m], lambda: pt.grad(pt.switch(m > 0, m, 0.1 * m).sum(), m)),
    "grad concatenate": ([m, n], lambda: pt.grad((pt.concatenate([m, n]) ** 2).sum(), m)),
    "grad reshape": ([x5], lambda: pt.grad((x5.flatten(2) ** 2).sum(), x5)),
    "grad fancy": ([m, i], lambda: pt.grad((m[i] ** 2).sum(), m)),
    "grad sort": ([m], lambda: pt.grad((pt.sort(m, axis=1) * pt.arange(5)).sum(), m)),
    "grad batched matmul": ([x5], lambda: pt.grad((x5 @ x5.swapaxes(3, 4)).sum(), x5)),
    "random normal": (
        [m],
        lambda: pt.random.normal(size=(3,), rng=pytensor.shared(np.random.default_rng(1))) * 1e-9 + m[0, :3],
    ),
    "random bernoulli": (
        [m],
        lambda: pt.random.bernoulli(0.5, size=m.shape, rng=pytensor.shared(np.random.default_rng(1))) * 1e-9 + m,
    ),
    "convolve2d": ([m], lambda: pt.signal.convolve2d(m, np.ones((2, 2), "float32"), mode="valid")),
}
