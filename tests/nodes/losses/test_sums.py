"""DiceCE and DiceFocal: the sum of their parts, bad inputs, files."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import ArgumentError

QUIET = {"print_repr": False}
RNG = np.random.default_rng(0)
SHAPE = (2, 3, 4)
RAW = 3 * RNG.normal(size=SHAPE)
LABELS = RNG.integers(-1, 3, (2, 1, 4))


@pytest.fixture
def net(float64, source):
    """Return a Softmax over 3 classes, and a source of sparse labels."""
    probs = nm.Softmax(source("raw", SHAPE, "b,f,x"), **QUIET)
    return probs, nm.Input_like(probs, override_f=1, name="labels", **QUIET)


@pytest.mark.parametrize("weights", [(1, 1), (0.5, 2), (0, 1)])
def test_sums(net, weights):
    ce, focal = (nm.Focal(*net, g, target_is_sparse=True, **QUIET)(RAW, LABELS).mean() for g in (0, 2))
    options = {"include_background": False, "squared": True, "per_image": True, "smooth": 0.1}
    dice = float(nm.SoftDice(*net, target_is_sparse=True, **options, **QUIET)(RAW, LABELS))
    both = nm.DiceCE(*net, *weights, target_is_sparse=True, **options, **QUIET)
    assert float(both(RAW, LABELS)) == pytest.approx(weights[0] * ce + weights[1] * dice)
    both = nm.DiceFocal(*net, 2.0, None, *weights, target_is_sparse=True, **options, **QUIET)
    assert float(both(RAW, LABELS)) == pytest.approx(weights[0] * focal + weights[1] * dice)


@pytest.mark.parametrize("make", [nm.DiceCE, nm.DiceFocal])
def test_sums_with_bad_arguments_add_no_node(fresh_model, net, make):
    before = list(fresh_model.nodes)
    for bad in ({"dice_weight": -1}, {"smooth": 0}, {"class_weights": [1]}):
        with pytest.raises(ArgumentError):
            make(*net, target_is_sparse=True, **bad, **QUIET)
    assert list(fresh_model.nodes) == before


@pytest.mark.parametrize("make", [nm.DiceCE, nm.DiceFocal])
def test_saved_and_loaded(fresh_model, net, tmp_path, make):
    node = make(*net, target_is_sparse=True, class_weights=[1, 2, 3], name="loss", **QUIET)
    expected = node(RAW, LABELS)
    fresh_model.save(tmp_path / "a.h5")
    np.testing.assert_array_equal(nm.modelload(tmp_path / "a.h5")["loss"](RAW, LABELS), expected)
