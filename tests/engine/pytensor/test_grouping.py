"""Groups of elementwise operations and sums in programs for the CPU: values, structure, errors."""

from __future__ import annotations

import numpy as np
import pytensor.tensor as pt
import pytest
import torch

import neuromancer as nm
from neuromancer import engine as E
from neuromancer.engine.pytensor.kernels.elementwise import Elementwise
from neuromancer.engine.pytensor.link.torch import one_pass, translation
from neuromancer.engine.pytensor.ops.elementwise import Fused, FusedElementwise, FusedSum
from neuromancer.engine.pytensor.ops.fused import Prelu
from neuromancer.engine.pytensor.ops.rectifier import ReluGrad
from neuromancer.errors import ShapeError

T = E.T
IMAGE = (None, 3, None, None)


def groups(function):
    """Return the groups that run."""
    return [step.node.op for step in function.program.steps if step.node and isinstance(step.node.op, Fused)]


@pytest.fixture
def a():
    return np.random.default_rng(0).standard_normal((2, 3, 5, 6)).astype("float32")


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


def test_a_chain_is_one_operation(a):
    x, r = E.tensor("x", IMAGE, "float32"), E.tensor("r", IMAGE, "float32")
    scale = E.SharedVariable(np.float32([1, 2, 3]), "scale").dimshuffle("x", 0, "x", "x")
    f = E.function([x, r], T.maximum(T.tanh(x) * scale + r, 0))
    (group,) = groups(f)
    assert len(group.nodes) == 4
    np.testing.assert_allclose(
        f(a, 2 * a), np.maximum(np.tanh(a) * np.float32([1, 2, 3])[:, None, None] + 2 * a, 0), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("n_groups", [1, 2, 6])
def test_group_norm_with_what_follows_is_one_operation(n_groups):
    x = nm.Input((1, 6, None, None, None), "b,f,z,y,x", print_repr=False)
    image = np.random.default_rng(0).standard_normal((1, 6, 9, 10, 11)).astype("float32")
    y = T.maximum(nm.GroupNorm(x, n_groups, print_repr=False).output, 0) + x.output
    f = E.function([x.output], y)
    large = [step.node for step in f.program.steps if step.node and None in step.node.outputs[0].type.shape[2:]]
    assert [type(node.op) for node in large] == [FusedElementwise]
    values = torch.from_numpy(image)
    for v in (values, values.to(memory_format=torch.channels_last_3d)):
        want = torch.nn.functional.group_norm(v, n_groups).relu() + v
        np.testing.assert_allclose(f(v.numpy()), want.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n_groups", [1, 2, 6])
def test_gradient_of_group_norm_has_no_views(n_groups):
    """Its large arrays are those of the image, so that one group computes what follows from them."""
    x = nm.Input((1, 6, None, None, None), "b,f,z,y,x", print_repr=False)
    y = T.maximum(nm.GroupNorm(x, n_groups, print_repr=False).output, 0) + x.output
    f = E.function([x.output], E.grad((y**2).sum(), [x.output])[0])
    for step in f.program.steps:
        if step.node and None in step.node.outputs[0].type.shape[2:]:
            assert isinstance(step.node.op, FusedElementwise)
    v = torch.randn(1, 6, 9, 10, 11, requires_grad=True)
    ((torch.nn.functional.group_norm(v, n_groups).relu() + v) ** 2).sum().backward()
    np.testing.assert_allclose(f(v.detach().numpy()), v.grad.numpy(), rtol=1e-4, atol=1e-4)


def test_numbers_known_only_at_a_call(a):
    x, n, k = E.tensor("x", IMAGE, "float32"), E.tensor("n", (), "float32"), E.tensor("k", (), "int64")
    f = E.function([x, n, k], T.exp(x * n) + T.cast(k, "float32"))
    assert len(groups(f)) == 1
    np.testing.assert_allclose(f(a, np.float32(0.5), np.int64(3)), np.exp(a * 0.5) + 3, rtol=1e-5)


def test_integers_are_converted_on_the_way():
    x = E.tensor("x", IMAGE, "uint8")
    f = E.function([x], T.cast(T.clip(T.cast(x, "float32") * np.float32(0.5) + np.float32(0.25), 3, 100), "uint8"))
    (group,) = groups(f)
    assert group.function.dtypes == (torch.uint8,) and len(group.nodes) == 5
    image = np.random.default_rng(0).integers(0, 256, (2, 3, 50, 40)).astype("uint8")
    np.testing.assert_array_equal(f(image), np.clip(image * 0.5 + 0.25, 3, 100).astype("uint8"))


def test_what_is_read_elsewhere_is_a_result(a):
    x = E.tensor("x", IMAGE, "float32")
    y = T.exp(x) + 1
    f = E.function([x], [y, T.sqrt(y) * x])
    (group,) = groups(f)
    assert len(group.function.expressions) == 2
    first, second = f(a)
    np.testing.assert_allclose(first, np.exp(a) + 1, rtol=1e-6)
    np.testing.assert_allclose(second, np.sqrt(np.exp(a) + 1) * a, rtol=1e-6)


def test_two_groups_compute_what_both_read(a):
    """The sigmoid is not stored for the gradient, which reads x anyway."""
    x, gy = E.tensor("x", IMAGE, "float32"), E.tensor("gy", IMAGE, "float32")
    y = x * T.sigmoid(x)
    f = E.function([x, gy], [T.dot(y.flatten(), y.flatten()), E.grad((y * gy).sum(), [x])[0]])
    assert len(groups(f)) == 2 and all("Sigmoid" in str(group) for group in groups(f))
    s = sigmoid(a)
    first, second = f(a, a[::-1].copy())
    np.testing.assert_allclose(first, np.sum((a * s) ** 2), rtol=1e-5)
    np.testing.assert_allclose(second, a[::-1] * (s + a * s * (1 - s)), rtol=1e-4, atol=1e-6)


def test_values_per_channel_are_computed_once(a):
    x = E.tensor("x", IMAGE, "float32")
    v = E.tensor("v", (3,), "float32").dimshuffle("x", 0, "x", "x")
    f = E.function([x, v.owner.inputs[0]], x * T.sqrt(T.exp(v) + 1) + v)
    assert [len(group.nodes) for group in groups(f)] == [2]
    values = np.float32([1, -2, 3])
    want = a * np.sqrt(np.exp(values) + 1)[:, None, None] + values[:, None, None]
    np.testing.assert_allclose(f(a, values), want, rtol=1e-5, atol=1e-6)


def test_sums_take_their_terms_along(a):
    x, y = E.tensor("x", IMAGE, "float32"), E.tensor("y", IMAGE, "float32")
    f = E.function([x, y], [T.sum(x * y, axis=(2, 3)), T.sum(T.sqr(x), axis=(2, 3)), T.sum(x)])
    sums = [group for group in groups(f) if isinstance(group, FusedSum)]
    assert [len(group.function.expressions) for group in sums] == [2]
    for got, want in zip(f(a, a + 1), ((a * (a + 1)).sum((2, 3)), (a * a).sum((2, 3)), a.sum()), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5)


def test_sums_that_need_one_another_are_separate(a):
    x = E.tensor("x", IMAGE, "float32")
    y = x - T.sum(T.exp(x), axis=(2, 3), keepdims=True)
    z = T.sum(T.exp(y) * x, axis=(2, 3), keepdims=True)
    f = E.function([x], [y, z, T.sum(x * z, axis=(2, 3))])
    first = a - np.exp(a).sum((2, 3), keepdims=True)
    second = (np.exp(first) * a).sum((2, 3), keepdims=True)
    for got, want in zip(f(a), (first, second, (a * second).sum((2, 3))), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4)


def test_pairs_of_sums_that_need_one_another_crosswise(a):
    """Two sums over x and two over y: the second over y needs the first over x, and the second over x that over y."""
    x, y = E.tensor("x", IMAGE, "float32"), E.tensor("y", IMAGE, "float32")
    over = {"axis": (2, 3), "keepdims": True}
    x1, y1 = T.sum(T.exp(x), **over), T.sum(T.exp(y), **over)
    y2, x2 = T.sum(T.tanh(y) * x1, **over), T.sum(T.tanh(x) * y1, **over)
    found = E.function([x, y], [x1, y1, y2, x2])(a, 2 * a)
    total = lambda v: v.sum((2, 3), keepdims=True)  # noqa: E731
    ex, ey = total(np.exp(a)), total(np.exp(2 * a))
    wanted = (ex, ey, total(np.tanh(2 * a) * ex), total(np.tanh(a) * ey))
    for got, want in zip(found, wanted, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_lengths_that_differ_name_the_operation(a):
    x, y = E.tensor("x", IMAGE, "float32"), E.tensor("y", IMAGE, "float32")
    for out in (T.tanh(T.exp(x) * y), T.sum(T.exp(x) * y, axis=(0, 2, 3))):
        f = E.function([x, y], out)
        assert len(groups(f)) == 1
        with pytest.raises(ShapeError, match=r"Mul.*axis 3"):
            f(a, a[..., :1])


def test_float64_stays_with_torch(a):
    x = E.tensor("x", IMAGE, "float64")
    f = E.function([x], T.exp(x) + T.sqr(x))
    assert not groups(f)
    np.testing.assert_allclose(f(a.astype("float64")), np.exp(a.astype("float64")) + a.astype("float64") ** 2)


def test_parameters_alone_are_computed_once():
    """What changes only when a parameter is set stays apart from what is computed at each call."""
    shape = (2, 3, 20, 30)
    x, w = E.tensor("x", shape, "float32"), E.SharedVariable(np.ones(shape, "float32"), "w")
    f = E.function([x], x * (T.exp(w) + 1) - 1)
    held = [step for step in f.program.steps if step.held and step.node and isinstance(step.node.op, FusedElementwise)]
    assert len(held) == 1
    a = np.random.default_rng(0).standard_normal(shape).astype("float32")
    np.testing.assert_allclose(f(a), a * (np.exp(1) + 1) - 1, rtol=1e-5, atol=1e-6)


def test_dead_operands_are_overwritten():
    x = E.tensor("x", (None, None, 3), "float32")
    y = T.sum(x, axis=0)
    f = E.function([x], T.exp(y) * y + 1)
    big = np.zeros((1, 1 << 18, 3), "float32")
    f(big)
    with torch.profiler.profile(profile_memory=True) as profile:
        f(big)
    assert sum(e.self_cpu_memory_usage > big.nbytes // 2 for e in profile.events()) == 1


@pytest.mark.parametrize("operation", ["exp", "add", "switch", "gt", "relu"])
def test_single_operations_on_large_tensors(operation, monkeypatch, a):
    x, y = E.tensor("x", IMAGE, "float32"), E.tensor("y", IMAGE, "float32")
    b = a[::-1].copy()
    out, want = {
        "exp": (T.exp(x), np.exp(a)),
        "add": (x + y, a + b),
        "switch": (T.switch(T.gt(x, 0), y, 1), np.where(a > 0, b, 1)),
        "gt": (T.gt(x, y), a > b),
        "relu": (E.relu(x), np.maximum(a, 0)),
    }[operation]
    f = E.function([x, y], out)
    calls = []
    monkeypatch.setattr(one_pass, "SHARE", 1)
    monkeypatch.setattr(Elementwise, "__call__", lambda *a, **kw: calls.append(1) or plain(*a, **kw))
    np.testing.assert_allclose(f(a, b), want, rtol=1e-6)
    assert bool(calls) or operation == "gt"
    if operation == "add":
        with pytest.raises(ShapeError, match="axis 0"):
            f(a, b[:1])


plain = Elementwise.__call__


def test_chains_above_a_variable():
    """What a kernel can apply to its result before it writes it."""
    x, r = pt.tensor("x", dtype="float32", shape=IMAGE), pt.tensor("r", dtype="float32", shape=IMAGE)
    slope = pt.tensor("slope", dtype="float32", shape=(3,))
    rectified = Prelu()(x + r, slope)
    found = translation.chain(x, [rectified.owner.inputs[0].owner, rectified.owner])
    assert found is not None
    expression, operands = found
    assert operands[:2] == [x, r] and operands[2].type.shape == (1, 3, 1, 1)
    assert repr(expression) == "select(gt(add(x0, x1), 0.0), add(x0, x1), mul(add(x0, x1), x2))"
    assert translation.chain(x, [pt.cos(x).owner]) is None
    assert translation.chain(x, []) is None


def test_gradient_of_the_rectifier_where_its_result_is_not_a_number():
    y, gy = E.tensor("y", (None,), "float32"), E.tensor("gy", (None,), "float32")
    f = E.function([y, gy], ReluGrad()(y, gy) * 2)
    assert len(groups(f)) == 1
    values, ones = np.float32([np.nan, 1, 0, -1]), np.ones(4, "float32")
    by_torch = torch.ops.aten.threshold_backward(torch.from_numpy(ones), torch.from_numpy(values), 0)
    np.testing.assert_array_equal(f(values, ones), 2 * by_torch.numpy())


@pytest.mark.parametrize("n", [3, 100_000])
def test_truth_values_are_counted(n):
    x = E.tensor("x", (None, 3), "float32")
    f = E.function([x], T.sum(T.cast(T.gt(x, 0), "float32"), axis=0) * 0.5)
    a = np.random.default_rng(0).standard_normal((n, 3)).astype("float32")
    got = f(a)
    assert got.dtype == "float32"
    np.testing.assert_array_equal(got, (a > 0).sum(0) / 2)
