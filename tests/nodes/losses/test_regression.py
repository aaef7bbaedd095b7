"""SquaredLoss and AbsLoss against NumPy: margins, scale correction, missing values, gradients."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer import engine as E
from neuromancer.errors import ArgumentError, ShapeError

RNG = np.random.default_rng(0)
SHAPE = (4, 3, 2)
TAGS = "b,f,x"
KINDS = ["SquaredLoss", "AbsLoss"]


def reference(kind, p, t, margin=0.0, correction=None):
    given = ~(np.isnan(t) | (np.abs(t + 666) < 0.01))
    t = np.where(given, t, 0)
    d = np.maximum(np.abs(t - p) - margin, 0)
    loss = 0.5 * d**2 if kind == "SquaredLoss" else d
    if correction is not None:
        c = correction
        loss = loss * (c / (np.abs(t) + c) if kind == "SquaredLoss" else c * np.abs(t) + 1)
    return (loss * given).mean(1, keepdims=True) * t.size / (given.sum() + 1)


def make(source, kind, **kwargs):
    return getattr(nm, kind)(source("p", SHAPE, TAGS), source("t", SHAPE, TAGS), print_repr=False, **kwargs)


P, T = RNG.normal(size=(2, *SHAPE)).astype("float32")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "kwargs", [{}, {"margin": 0.3}, {"scale_correction": 0.7}, {"margin": 0.2, "scale_correction": 2}]
)
def test_values(source, kind, kwargs):
    node = make(source, kind, **kwargs)
    expected = reference(kind, P, T, kwargs.get("margin", 0), kwargs.get("scale_correction"))
    np.testing.assert_allclose(node(P, T), expected, rtol=1e-5)
    assert (node(P, T) >= 0).all()
    assert node.shape.shape == [4, 1, 2]
    assert node.computational_cost == 24


@pytest.mark.parametrize("kind", KINDS)
def test_margin_and_correction_are_changeable_parameters(source, kind):
    node = make(source, kind, margin=0.1, scale_correction=1)
    node.set_param_values({"margin": 0.5, "scale_correction": 3})
    np.testing.assert_allclose(node(P, T), reference(kind, P, T, 0.5, 3), rtol=1e-5)
    assert not node.all_trainable_params


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("missing", [-666, np.nan])
def test_missing_values_cost_nothing_and_have_no_gradient(source, kind, missing):
    node = make(source, kind)
    t = T.copy()
    t[0, 0, 0] = t[1, :, 1] = missing
    np.testing.assert_allclose(node(P, t), reference(kind, P, t), rtol=1e-5)
    with E.building():
        (grad,) = E.grad(node.output.sum(), [node.input_tensors[0]])
    found = E.function(node.input_tensors, grad)(P, t)
    assert np.isfinite(found).all()
    assert not found[1, :, 1].any()
    assert node(P, np.full_like(t, missing)).sum() == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kwargs", [{}, {"margin": 0.3, "scale_correction": 0.7}])
def test_gradient(float64, source, check_gradient, kind, kwargs):
    check_gradient(make(source, kind, **kwargs), [P, T], tolerance=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_target_is_repeated_along_samples(source, kind):
    node = getattr(nm, kind)(source("p", (2, 5, 3), "b,s,f"), source("t", (2, 3)), print_repr=False)
    p, t = RNG.normal(size=(2, 5, 3)).astype("float32"), RNG.normal(size=(2, 3)).astype("float32")
    full = np.broadcast_to(t[:, None], p.shape)
    expected = reference(kind, p.reshape(10, 3), full.reshape(10, 3)).reshape(2, 5, 1)
    np.testing.assert_allclose(node(p, t), expected, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_refusals(source, kind):
    with pytest.raises(ArgumentError, match=f"{kind} '.*': margin must be a number >= 0, or None; got -1"):
        make(source, kind, margin=-1)
    with pytest.raises(ArgumentError, match="scale_correction must be a number"):
        make(source, kind, scale_correction=[1, 2])
    with pytest.raises(ShapeError, match=r"the target 't2' does not fit 'p2'"):
        getattr(nm, kind)(source("p", (2, 3)), source("t", (2, 4)), print_repr=False)
