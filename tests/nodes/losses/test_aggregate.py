"""AggregateLoss: value, weights, gradients, bad inputs."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import ArgumentError, InputTypeError

RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(4, 3)).astype("float32"), RNG.normal(size=(2, 5)).astype("float32")


@pytest.fixture
def parts(source):
    return [source("a", (4, 3)), source("b", (2, 5))]


@pytest.mark.parametrize("weights", [None, [0.7, 0.3], (2, 0)])
def test_value_is_the_mean_of_weighted_means(parts, weights):
    node = nm.AggregateLoss(parts, weights, print_repr=False)
    w = [1, 1] if weights is None else weights
    result = node(A, B)
    assert np.shape(result) == ()
    assert float(result) == pytest.approx((w[0] * A.mean() + w[1] * B.mean()) / 2, rel=1e-5)
    assert (node.shape.shape, node.shape.tags, node.computational_cost) == ([1], ["f"], 22)


def test_single_loss(parts):
    assert float(nm.AggregateLoss(parts[0], print_repr=False)(A)) == pytest.approx(A.mean(), rel=1e-5)


def test_weights_are_changeable_but_not_trained(parts):
    node = nm.AggregateLoss(parts, print_repr=False)
    node.set_param_values({"mixing_weights": [0, 4]})
    assert float(node(A, B)) == pytest.approx(2 * B.mean(), rel=1e-5)
    assert list(node.all_params) == ["total_loss_mixing_weights"]
    assert not node.all_trainable_params


def test_losses_can_be_nested(parts):
    inner = nm.AggregateLoss(parts[0], print_repr=False)
    node = nm.AggregateLoss([inner, parts[1]], print_repr=False)
    assert float(node(A, B)) == pytest.approx((A.mean() + B.mean()) / 2, rel=1e-5)


def test_gradient(float64, source, check_gradient):
    node = nm.AggregateLoss([source("p", (4, 3)), source("q", (2, 5))], [0.7, 0.3], print_repr=False)
    check_gradient(node, [A, B], wrt=(0, 1))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, 2, 3], "wrong number of mixing weights; got 3 ([1, 2, 3]); expected 2"),
        ([1, np.nan], "mixing weights must be finite"),
        ("ab", "mixing weights must be numbers"),
    ],
)
def test_bad_weights(parts, weights, message):
    with pytest.raises(ArgumentError) as caught:
        nm.AggregateLoss(parts, weights, print_repr=False)
    assert message in str(caught.value)


def test_bad_components(parts):
    with pytest.raises(InputTypeError, match="every component must be a node; got int 3"):
        nm.AggregateLoss([parts[0], 3], print_repr=False)
    with pytest.raises(InputTypeError, match="needs at least one loss"):
        nm.AggregateLoss([], print_repr=False)


def test_nan_is_refused_by_name(parts):
    node = nm.AggregateLoss(parts, print_repr=False)
    with pytest.raises(
        ArgumentError, match="AggregateLoss 'total_loss': parameter 'mixing_weights' would not be finite"
    ):
        node.set_param_values({"mixing_weights": [1, np.nan]})
