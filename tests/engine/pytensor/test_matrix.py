"""Own matrix products agree with torch, whatever the sizes and the memory of the operands."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromancer.engine.pytensor.kernels import conv, matrix, matrix_products
from neuromancer.engine.pytensor.kernels.epilogue import CHANNEL, FULL, Epilogue
from neuromancer.engine.pytensor.kernels.expressions import Expression
from neuromancer.engine.pytensor.kernels.simd import LANES

HEIGHT = matrix_products.block_size()[0]
EPILOGUE = Epilogue(
    Expression("add", Expression("mul", Expression.operand(0), Expression.operand(1)), Expression.operand(2)),
    (CHANNEL, FULL),
)


def random(*shape, transposed=False):
    return torch.randn(shape[::-1]).T if transposed else torch.randn(shape)


def agree(found, expected):
    return found.is_contiguous() and (found - expected).abs().max() <= 1e-5 * expected.abs().max().clamp(min=1)


@settings(max_examples=60)
@given(
    st.integers(HEIGHT, 150), st.integers(1, 200), st.integers(LANES, 150), st.integers(1, 3), st.booleans(),
    st.booleans(), st.booleans(), st.sampled_from([1 << 8, matrix.CHUNK]),
)  # fmt: skip
def test_agrees_with_torch(rows, depth, columns, threads, left, right, with_bias, chunk):
    used, before = torch.get_num_threads(), matrix.CHUNK
    a, b = random(rows, depth, transposed=left), random(depth, columns, transposed=right)
    bias, scale, added = torch.randn(columns), torch.randn(columns), torch.randn(rows, columns)
    try:
        torch.set_num_threads(threads)
        matrix.CHUNK = chunk
        plain = matrix.product(a, b, bias if with_bias else None)
        more = matrix.product(a, b, bias, EPILOGUE, (scale, added))
    finally:
        torch.set_num_threads(used)
        matrix.CHUNK = before
    products = a.double() @ b.double()
    assert agree(plain, products + bias if with_bias else products)
    assert agree(more, (products + bias) * scale + added)


def test_result_does_not_depend_on_threads():
    a, b, used, results = random(301, 77), random(77, 200), torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 5):
            torch.set_num_threads(threads)
            results.append(matrix.product(a, b))
    finally:
        torch.set_num_threads(used)
    assert all(torch.equal(result, results[0]) for result in results)


def test_small_other_and_narrow_matrices_are_left_to_torch(monkeypatch):
    monkeypatch.setattr(matrix, "_is_wider_than_mkl", lambda: True)
    assert matrix.is_faster(random(512, 128), random(128, 64))
    assert not matrix.is_faster(random(512, 128).double(), random(128, 64).double())
    assert not matrix.is_faster(random(512, 128).to("meta"), random(128, 64).to("meta"))
    for left, right in (((8, 16), (16, 64)), ((1, 1 << 15), (1 << 15, 64)), ((1 << 15, 128), (128, 4))):
        assert not matrix.is_faster(random(*left), random(*right))
    assert not matrix.is_faster(torch.randn(2, 512, 128), torch.randn(2, 128, 64))
    monkeypatch.setattr(matrix, "_is_wider_than_mkl", lambda: False)
    assert not matrix.is_faster(random(512, 128), random(128, 64))


@pytest.mark.parametrize("own", [True, False])
def test_pointwise_convolution_agrees_with_torch(monkeypatch, own):
    monkeypatch.setattr(matrix, "_is_wider_than_mkl", lambda: own)
    x, w, b = conv.channels_last(torch.randn(2, 24, 9, 20, 20)), torch.randn(40, 24, 1, 1, 1), torch.randn(40)
    expected = torch.nn.functional.conv3d(x.double(), w.double(), b.double())
    found = conv.pointwise(x, w, b)
    assert (found - expected).abs().max() < 1e-5 and found.movedim(1, -1).is_contiguous()
    scale, added = torch.randn(1, 40, 1, 1, 1), conv.channels_last(torch.randn(expected.shape))
    geometry = (1, 1, 1), (0, 0, 0), 1, EPILOGUE
    with_epilogue = conv.pointwise_with(x, w, b, *geometry, (scale, added))
    if not own:
        assert with_epilogue is None
        return
    assert (with_epilogue - (expected * scale + added)).abs().max() < 2e-5
    for apart in ((scale, added.contiguous()), (torch.randn(1, 80, 1, 1, 1)[:, ::2], added)):
        assert conv.pointwise_with(x, w, b, *geometry, apart) is None
    assert conv.pointwise_with(x, w, b, (2, 1, 1), (0, 0, 0), 1, Epilogue(Expression.operand(0)), ()) is None
