"""Deep supervision: labels at the positions of other grids, weights of scales, bad inputs, files."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import ArgumentError, InputTypeError, ShapeError

QUIET = {"print_repr": False}


def grid(shape):
    """Return the raw positions of a shape's voxels along each axis."""
    return [
        [o + Fraction(s) * i for i in range(n)]
        for o, s, n in zip(shape.offsets, shape.strides, shape.spatial_shape, strict=True)
    ]


def nearest(target, ref):
    """Return the indices of the labels nearest to the voxels of ref, found by comparing positions."""
    found = []
    for own, step, wanted in zip(grid(target), target.strides, grid(ref), strict=True):
        found.append([floor((w - own[0]) / Fraction(step) + Fraction(1, 2)) for w in wanted])
        for k, w in zip(found[-1], wanted, strict=True):
            assert abs(own[k] - w) == min(abs(o - w) for o in own)
    return found


def checked(labels, ref):
    """Compare LabelsAt with raw positions, and return it."""
    node = nm.LabelsAt(labels, ref, **QUIET)
    values = np.arange(np.prod(labels.shape.shape)).reshape(labels.shape.shape)
    indices = nearest(labels.shape, ref.shape)
    expected = values[np.ix_(*[range(n) for n in values.shape[: -len(indices)]], *indices)]
    np.testing.assert_array_equal(node(values), expected)
    np.testing.assert_array_equal(node.rearranged([values]), expected)
    assert node.shape.spatial_shape == ref.shape.spatial_shape == list(expected.shape[-len(indices) :])
    assert node.shape.offsets == ref.shape.offsets and node.shape.strides.tolist() == ref.shape.strides.tolist()
    return node


def test_all_scales_of_a_network(source):
    image = source("image", (1, 1, 30, 26), "b,f,y,x")
    labels = source("labels", (1, 1, 30, 26), "b,f,y,x", "int32")
    first = nm.Conv(image, 2, (3, 3), (2, 2), **QUIET)
    second = nm.Conv(first, 2, (3, 3), (2, 1), **QUIET)
    up = nm.UpConv(second, 2, (2, 1), **QUIET)
    padded = nm.Conv(image, 2, (3, 3), stride=2, padding=1, **QUIET)
    for ref in (first, second, up, padded, nm.Crop(image, (3, 2), **QUIET)):
        checked(labels, ref)


def test_labels_on_the_grid_of_the_finest_prediction(source):
    image = source("image", (1, 1, 39), "b,f,x")
    fine = nm.Conv(image, 2, (3,), **QUIET)
    coarse = nm.Conv(nm.Conv(fine, 2, (2,), (2,), **QUIET), 2, (1,), (2,), **QUIET)
    labels = nm.Input_like(fine, override_f=1, dtype="int32", name="labels", **QUIET)
    checked(labels, coarse)


def test_grids_finer_than_the_labels(source):
    image = source("image", (1, 1, 12), "b,f,x")
    labels = source("labels", (1, 1, 12), "b,f,x", "int32")
    checked(labels, nm.Crop(nm.Upsample(image, 2, **QUIET), (1,), **QUIET))


def test_the_axes_of_the_labels_stay(source):
    ref = nm.Conv(source("image", (None, 1, 9), "b,f,x"), 5, (2,), (2,), **QUIET)
    node = nm.LabelsAt(source("labels", (None, 9), "b,x", "int32"), ref, **QUIET)
    assert node.shape.tags == ["b", "x"] and node(np.arange(18).reshape(2, 9)).tolist() == [
        [1, 3, 5, 7],
        [10, 12, 14, 16],
    ]


def test_labels_are_checked_through_it(source):
    probs = nm.Softmax(
        nm.Conv(source("image", (1, 1, 9), "b,f,x"), 2, (2,), (2,), activation_func="lin", **QUIET), **QUIET
    )
    at = nm.LabelsAt(source("labels", (1, 1, 9), "b,f,x"), probs, **QUIET)
    loss = nm.MultinoulliNLL(probs, at, True, **QUIET)
    image, labels = np.zeros((1, 1, 9), "float32"), np.zeros((1, 1, 9))
    labels[..., 0] = 9  # not selected
    assert loss(image, labels).shape == (1, 1, 4)
    labels[..., 1] = 9
    with pytest.raises(ArgumentError, match=r"got \[9.0\] \(1 of 4 labels\)"):
        loss(image, labels)


