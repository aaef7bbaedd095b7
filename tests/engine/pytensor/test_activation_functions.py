"""Activation functions: torch's values and gradients, one kernel where torch has one, and OpenVINO."""

from __future__ import annotations

from math import erfc

import numpy as np
import pytest
import torch
from pytensor.tensor.elemwise import Elemwise

import neuromancer as nm
from neuromancer import engine as E
from neuromancer.engine.pytensor.ops.fused import Elu, Gelu, LeakyRelu, Prelu, Silu
from neuromancer.nodes.activation import OVER_FEATURES
from neuromancer.nodes.elementwise import FUNCTIONS
from tests.engine.pytensor.test_fusion import operations
from tests.nodes.layers import randomise

F = torch.nn.functional
BY_TORCH = {
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "leaky_relu 0.2": lambda x: F.leaky_relu(x, 0.2),
    "leaky_relu -1.5": lambda x: F.leaky_relu(x, -1.5),
    "relu6": F.relu6,
    "elu": F.elu,
    "elu 0.3": lambda x: F.elu(x, 0.3),
    "selu": F.selu,
    "gelu": F.gelu,
    "gelu tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "swish": F.silu,
    "mish": F.mish,
    "hardswish": F.hardswish,
    "hardsigmoid": F.hardsigmoid,
    "hardtanh": F.hardtanh,
    "hardtanh -0.5 3": lambda x: F.hardtanh(x, -0.5, 3),
    "tanh": torch.tanh,
    "softsign": F.softsign,
    "sig": torch.sigmoid,
    "logsigmoid": F.logsigmoid,
    "soft+": F.softplus,
    "softplus 2": lambda x: F.softplus(x, 2),
    "log_softmax": lambda x: F.log_softmax(x, 1),
    "prelu": lambda x: F.prelu(x, torch.full((x.shape[1],), 0.25, dtype=x.dtype)),
    "prelu shared": lambda x: F.prelu(x, torch.tensor([0.25], dtype=x.dtype)),
}
NOT_IN_TORCH = {"abs", "logistic", "sigmoid", "softplus", "lin", "linear", "concentration", "radius"}


def test_every_function_of_torch_is_compared():
    assert set(BY_TORCH) >= {*FUNCTIONS, *OVER_FEATURES} - NOT_IN_TORCH


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", BY_TORCH)
def test_values_and_gradients_are_those_of_torch(name, dtype):
    nm.config.floatX = dtype
    far = [-100, -25, -7, -2.99, -1.5, -0.7, -1e-3, 1e-3, 0.4, 0.9, 1.1, 2.99, 5.9, 6.1, 25, 100]
    x = np.concatenate([far, np.random.default_rng(0).normal(size=8)]).astype(dtype).reshape(2, 3, 4)
    weights = np.random.default_rng(1).normal(size=x.shape).astype(dtype)
    node = nm.Activation(nm.Input(x.shape, "b,f,x", print_repr=False), name, print_repr=False)
    gradient = E.grad((node.output * weights).sum(), node.input_tensors)
    function = nm.make_func(node.input_tensors, [node.output, *gradient])
    leaf = torch.from_numpy(x.copy()).requires_grad_()
    want = BY_TORCH[name](leaf)
    (want * torch.from_numpy(weights)).sum().backward()
    # torch computes some in float64 with constants of float32, and softplus with a threshold
    rough = dtype == "float32" or name.startswith(("soft", "hardsig", "hardsw"))
    tolerance = 1e-5 if rough else 1e-12
    for got, expected in zip(function(x), (want.detach(), leaf.grad), strict=True):
        np.testing.assert_allclose(got, expected.numpy(), rtol=tolerance, atol=tolerance / 10)


@pytest.mark.parametrize("name", ["relu", "leaky_relu 0.2", "prelu", "elu 0.3", "silu", "gelu", "softsign", "mish"])
def test_gradients_at_zero_are_those_of_torch(name):
    node = nm.Activation(nm.Input((1, 2), "b,f", print_repr=False), name, print_repr=False)
    zero = torch.zeros(1, 2, requires_grad=True)
    BY_TORCH[name](zero).sum().backward()
    gradient = nm.make_func(node.input_tensors, E.grad(node.output.sum(), node.input_tensors)[0])
    np.testing.assert_allclose(gradient(np.zeros((1, 2), "float32")), zero.grad.numpy(), rtol=1e-6)


KERNELS = {
    "leaky_relu": LeakyRelu,
    "leaky_relu 2": LeakyRelu,
    "leaky_relu -1.5": LeakyRelu,
    "silu": Silu,
    "swish": Silu,
    "gelu": Gelu,
    "elu": Elu,
    "elu 0.3": Elu,
    "elu -2": Elu,
    "prelu": Prelu,
    "prelu shared": Prelu,
}
FUSED = set(KERNELS.values())


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_kernel(name, dtype):
    nm.config.floatX = dtype
    op = KERNELS[name]
    inp = nm.Input((None, 2, None, None), "b,f,y,x", print_repr=False)
    out = nm.Conv(inp, 3, (3, 3), activation_func=name, print_repr=False)
    last = nm.Activation(nm.Activation(inp, name, print_repr=False), name, print_repr=False)
    for node in (out, last):
        function = E.function(node.input_tensors, node.output)
        assert op in operations(function) and Elemwise not in operations(function)
    a = np.random.default_rng(0).normal(size=(1, 2, 4, 5)).astype(dtype)
    kept, function = a.copy(), E.function(last.input_tensors, [last.output, last.parent.output])
    by_torch = {**BY_TORCH, "leaky_relu 2": lambda x: F.leaky_relu(x, 2), "elu -2": lambda x: F.elu(x, -2)}[name]
    for got, n in zip(function(a), (2, 1), strict=True):
        want = torch.from_numpy(kept)
        for _ in range(n):
            want = by_torch(want)
        np.testing.assert_allclose(got, want.numpy(), rtol=1e-5)
    np.testing.assert_array_equal(a, kept)
    # the same values beside a gradient, which reads a part of most functions
    gradient = E.grad(last.output.sum(), last.input_tensors)
    function = E.function(last.input_tensors, [last.output, *gradient])
    np.testing.assert_allclose(function(a)[0], by_torch(by_torch(torch.from_numpy(kept))).numpy(), rtol=1e-5)
    if op is not Elu:
        assert op not in operations(function)


