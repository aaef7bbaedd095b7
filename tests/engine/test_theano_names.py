"""The functions of Theano's tutorial and reference, under `T`, compute what NumPy does, on both engines."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special

from neuromancer import engine as E
from neuromancer.errors import NeuromancerError
from tests.engine.theano_names import FILTERS, RNG, X, Y, values

T = E.T


ELEMENTWISE = {
    "abs_": np.abs, "neg": np.negative, "exp": np.exp, "exp2": np.exp2, "expm1": np.expm1, "sqr": np.square,
    "sgn": np.sign, "ceil": np.ceil, "floor": np.floor, "round": np.round, "trunc": np.trunc, "iround": np.round,
    "sin": np.sin, "cos": np.cos, "tan": np.tan, "tanh": np.tanh, "sinh": np.sinh, "cosh": np.cosh,
    "arctan": np.arctan, "arcsinh": np.arcsinh, "inv": np.reciprocal, "erf": scipy.special.erf,
    "erfc": scipy.special.erfc, "isnan": np.isnan, "isinf": np.isinf, "zeros_like": np.zeros_like,
    "ones_like": np.ones_like, "deg2rad": np.deg2rad, "rad2deg": np.rad2deg, "real": np.real, "imag": np.imag,
    "isnan_": np.isnan, "isinf_": np.isinf,
}  # fmt: skip
POSITIVE_ONLY = {
    "log": np.log, "log2": np.log2, "log10": np.log10, "log1p": np.log1p, "sqrt": np.sqrt,
    "gamma": scipy.special.gamma, "gammaln": scipy.special.gammaln, "psi": scipy.special.psi,
    "j0": scipy.special.j0, "j1": scipy.special.j1, "i0": scipy.special.i0, "i1": scipy.special.i1,
    "arccosh": lambda x: np.arccosh(x + 1),
}  # fmt: skip
BINARY = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "true_div": np.true_divide, "int_div": np.floor_divide,
    "mod": np.mod, "maximum": np.maximum, "minimum": np.minimum, "lt": np.less, "le": np.less_equal,
    "gt": np.greater, "ge": np.greater_equal, "eq": np.equal, "neq": np.not_equal, "arctan2": np.arctan2,
    "isclose": np.isclose, "largest": np.maximum, "smallest": np.minimum,
}  # fmt: skip
INTEGERS = {
    "and_": np.bitwise_and, "or_": np.bitwise_or, "xor": np.bitwise_xor, "bitwise_and": np.bitwise_and,
    "bitwise_or": np.bitwise_or, "bitwise_xor": np.bitwise_xor,
}  # fmt: skip
REDUCTIONS = ("sum", "prod", "mean", "var", "std", "max", "min", "argmax", "argmin", "ptp", "any", "all")


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise(name):
    np.testing.assert_allclose(values(getattr(T, name), X), ELEMENTWISE[name](X), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("name", POSITIVE_ONLY)
def test_elementwise_of_positive_numbers(name):
    x = np.abs(X) + 0.1
    build = (lambda v: T.arccosh(v + 1)) if name == "arccosh" else getattr(T, name)
    np.testing.assert_allclose(values(build, x), POSITIVE_ONLY[name](x), rtol=1e-6)


@pytest.mark.parametrize("name", BINARY)
def test_two_operands(name):
    np.testing.assert_allclose(values(getattr(T, name), X, Y), BINARY[name](X, Y), rtol=1e-6)


@pytest.mark.parametrize("name", INTEGERS)
def test_bits(name):
    a, b = np.array([1, 2, 7, 12]), np.array([3, 2, 8, 5])
    np.testing.assert_array_equal(values(getattr(T, name), a, b), INTEGERS[name](a, b))
    np.testing.assert_array_equal(values(T.invert, a), ~a)
    np.testing.assert_array_equal(values(T.bitwise_not, a), ~a)


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_reductions(name, axis):
    x = X if name not in ("any", "all") else (X > -1).astype("int8")
    found = values(lambda v: getattr(T, name)(v, axis=axis), x)
    np.testing.assert_allclose(found, getattr(np, name)(x, axis=axis), rtol=1e-6)


SHAPES = {
    "reshape": (lambda x: T.reshape(x, (2, 10)), lambda x: x.reshape(2, 10)),
    "flatten": (lambda x: T.flatten(x), np.ravel),
    "flatten outdim": (lambda x: T.flatten(x.dimshuffle(0, "x", 1), outdim=2), lambda x: x.reshape(4, 5)),
    "dimshuffle": (lambda x: x.dimshuffle(1, "x", 0), lambda x: x.T[:, None]),
    "shape_padleft": (T.shape_padleft, lambda x: x[None]),
    "shape_padright": (T.shape_padright, lambda x: x[..., None]),
    "shape_padaxis": (lambda x: T.shape_padaxis(x, 1), lambda x: x[:, None]),
    "transpose": (T.transpose, np.transpose),
    "swapaxes": (lambda x: T.swapaxes(x, 0, 1), lambda x: x.T),
    "concatenate": (lambda x: T.concatenate([x, 2 * x], axis=1), lambda x: np.concatenate([x, 2 * x], 1)),
    "join": (lambda x: T.join(0, x, 2 * x), lambda x: np.concatenate([x, 2 * x])),
    "stack of a list": (lambda x: T.stack([x, 2 * x], axis=1), lambda x: np.stack([x, 2 * x], 1)),
    "stack": (lambda x: T.stack(x, 2 * x), lambda x: np.stack([x, 2 * x])),
    "stacklists": (lambda x: T.stacklists([[x, x], [x, 2 * x]]), lambda x: np.array([[x, x], [x, 2 * x]])),
    "horizontal_stack": (lambda x: T.horizontal_stack(x, x), lambda x: np.hstack([x, x])),
    "vertical_stack": (lambda x: T.vertical_stack(x, x), lambda x: np.vstack([x, x])),
    "tile": (lambda x: T.tile(x, (2, 3)), lambda x: np.tile(x, (2, 3))),
    "tile with more axes": (lambda x: T.tile(x, (1, 2, 3), ndim=3), lambda x: np.tile(x, (1, 2, 3))),
    "split": (lambda x: T.split(x, [2, 3], 2, axis=1)[1], lambda x: x[:, 2:]),
    "default": (lambda x: T.default(x, 2 * x), lambda x: x),
    "compress": (lambda x: T.extra_ops.compress(np.array([1, 0, 1, 0]), x, axis=0), lambda x: x[[0, 2]]),
    "searchsorted": (
        lambda x: T.extra_ops.searchsorted(T.sort(x[0]), x[1]),
        lambda x: np.sort(x[0]).searchsorted(x[1]),
    ),
    "choose": (lambda x: T.choose(T.cast(x > 0, "int64"), [x, 2 * x]), lambda x: np.where(x > 0, 2 * x, x)),
    "repeat": (lambda x: T.repeat(x, 2, axis=1), lambda x: np.repeat(x, 2, 1)),
    "roll": (lambda x: T.roll(x, 2, axis=1), lambda x: np.roll(x, 2, 1)),
    "alloc": (lambda x: T.alloc(x[0], 3, 5), lambda x: np.tile(x[0], (3, 1))),
    "fill": (lambda x: T.fill(x, 3.0), lambda x: np.full_like(x, 3)),
    "squeeze": (lambda x: T.squeeze(T.shape_padleft(x)), lambda x: x),
    "set_subtensor": (lambda x: T.set_subtensor(x[:2], 0), lambda x: np.concatenate([0 * x[:2], x[2:]])),
    "inc_subtensor": (lambda x: T.inc_subtensor(x[:2], 1), lambda x: np.concatenate([x[:2] + 1, x[2:]])),
    "take": (lambda x: T.take(x, [1, 3], axis=1), lambda x: x[:, [1, 3]]),
    "switch": (lambda x: T.switch(x > 0, x, 0), lambda x: np.where(x > 0, x, 0)),
    "where": (lambda x: T.where(x > 0, x, 0), lambda x: np.where(x > 0, x, 0)),
    "clip": (lambda x: T.clip(x, -1, 0.5), lambda x: np.clip(x, -1, 0.5)),
    "cast": (lambda x: T.cast(x, "int32"), lambda x: x.astype("int32")),
    "sort": (lambda x: T.sort(x, axis=1), lambda x: np.sort(x, 1)),
    "argsort": (lambda x: T.argsort(x, axis=1), lambda x: np.argsort(x, 1)),
    "cumsum": (lambda x: T.cumsum(x, axis=1), lambda x: np.cumsum(x, 1)),
    "cumprod": (lambda x: T.cumprod(x, axis=1), lambda x: np.cumprod(x, 1)),
    "nonzero": (lambda x: T.stack((x > 0).nonzero()), lambda x: np.stack(np.nonzero(x > 0))),
    "nonzero_values": (lambda x: T.nonzero_values(x * (x > 0)), lambda x: x[x > 0]),
    "outer": (lambda x: T.outer(x[0], x[1]), lambda x: np.outer(x[0], x[1])),
    "dot": (lambda x: T.dot(x, x.T), lambda x: x @ x.T),
    "tensordot": (lambda x: T.tensordot(x, x, [[0], [0]]), lambda x: np.tensordot(x, x, [[0], [0]])),
    "batched_dot": (lambda x: T.batched_dot(x, x), lambda x: (x * x).sum(1)),
    "diag": (lambda x: T.diag(x[0]), lambda x: np.diag(x[0])),
    "tril": (T.tril, np.tril),
    "triu": (T.triu, np.triu),
    "max_and_argmax": (lambda x: T.max_and_argmax(x, axis=1)[1], lambda x: x.argmax(1)),
    "norm": (lambda x: x.norm(2), lambda x: np.sqrt((x**2).sum())),
    "fill_diagonal": (lambda x: T.fill_diagonal(x, 9.0), lambda x: np.where(np.eye(4, 5) > 0, 9, x)),
    "to_one_hot": (lambda x: T.extra_ops.to_one_hot(x[0].argsort(), 5), lambda x: np.eye(5)[x[0].argsort()]),
    "diff": (lambda x: T.extra_ops.diff(x, axis=1), lambda x: np.diff(x, axis=1)),
    "addbroadcast": (lambda x: T.addbroadcast(x[:1], 0) + x, lambda x: x[:1] + x),
    "patternbroadcast": (lambda x: T.patternbroadcast(x[:1], (True, False)) + x, lambda x: x[:1] + x),
    "unbroadcast": (lambda x: T.unbroadcast(x.dimshuffle("x", 0, 1), 0), lambda x: x[None]),
    "topk": (lambda x: T.topk(x, 3), lambda x: np.sort(x, 1)[:, ::-1][:, :3]),
    "topk of the smallest": (lambda x: T.topk(x, -2, axis=0), lambda x: np.sort(x, 0)[:2]),
    "topk of all": (lambda x: T.topk(x, 4, axis=None), lambda x: np.sort(x.ravel())[::-1][:4]),
    "argtopk": (lambda x: T.argtopk(x, 2), lambda x: np.argsort(x, 1)[:, ::-1][:, :2]),
    "topk_and_argtopk": (lambda x: T.topk_and_argtopk(x, 2)[1], lambda x: np.argsort(x, 1)[:, ::-1][:, :2]),
    "rfft": (
        lambda x: T.fft.rfft(x),
        lambda x: np.stack([np.fft.rfft(x).real, np.fft.rfft(x).imag], -1),
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_and_selections(name):
    build, expected = SHAPES[name]
    np.testing.assert_allclose(values(build, X), expected(X), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("a", "b", "product"),
    [
        ((3,), (3, 4), "i,ij->ij"),
        ((3, 4), (3,), "ij,i->ij"),
        ((3, 4), (3, 4), "ij,ij->i"),
        ((3, 2, 4), (3, 4), "ijk,ik->ij"),
        ((3, 4), (3, 4, 5), "ij,ijk->ik"),
        ((3, 2, 4), (3, 4, 5), "ijk,ikl->ijl"),
    ],
)
def test_products_of_pairs(a, b, product):
    x, y = RNG.standard_normal(a), RNG.standard_normal(b)
    np.testing.assert_allclose(values(T.batched_dot, x, y), np.einsum(product, x, y))


@pytest.mark.parametrize(
    ("axes", "product"),
    [
        (1, "ijkl,ilmn->ijkmn"),
        ([3, 1], "ijkl,ilmn->ijkmn"),
        ([[3], [1]], "ijkl,ilmn->ijkmn"),
        ([[1, 3], [2, 1]], "ijkl,iljn->ikn"),
    ],
)
def test_tensor_products_of_pairs(axes, product):
    x, y = RNG.standard_normal((2, 3, 4, 5)), RNG.standard_normal((2, 5, 3, 6))
    found = values(lambda a, b: T.batched_tensordot(a, b, axes), x, y)
    np.testing.assert_allclose(found, np.einsum(product, x, y))
    gradient = values(lambda a, b: T.grad(T.batched_tensordot(a, b, axes).sum(), a), x, y)
    step = np.zeros_like(x)
    step[1, 2, 3, 4] = 1
    np.testing.assert_allclose(gradient[1, 2, 3, 4], np.einsum(product, step, y).sum())


def test_constructors():
    for build, expected in (
        (T.arange(2, 9, 3), np.arange(2, 9, 3)),
        (T.eye(3, 4, 1), np.eye(3, 4, 1)),
        (T.zeros((2, 3)), np.zeros((2, 3))),
        (T.ones((2, 3)), np.ones((2, 3))),
        (T.identity_like(T.zeros((3, 3))), np.eye(3)),
        (T.tri(3), np.tri(3)),
        (T.stack(T.mgrid[0:2, 0:3]), np.mgrid[0:2, 0:3]),
        (T.ogrid[0:2, 0:3][1], np.ogrid[0:2, 0:3][1]),
        (T.constant([1.0, 2.0]), [1, 2]),
        (T.as_tensor_variable([[1, 2]]), [[1, 2]]),
    ):
        np.testing.assert_allclose(E.function([], build)(), expected)


@pytest.mark.parametrize("name", ["scalar", "vector", "row", "col", "matrix", "tensor3", "tensor4"])
@pytest.mark.parametrize("letter", ["", "f", "d", "i", "l", "b", "w"])
def test_inputs(name, letter):
    variable = getattr(T, letter + name)("x")
    dtype = {"f": "float32", "d": "float64", "i": "int32", "l": "int64", "b": "int8", "w": "int16"}.get(letter)
    assert variable.name == "x" and (dtype is None or variable.dtype == dtype)
    assert variable.broadcastable == {"row": (True, False), "col": (False, True)}.get(name, (False,) * variable.ndim)


def test_inputs_with_their_dtype_first():
    for x in (T.tensor("int32", (True, False), name="x"), T.tensor("int32", broadcastable=(True, False), name="x"),
              T.TensorType("int32", (True, False))("x")):  # fmt: skip
        assert (x.dtype, x.broadcastable, x.name) == ("int32", (True, False), "x")
    assert T.vector("x", "int32").dtype == "int32" and T.tensor4("x", dtype="float64").ndim == 4


def test_several_inputs_at_once():
    assert [v.name for v in T.dmatrices("a", "b")] == ["a", "b"] and len(T.scalars("a", "b", "c")) == 3


def test_axes_that_are_no_longer_broadcast_keep_gradients_and_shapes():
    row = T.row("x")
    y = T.unbroadcast(row, 0)
    assert y.broadcastable == (False, False)
    gradient = E.grad((y**2).sum(), [row])[0]
    assert gradient.broadcastable == (True, False)
    shape, found = E.function([row], [y.shape, gradient])(X[:1].astype(row.dtype))
    assert shape.tolist() == [1, 5]
    np.testing.assert_allclose(found, 2 * X[:1], rtol=1e-6)


@pytest.mark.skipif(E.NAME == "theano", reason="Theano raises errors of its own classes")
@pytest.mark.parametrize(
    "build",
    [
        lambda x: T.addbroadcast(x, 2),
        lambda x: T.unbroadcast(x, -3),
        lambda x: T.patternbroadcast(x, (True,)),
        lambda x: T.topk(x, 0),
        lambda x: T.topk(x, 1, axis=2),
        lambda x: T.flatten(x, ndim=1, outdim=1),
        lambda x: T.stack([x], 0, 1),
        lambda x: T.nnet.categorical_crossentropy(x, x.dimshuffle("x", 0, 1)),
        lambda x: T.nnet.conv2d(x.dimshuffle("x", "x", 0, 1), FILTERS[:, :1], border_mode="same"),
        lambda x: T.nnet.conv2d(x.dimshuffle("x", "x", 0, 1), FILTERS[:, :1], unshared=True),
        lambda x: T.nnet.conv2d(x.dimshuffle("x", "x", 0, 1), T.tensor4(), border_mode="full"),
        lambda x: T.nnet.conv2d(x.dimshuffle("x", "x", 0, 1), FILTERS[:, :1], border_mode=(1, 1, 1)),
        lambda x: T.nnet.conv2d(x.dimshuffle("x", "x", 0, 1), FILTERS[:, :1], border_mode=(1, (2, -1))),
        lambda x: T.nnet.abstract_conv.bilinear_upsampling(x.dimshuffle("x", "x", 0, 1)),
        lambda x: T.nnet.abstract_conv.bilinear_upsampling(x.dimshuffle("x", "x", 0, 1), frac_ratio=(3, 2)),
        lambda x: T.nnet.neighbours.images2neibs(x.dimshuffle("x", "x", 0, 1), (2, 2), mode="same"),
        lambda x: T.nnet.neighbours.neibs2images(x, (2, 2), (1, 1, 4, 4), mode="half"),
        lambda x: T.nnet.bn.batch_normalization_train(x, x[0], x[0], "both"),
        lambda x: T.nnet.bn.batch_normalization_train(x, x[0], x[0, 0]),
        lambda x: T.nnet.bn.batch_normalization_train(x, x[0], x[0], running_mean=x[0]),
        lambda x: T.signal.pool.pool_2d(x),
        lambda x: T.signal.pool.pool_2d(x, (2, 2), mode="average"),
        lambda x: T.signal.pool.pool_2d(x, (2, 2), True, pad=(2, 0)),
        lambda x: T.signal.pool.pool_2d(x, (2, 2), pad=(1, 0)),
        lambda x: T.signal.pool.pool_3d(x, (2, 2, 2)),
        lambda x: T.signal.conv.conv2d(x[0], x),
        lambda x: T.shared_randomstreams.RandomStreams(0).choice((2,), 4, replace=False, p=[0.25] * 4),
    ],
)
def test_bad_arguments(build):
    with pytest.raises(NeuromancerError):
        build(T.matrix("x"))
