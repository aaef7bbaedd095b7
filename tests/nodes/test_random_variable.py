"""GaussianRV and its prior: moments, sample axis, seeds, gradients."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer import engine as E
from neuromancer.errors import ArgumentError, ShapeError


def pair(shape=(4, 3), tags="b,f"):
    return [nm.Input(shape, tags, name=n, print_repr=False) for n in ("mu", "log_sig")]


def data(shape=(4, 3), mu=2.0, sig=0.5):
    return np.full(shape, mu, "float32"), np.full(shape, np.log(sig), "float32")


def test_one_sample_has_the_shape_of_the_mean():
    node = nm.GaussianRV(*pair(), print_repr=False)
    assert node.shape.shape == [4, 3]
    assert node(*data()).shape == (4, 3)
    assert node.computational_cost == 12


def test_samples_stand_on_an_axis_of_their_own_right_of_b():
    node = nm.GaussianRV(*pair(), n_samples=2000, print_repr=False)
    assert node.shape.tags == ["b", "s", "f"]
    assert node.computational_cost == 24000
    values = node(*data())
    assert values.shape == (4, 2000, 3)
    np.testing.assert_allclose(values.mean(1), 2.0, atol=0.08)
    np.testing.assert_allclose(values.std(1), 0.5, atol=0.08)


def test_every_call_draws_anew_and_seeds_repeat():
    nodes = [nm.GaussianRV(*pair(), seed=s, print_repr=False) for s in (5, 5, 6)]
    first, same, other = (n(*data()) for n in nodes)
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, nodes[0](*data()))


def test_the_package_seed_repeats_too():
    runs = []
    for _ in range(2):
        nm.seed(7)
        runs.append(nm.GaussianRV(*pair(), print_repr=False)(*data()))
    nm.seed(None)
    np.testing.assert_array_equal(*runs)


def test_nodes_made_one_after_another_differ():
    a, b = (nm.GaussianRV(*pair(), print_repr=False)(*data()) for _ in range(2))
    assert not np.array_equal(a, b)


def test_gradient_reaches_mean_and_deviation():
    node = nm.GaussianRV(*pair(), seed=1, print_repr=False)
    grads = E.grad(node.output.sum(), node.input_tensors)
    value, d_mu, d_log = E.function(node.input_tensors, [node.output, *grads])(*data())
    np.testing.assert_allclose(d_mu, 1)
    np.testing.assert_allclose(d_log, value - 2.0, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("n_samples", [0, 5])
def test_prior_is_the_divergence_from_the_standard_normal(n_samples):
    node = nm.GaussianRV(*pair(), n_samples=n_samples, print_repr=False)
    prior = node.make_priorlayer(print_repr=False)
    rng = np.random.default_rng(0)
    mu, log_sig = rng.normal(size=(2, 4, 3)).astype("float32")
    expected = 0.5 * (mu**2 + np.exp(2 * log_sig) - 1 - 2 * log_sig)
    if n_samples:
        expected = np.repeat(expected[:, None], n_samples, axis=1)
    np.testing.assert_allclose(prior(mu, log_sig), expected, rtol=1e-4, atol=1e-5)
    assert prior.shape == node.shape


def test_refusals():
    mu, log_sig = pair()
    with pytest.raises(ArgumentError, match="n_samples must be a number of samples; got -1"):
        nm.GaussianRV(mu, log_sig, n_samples=-1, print_repr=False)
    other = nm.Input((4, 2), "b,f", name="other", print_repr=False)
    with pytest.raises(ShapeError, match=r"log_sig 'other' does not fit 'mu'; got \[\(4,b\), \(2,f\)\]"):
        nm.GaussianRV(mu, other, print_repr=False)