@pytest.mark.parametrize(
    ("tags", "fused"), [("b,f", True), ("b,f,x", True), ("b,x,f", False), ("f", False), ("b,y,f,x", False)]
)
def test_slopes_of_channels_in_any_layout(tags, fused):
    sizes = {"b": 2, "f": 3, "y": 3, "x": 3}
    x = np.random.default_rng(0).normal(size=[sizes[t] for t in tags.split(",")]).astype("float32")
    slopes, axis = np.float32([0.1, -0.5, 2]), tags.split(",").index("f")
    node = nm.Activation(nm.Input(x.shape, tags, print_repr=False), "prelu", slope=slopes, print_repr=False)
    factors = slopes.reshape([-1 if k == axis else 1 for k in range(x.ndim)])
    function = E.function(node.input_tensors, node.output)
    np.testing.assert_allclose(function(x), np.where(x > 0, x, factors * x), rtol=1e-6)
    assert (Prelu in operations(function)) == fused


def test_functions_that_look_like_elu_are_kept():
    x, y = (E.tensor(name, (None, 3), "float64") for name in "xy")
    a, b = np.random.default_rng(0).normal(size=(2, 4, 3))
    low = np.expm1(np.minimum(a, 0))
    negative = E.T.expm1(E.T.minimum(x, 0))
    cases = {
        "another x": (E.T.switch(x > 0, y, negative), np.where(a > 0, b, low), None),
        "another condition": (E.T.switch(y > 0, x, negative), np.where(b > 0, a, low), None),
        "another bound": (E.T.switch(x > 0, x, E.T.expm1(E.T.minimum(x, -1))), None, None),
        "a factor that is computed": (E.T.switch(x > 0, x, negative * y), np.where(a > 0, a, low * b), None),
        "elu": (E.T.switch(x > 0, x, negative * np.float64(3)), np.where(a > 0, a, 3 * low), Elu),
    }
    for name, (out, want, op) in cases.items():
        function = E.function([x, y], out)
        want = np.where(a > 0, a, np.expm1(np.minimum(a, -1))) if want is None else want
        np.testing.assert_allclose(function(a, b), want, rtol=1e-12, err_msg=name)
        assert FUSED & set(operations(function)) == ({op} if op else set()), name
    both = E.function([x], [E.T.switch(x > 0, x, negative), negative])
    assert Elu not in operations(both)


def test_products_that_look_alike_are_kept():
    x, y = (E.tensor(name, (None, 3), "float64") for name in "xy")
    a, b = np.random.default_rng(0).normal(size=(2, 4, 3))
    step, one, half = np.where(a > 0, 1, 0.5), np.float64(1), np.float64(0.5)
    part = np.vectorize(erfc)(-a / np.sqrt(2))
    bent = E.T.erfc(-(half**half) * x)
    cases = {
        "another factor": (y * E.T.sigmoid(x), b / (1 + np.exp(-a)), None),
        "another threshold": (x * E.T.switch(x > 1, one, half), a * np.where(a > 1, 1, 0.5), None),
        "another value above": (x * E.T.switch(x > 0, 2 * one, half), a * np.where(a > 0, 2, 0.5), None),
        "another comparison": (x * E.T.switch(x < 0, one, half), a * np.where(a < 0, 1, 0.5), None),
        "a slope that is computed": (x * E.T.switch(x > 0, one, y), a * np.where(a > 0, 1, b), None),
        "a third factor": (x * E.T.switch(x > 0, one, half) * y, a * step * b, LeakyRelu),
        "all of gelu": (x * bent * half * y, a * part * b / 2, Gelu),
        "twice gelu": (x * bent, a * part, None),
        "another width": (x * E.T.erfc(-half * x) * half, a * np.vectorize(erfc)(-a / 2) / 2, None),
        "twice": (x * x * E.T.sigmoid(x), a * a / (1 + np.exp(-a)), None),
    }
    for name, (out, want, op) in cases.items():
        function = E.function([x, y], out)
        np.testing.assert_allclose(function(a, b), want, rtol=1e-12, err_msg=name)
        assert FUSED & set(operations(function)) == ({op} if op else set()), name


@pytest.mark.parametrize("name", [*BY_TORCH, "elu -2", "maxout 2"])
def test_openvino(name):
    """Each is translated: none makes a network fall back to torch."""
    pytest.importorskip("openvino")
    from tests.engine.pytensor.runners import check

    inp = nm.Input((None, 2, None, None), "b,f,y,x", print_repr=False)
    out = nm.Conv(inp, 4, (3, 3), activation_func=name, print_repr=False)
    out = nm.Conv(nm.Activation(out, name, print_repr=False), 2, (2, 2), activation_func="lin", print_repr=False)
    randomise(out)
    check(out.input_tensors, [out.output], [3 * np.random.default_rng(0).normal(size=(1, 2, 9, 8)).astype("float32")])
