"""Linear algebra, Fourier transforms, random numbers and gradients under the names of Theano, on both engines."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg

from neuromancer import engine as E
from tests.engine.theano_names import RNG, values

T = E.T
SQUARE = RNG.standard_normal((4, 4)) + 4 * np.eye(4)
POSITIVE = SQUARE @ SQUARE.T
VECTOR = RNG.standard_normal(4)
SOLUTION = np.linalg.solve(SQUARE, VECTOR)


LINEAR = {
    "det": np.linalg.det, "matrix_inverse": np.linalg.inv, "pinv": np.linalg.pinv, "trace": np.trace,
    "diag": np.diag, "extract_diag": np.diag,
}  # fmt: skip


@pytest.mark.parametrize("name", LINEAR)
def test_nlinalg(name):
    np.testing.assert_allclose(values(getattr(T.nlinalg, name), SQUARE), LINEAR[name](SQUARE), atol=1e-9)


def test_nlinalg_of_several_matrices():
    L = T.nlinalg
    np.testing.assert_allclose(values(lambda a: L.matrix_power(a, 3), SQUARE), np.linalg.matrix_power(SQUARE, 3))
    np.testing.assert_allclose(values(lambda a: L.matrix_dot(a, a, a), SQUARE), SQUARE @ SQUARE @ SQUARE)
    np.testing.assert_allclose(values(lambda a: L.eigh(a)[0], POSITIVE), np.linalg.eigh(POSITIVE)[0], rtol=1e-6)
    np.testing.assert_allclose(values(lambda a: L.svd(a)[1], SQUARE), np.linalg.svd(SQUARE)[1])
    q, r = values(lambda a: tuple(L.qr(a)), SQUARE)
    np.testing.assert_allclose(q @ r, SQUARE, atol=1e-9)


def test_slinalg():
    S = T.slinalg
    np.testing.assert_allclose(values(S.cholesky, POSITIVE), np.linalg.cholesky(POSITIVE), atol=1e-9)
    np.testing.assert_allclose(values(S.expm, SQUARE / 4), scipy.linalg.expm(SQUARE / 4), rtol=1e-6)
    np.testing.assert_allclose(values(S.kron, SQUARE, POSITIVE), np.kron(SQUARE, POSITIVE))
    for name, matrix in (
        ("solve", SQUARE), ("solve_symmetric", POSITIVE), ("solve_lower_triangular", np.tril(SQUARE)),
        ("solve_upper_triangular", np.triu(SQUARE)),
    ):  # fmt: skip
        found = values(lambda a, b, name=name: getattr(S, name)(a, b), matrix, VECTOR)
        np.testing.assert_allclose(found, np.linalg.solve(matrix, VECTOR), rtol=1e-6, err_msg=name)


def test_random_streams():
    stream = T.shared_randomstreams.RandomStreams(seed=3)
    u, n, b, i = stream.uniform((2000,), -1, 3), stream.normal((2000,), 5, 2), None, None
    b, i = stream.binomial((2000,), n=4, p=0.25), stream.random_integers((2000,), 2, 5)
    f = E.function([], [u, n, b, i])
    (u, n, b, i), again = f(), f()
    assert -1 <= u.min() and u.max() <= 3 and abs(u.mean() - 1) < 0.1 and abs(u.std() - 4 / 12**0.5) < 0.1
    assert abs(n.mean() - 5) < 0.2 and abs(n.std() - 2) < 0.2
    assert set(b) <= {0, 1, 2, 3, 4} and abs(b.mean() - 1) < 0.1 and set(i) == {2, 3, 4, 5}
    assert (again[0] != u).any()
    stream.seed(3)
    first = f()
    stream.seed(3)
    assert all((a == c).all() for a, c in zip(first, f(), strict=True))


def test_random_choices():
    stream = T.shared_randomstreams.RandomStreams(seed=4)
    row = T.constant(np.arange(6.0))
    rows = T.constant(np.arange(40).reshape(4, 10))
    order, counts, chosen, shuffled = E.function(
        [],
        [
            stream.permutation(n=9),
            stream.multinomial((500,), n=3, pvals=np.float32([0.5, 0.25, 0.25])),
            stream.choice((300,), a=3),
            stream.shuffle_row_elements(rows),
        ],
    )()
    assert sorted(order.ravel()) == list(range(9))
    assert (counts.sum(-1) == 3).all() and np.abs(counts.mean(0) - [1.5, 0.75, 0.75]).max() < 0.2
    assert set(chosen) == {0, 1, 2} and row.ndim == 1
    assert (np.sort(shuffled) == np.arange(40).reshape(4, 10)).all()


def test_gradients_and_loops_of_the_tutorial():
    x = T.dvector("x")
    y = (x**2).sum()
    np.testing.assert_allclose(E.function([x], T.jacobian(x**2, x))(VECTOR), np.diag(2 * VECTOR))
    np.testing.assert_allclose(E.function([x], T.hessian(y, x))(VECTOR), 2 * np.eye(4))
    w, v = T.dmatrix("w"), T.dmatrix("v")
    rows = T.dot(x, w)
    found = E.function([w, v, x], T.Rop(rows, w, v))(SQUARE, POSITIVE, VECTOR)
    np.testing.assert_allclose(found, VECTOR @ POSITIVE)
    u = T.dvector("u")
    found = E.function([u, x, w], T.Lop(rows, w, u), name="")(VECTOR, VECTOR, SQUARE)
    np.testing.assert_allclose(found, np.outer(VECTOR, VECTOR))


@pytest.mark.parametrize("shape", [(3, 4), (3, 5)])
def test_matrices_that_are_not_square(shape):
    a = RNG.standard_normal(shape)
    q, r = values(lambda x: tuple(T.nlinalg.qr(x)), a.T)
    assert q.shape == (shape[1], 3) and r.shape == (3, 3)
    np.testing.assert_allclose(q @ r, a.T, atol=1e-9)
    u, s, vh = values(lambda x: tuple(T.nlinalg.svd(x, full_matrices=False)), a)
    np.testing.assert_allclose((u * s) @ vh, a, atol=1e-9)
    np.testing.assert_allclose(values(lambda x: T.nlinalg.pinv(x), a), np.linalg.pinv(a), atol=1e-9)


def test_other_functions_of_matrices():
    L = T.nlinalg
    upper = np.triu(POSITIVE) + np.tril(RNG.standard_normal((4, 4)), -1)  # only one triangle is read
    np.testing.assert_allclose(values(lambda a: L.eigh(a, "U")[0], upper), np.linalg.eigvalsh(POSITIVE), rtol=1e-6)
    np.testing.assert_allclose(values(lambda a: L.norm(a, 2), VECTOR), np.linalg.norm(VECTOR))
    np.testing.assert_allclose(values(lambda a: L.norm(a, "fro"), SQUARE), np.linalg.norm(SQUARE))
    np.testing.assert_allclose(np.sort(values(lambda a: L.eig(a)[0], POSITIVE)), np.linalg.eigvalsh(POSITIVE))
    np.testing.assert_allclose(values(L.alloc_diag, VECTOR), np.diag(VECTOR))
    np.testing.assert_allclose(
        values(lambda a, b: L.tensorsolve(a, b), SQUARE, VECTOR), np.linalg.solve(SQUARE, VECTOR)
    )
    np.testing.assert_allclose(values(lambda a: L.tensorinv(a, 1), SQUARE), np.linalg.inv(SQUARE), atol=1e-9)
    found = values(lambda a, b: T.slinalg.eigvalsh(a, b), POSITIVE, np.eye(4))
    np.testing.assert_allclose(found, np.linalg.eigvalsh(POSITIVE))


@pytest.mark.parametrize("norm", [None, "ortho"])
def test_fourier_transforms(norm):
    x = RNG.standard_normal((2, 4, 6))
    transform = np.fft.rfftn(x, axes=(1, 2), norm=norm)
    found = values(lambda v: T.fft.rfft(v, norm), x)
    np.testing.assert_allclose(found, np.stack([transform.real, transform.imag], -1), atol=1e-9)
    np.testing.assert_allclose(values(lambda v: T.fft.irfft(v, norm), found), x, atol=1e-9)


def test_logarithms_of_zero():
    x = np.array([0.0, 0.5, 2.0])
    np.testing.assert_allclose(values(T.xlogx.xlogx, x), [0, 0.5 * np.log(0.5), 2 * np.log(2)])
    np.testing.assert_allclose(values(T.xlogx.xlogy0, x, x), [0, 0.5 * np.log(0.5), 2 * np.log(2)])


def test_gradients_stop():
    found = values(lambda x: T.grad((x * T.consider_constant(x)).sum(), x), VECTOR)
    np.testing.assert_allclose(found, VECTOR)
