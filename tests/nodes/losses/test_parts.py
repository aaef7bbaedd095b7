"""Parts of a Softmax as predictions: whole labels are taken, others refused although their number fits."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import ShapeError

QUIET = {"print_repr": False}
LOSSES = [nm.MultinoulliNLL, nm.BlockedMultinoulliNLL, nm.SoftDice, nm.Focal]


def of_part(source, make, index, position, batch=2):
    probs = nm.Softmax(source("raw", (batch, 6, 5), "b,f,x"), 3, 2, name="probs", **QUIET)
    part = nm.split(probs, "f", index)[position]
    target = nm.Input_like(part, override_f=1, dtype="int16", name="t", **QUIET)
    return make(part, target, target_is_sparse=True, **QUIET)


@pytest.mark.parametrize("make", LOSSES)
@pytest.mark.parametrize("batch", [2, None])
def test_whole_labels(source, make, batch):
    loss = of_part(source, make, [3], 1, batch)
    raw, labels = np.zeros((2, 6, 5), "float32"), np.zeros((2, 1, 5), "int16")
    assert np.isfinite(loss(raw, labels)).all()


@pytest.mark.parametrize("make", LOSSES)
@pytest.mark.parametrize("batch", [2, None])
@pytest.mark.parametrize("index", [[1, 4], [2, 5]])
def test_classes_of_two_labels(source, make, index, batch):
    with pytest.raises(ShapeError, match=rf"whole labels; got f=3, features {index[0]} to .*cuts at multiples of 3"):
        of_part(source, make, index, 1, batch)


def test_classes_of_a_part(source):
    probs = nm.Softmax(source("raw", (2, 6, 5), "b,f,x"), 3, 2, name="probs", **QUIET)
    first, second, _ = nm.split(probs, "f", [3, 5])
    assert nm.Classification(first, **QUIET).shape["f"] == 1
    with pytest.raises(ShapeError, match=r"whole labels; got f=2"):
        nm.Classification(second, **QUIET)


def test_part_of_a_part_along_another_axis(source):
    probs = nm.Softmax(source("raw", (2, 6, 5), "b,f,x"), 3, 2, name="probs", **QUIET)
    part = nm.split(nm.split(probs, "x", [2])[1], "f", [2])[1]
    target = nm.Input_like(part, override_f=1, dtype="int16", name="t", **QUIET)
    with pytest.raises(ShapeError, match="whole labels; got f=4"):
        nm.SoftDice(part, target, target_is_sparse=True, **QUIET)
