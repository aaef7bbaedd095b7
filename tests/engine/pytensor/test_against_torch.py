"""Normalisations, adaptive pools and repeats against torch: values, gradients, running statistics."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import neuromancer as nm
from neuromancer import engine as E
from tests.nodes.layers import random, source

QUIET = {"print_repr": False}
SIZES = {1: (7,), 2: (5, 6), 3: (4, 5, 6)}


def compare(node, module, x):
    """Compare output, and gradients with respect to input and parameters, of random weights of the output."""
    gammas = [node.params[key] for key in ("gamma", "beta") if key in node.params]
    weights = random(*node(x).shape, seed=9).astype("float32")
    cost = (node.output * weights).sum()
    got = nm.make_func(node.input_tensors, [node.output, *E.grad(cost, [*node.input_tensors, *gammas])])(x)
    t = torch.tensor(x, requires_grad=True)
    out = module(t)
    (out * torch.tensor(weights)).sum().backward()
    for a, b in zip(got, [out, t.grad, *(p.grad for p in module.parameters())], strict=True):
        np.testing.assert_allclose(a, b.detach().numpy(), rtol=1e-4, atol=2e-5)


def given(module):
    """Give a module's weights random values; return them as parameters of a node."""
    if module.weight is None:
        return {}
    with torch.no_grad():
        module.weight.copy_(torch.tensor(random(*module.weight.shape, seed=1)))
        module.bias.copy_(torch.tensor(random(*module.bias.shape, seed=2)))
    return {"gamma": module.weight.detach().numpy().copy(), "beta": module.bias.detach().numpy().copy()}


@pytest.mark.parametrize("ndim", SIZES)
@pytest.mark.parametrize("kind", ["BatchNorm", "InstanceNorm"])
@pytest.mark.parametrize("affine", [False, True])
def test_training_and_inference(ndim, kind, affine):
    module = getattr(torch.nn, f"{kind}{ndim}d")(4, affine=affine, momentum=0.2, track_running_stats=True)
    inp = source((3, 4, *SIZES[ndim]))
    options = given(module)
    node = getattr(nm, kind)(inp, affine=affine, momentum=0.2, track_running_stats=True, **options, **QUIET)
    step = nm.make_func(node.input_tensors, node.output, updates=node.all_extra_updates)
    for k in range(5):
        x = (k + (k + 1) * random(3, 4, *SIZES[ndim], seed=k)).astype("float32")
        np.testing.assert_allclose(step(x), module(torch.tensor(x)).detach().numpy(), rtol=1e-4, atol=1e-5)
    values = node.get_param_values()
    np.testing.assert_allclose(values["mean"], module.running_mean.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(values["var"], module.running_var.numpy(), rtol=1e-5)
    compare(node, module, x)
    node.set_param_values({"mean": module.running_mean.numpy() - 0.1, "var": module.running_var.numpy()})
    module.eval()
    module.running_mean.copy_(torch.tensor(node.get_param_values()["mean"]))
    np.testing.assert_allclose(node.infer(x), module(torch.tensor(x)).detach().numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("ndim", SIZES)
@pytest.mark.parametrize("groups", [1, 2, 6])
def test_group_norm(ndim, groups):
    module = torch.nn.GroupNorm(groups, 6, eps=1e-3)
    x = (1 + random(2, 6, *SIZES[ndim])).astype("float32")
    compare(nm.GroupNorm(source(x.shape), groups, eps=1e-3, **given(module), **QUIET), module, x)


@pytest.mark.parametrize(("axes", "sizes"), [("x", (6,)), ("y,x", (5, 6)), ("f,y,x", (4, 5, 6))])
def test_layer_norm(axes, sizes):
    module = torch.nn.LayerNorm(sizes)
    x = (1 + random(2, 4, 5, 6)).astype("float32")
    compare(nm.LayerNorm(source(x.shape), axes, **given(module), **QUIET), module, x)


@pytest.mark.parametrize("ndim", SIZES)
@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize(("mode", "name"), [("average", "Avg"), ("max", "Max")])
def test_adaptive_pools(ndim, size, mode, name):
    x = random(2, 3, *SIZES[ndim]).astype("float32")
    module = getattr(torch.nn, f"Adaptive{name}Pool{ndim}d")(size)
    compare(nm.AdaptivePool(source((None, 3, *[None] * ndim)), size, mode, **QUIET), module, x)


@pytest.mark.parametrize("interleave", [False, True])
def test_repeat(interleave):
    x = random(2, 3, 4, 5).astype("float32")

    class Module(torch.nn.Module):
        def forward(self, t):
            return t.repeat_interleave(2, 1) if interleave else t.repeat(1, 2, 1, 1)

    compare(nm.Repeat(source(x.shape), 2, interleave=interleave, **QUIET), Module(), x)