def test_bad_grids(source):
    image = source("image", (1, 1, 9, 9), "b,f,y,x")
    conv = nm.Conv(image, 2, (3, 3), **QUIET)
    with pytest.raises(
        ShapeError, match="ref reaches beyond the labels; got positions -1 to 7 of 7 labels on axis 'y'"
    ):
        nm.LabelsAt(nm.Input_like(conv, override_f=1, name="l", **QUIET), image, **QUIET)
    with pytest.raises(ShapeError, match="the same spatial axes"):
        nm.LabelsAt(source("line", (1, 1, 9), "b,f,x"), conv, **QUIET)
    with pytest.raises(ShapeError, match="known spatial sizes"):
        nm.LabelsAt(source("free", (1, 1, None, 9), "b,f,y,x"), conv, **QUIET)
    fragments = nm.Conv(source("raw", (1, 1, 9, 9), "b,f,y,x"), 2, (1, 1), (2, 2), mfp=True, **QUIET)
    with pytest.raises(ShapeError, match="without fragments"):
        nm.LabelsAt(image, fragments, **QUIET)
    with pytest.raises(InputTypeError, match="ref must be a node"):
        nm.LabelsAt(image, 3, **QUIET)


# ---- the sum
@pytest.mark.parametrize(("weights", "shares"), [(None, [4 / 7, 2 / 7, 1 / 7]), ([3, 0, 1], [0.75, 0, 0.25])])
def test_weights(source, weights, shares):
    losses = [source(f"l{n}", (n, 1)) for n in (4, 2, 1)]
    node = nm.DeepSupervision(losses, weights, **QUIET)
    values = [np.full((n, 1), 10.0**n, "float32") for n in (4, 2, 1)]
    assert float(node(*values)) == pytest.approx(np.dot(shares, [1e4, 1e2, 1e1]), rel=1e-6)


@pytest.mark.parametrize("weights", [[1], [1, -1], [0, 0], [1, np.nan], "ab"])
def test_bad_weights(fresh_model, source, weights):
    losses = [source("a", (1, 1)), source("b", (1, 1))]
    with pytest.raises(ArgumentError, match="weights"):
        nm.DeepSupervision(losses, weights, **QUIET)
    assert list(fresh_model.nodes) == ["a", "b"]


@pytest.mark.parametrize("losses", [[], None, [1]])
def test_bad_losses(losses):
    with pytest.raises(InputTypeError):
        nm.DeepSupervision(losses, **QUIET)


def test_training_saving_and_loading(fresh_model, source, tmp_path):
    image = source("raw", (2, 1, 17), "b,f,x")
    fine = nm.Conv(image, 2, (3,), activation_func="lin", **QUIET)
    coarse = nm.Conv(fine, 2, (2,), (2,), activation_func="lin", **QUIET)
    scales = [nm.Softmax(n, **QUIET) for n in (fine, coarse)]
    target = nm.Input_like(scales[0], override_f=1, dtype="int16", name="target", **QUIET)
    losses = [nm.DiceCE(p, nm.LabelsAt(target, p, **QUIET), target_is_sparse=True, **QUIET) for p in scales]
    loss = nm.DeepSupervision(losses, name="loss", **QUIET)
    fresh_model.designate_nodes("raw", target, loss, scales[0])
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 1, 17)).astype("float32")
    y = (x[:, :, 1:-1] > 0).astype("int16")
    fresh_model.set_opt_meta_params("Adam", {"lr": 0.1, "mom": 0.9})
    steps = [float(fresh_model.trainingstep(x, y, optimiser="Adam")[0]) for _ in range(30)]
    assert steps[-1] < 0.7 * steps[0]
    expected = loss(x, y)
    fresh_model.save(tmp_path / "a.h5")
    np.testing.assert_allclose(nm.modelload(tmp_path / "a.h5")["loss"](x, y), expected, rtol=1e-6)
