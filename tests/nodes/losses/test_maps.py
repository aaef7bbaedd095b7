"""Signed distances and gap weights against brute force, and bad inputs."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import ArgumentError, InputTypeError, OutOfMemoryError, ShapeError

RNG = np.random.default_rng(0)


def distances(shape, members, spacing=1.0):
    """Return the distance of every voxel to the nearest of the member voxels."""
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) * spacing
    points = grid[members]
    return np.linalg.norm(grid[..., None, :] - points, axis=-1).min(-1)


@pytest.mark.parametrize("shape", [(9,), (6, 7), (4, 5, 3)])
@pytest.mark.parametrize("sampling", [1.0, 2.5, "each"])
def test_signed_distance(shape, sampling):
    spacing = np.array([3.0, 1, 1.5][: len(shape)]) if sampling == "each" else np.full(len(shape), sampling)
    labels = RNG.integers(-1, 3, shape)
    found = nm.signed_distance(labels, 4, spacing.tolist() if sampling == "each" else sampling)
    assert found.shape == (4, *shape) and found.dtype == np.float32
    for k in range(3):
        inside = labels == k
        outer, inner = distances(shape, inside, spacing), distances(shape, ~inside, spacing)
        expected = np.where(inside, -(inner - spacing.min()), outer)
        np.testing.assert_allclose(found[k], expected, rtol=1e-6, atol=1e-6)
    assert not found[3].any()  # missing
    assert not nm.signed_distance(np.zeros(shape, "uint8"), 1).any()  # everywhere


def brute(labels, w0, sigma):
    ids = [k for k in np.unique(labels) if k > 0]
    each = np.sort([distances(labels.shape, labels == k) for k in ids], axis=0)
    gaps = w0 * np.exp(-((each[0] + each[1]) ** 2) / (2 * sigma**2)) if len(ids) > 1 else 0
    return np.where(labels > 0, 1, 1 + gaps)


@pytest.mark.parametrize("shape", [(30,), (14, 15), (7, 6, 8)])
@pytest.mark.parametrize("sigma", [0.5, 2.0])
def test_gap_weights(shape, sigma):
    labels = RNG.choice([-1, 0, 0, 0, 0, 3, 10**9, 7], shape)
    found = nm.unet_weights(labels, 8.0, sigma)
    np.testing.assert_allclose(found, brute(labels, 8.0, sigma), rtol=1e-6)


def test_weights_of_classes_and_few_objects():
    one = np.array([[0, 0], [5, 0]])
    assert nm.unet_weights(one, class_weights=(0.5, 2)).tolist() == [[0.5, 0.5], [2, 0.5]]
    assert (nm.unet_weights(np.zeros((3, 3), int)) == 1).all()


@pytest.mark.parametrize("function", [lambda x: nm.signed_distance(x, 2), nm.unet_weights])
@pytest.mark.parametrize(
    ("labels", "error"),
    [
        ([[0.5]], InputTypeError),
        (["a"], InputTypeError),
        ([[1], [1, 2]], InputTypeError),
        (1, ShapeError),
        (np.zeros((2, 2, 2, 2), int), ShapeError),
        (np.zeros((0, 3), int), ShapeError),
    ],
)
def test_bad_labels(function, labels, error):
    with pytest.raises(error):
        function(labels)


@pytest.mark.parametrize(
    ("n_class", "sampling", "message"),
    [
        (1, 1, "labels are not classes; got 1"),
        (0, 1, "n_class must be a positive integer"),
        (2.0, 1, "n_class must be a positive integer"),
        (2, 0, "sampling must be the size of a voxel"),
        (2, [1, 2], "sampling must be the size of a voxel"),
        (2, "a", "sampling must be the size of a voxel"),
    ],
)
def test_bad_arguments_of_distances(n_class, sampling, message):
    with pytest.raises(ArgumentError, match=message):
        nm.signed_distance([0, 1], n_class, sampling)


@pytest.mark.parametrize(
    "kwargs",
    [{"w0": -1}, {"w0": "a"}, {"sigma": 0}, {"sigma": np.nan}, {"class_weights": 1}, {"class_weights": (1, -1)}],
)
def test_bad_arguments_of_weights(kwargs):
    with pytest.raises(ArgumentError):
        nm.unet_weights([0, 1], **kwargs)


def test_numbers_that_do_not_fit():
    with pytest.raises(ArgumentError, match=r"labels.*int64"):
        nm.signed_distance([1e30, 0], 2)
    with pytest.raises(OutOfMemoryError, match="n_class=1000000000000000000"):
        nm.signed_distance([0, 1], 10**18)
    with pytest.raises(ArgumentError, match=r"w0 is out of range.*finite in float32"):
        nm.unet_weights([1, 0, 2], w0=1e300)
    np.testing.assert_allclose(nm.unet_weights([1, 0, 2], sigma=1e30), [1, 11, 1])
