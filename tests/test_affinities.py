"""Neighbourhoods, affinities, connected components and the comparison of segmentations."""

from __future__ import annotations

import numpy as np
import pytest

from neuromancer.affinities import (
    affinities_from_segmentation,
    neighbourhood,
    rand_statistics,
    segmentation_from_affinities,
)
from neuromancer.errors import ArgumentError, InputTypeError, ShapeError


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("radius", [1, 1.5, 2.3])
def test_neighbourhood_has_one_edge_per_pair(ndim, radius):
    offsets = [tuple(o) for o in neighbourhood(ndim, radius)]
    both = {*offsets, *(tuple(-i for i in o) for o in offsets)}
    reach = np.stack(np.meshgrid(*[np.arange(-3, 4)] * ndim), -1).reshape(-1, ndim)
    norms = (reach**2).sum(1)
    assert len(both) == 2 * len(offsets) == ((norms <= radius**2) & (norms > 0)).sum()
    assert [tuple(o) for o in neighbourhood(ndim)] == offsets[:ndim] == [tuple(o) for o in -np.eye(ndim, dtype=int)]


@pytest.mark.parametrize("shape", [(30,), (7, 9), (4, 5, 6)])
def test_affinities_and_back(shape):
    rng, nhood = np.random.default_rng(0), neighbourhood(len(shape))
    seg = rng.integers(0, 3, shape)
    aff = affinities_from_segmentation(seg, nhood)
    assert aff.dtype == "uint8" and aff.shape == (len(shape), *shape)
    for k, offset in enumerate(nhood):
        for start in np.ndindex(shape):
            end = tuple(np.add(start, offset))
            expected = min(end) >= 0 and seg[start] == seg[end] > 0
            assert aff[(k, *start)] == expected
    found = segmentation_from_affinities(aff, nhood, min_size=1)
    assert len(np.unique(np.stack([found, seg]).reshape(2, -1), axis=1).T) == found.max()
    for k, offset in enumerate(nhood):
        for start in zip(*np.nonzero(aff[k]), strict=True):
            assert found[start] == found[tuple(np.add(start, offset))]
    again = affinities_from_segmentation(segmentation_from_affinities(aff, nhood), nhood)
    assert (again >= aff).all() and (again[aff > 0] == 1).all()


def test_small_components_and_thresholds():
    aff = np.array([[0.0, 0.9, 0.4, 0.6, 0.7]])
    assert segmentation_from_affinities(aff, [[-1]]).tolist() == [1, 1, 2, 2, 2]
    assert segmentation_from_affinities(aff, [[-1]], min_size=3).tolist() == [0, 0, 1, 1, 1]
    assert segmentation_from_affinities(aff, [[-1]], threshold=0.65).tolist() == [1, 1, 0, 2, 2]
    assert segmentation_from_affinities(aff, [[-1]], threshold=0.95).tolist() == [0] * 5


def test_rand_statistics_by_brute_force():
    rng = np.random.default_rng(0)
    for _ in range(5):
        seg, truth = rng.integers(0, 4, (5, 6)), rng.integers(0, 4, (5, 6))
        pairs = splits = merges = 0
        a, b = seg.ravel(), truth.ravel()
        for i in range(30):
            for j in range(i):
                if b[i] > 0 and b[j] > 0:
                    together = a[i] == a[j] > 0
                    pairs += 1
                    splits += b[i] == b[j] and not together
                    merges += b[i] != b[j] and together
        got = rand_statistics(seg, truth)
        assert (got.false_splits, got.false_merges) == (splits, merges)
        assert got.rand_index == pytest.approx(1 - (splits + merges) / pairs)
    assert rand_statistics(np.ones(3, int), np.zeros(3, int)) == (1.0, 0, 0)


def test_errors():
    with pytest.raises(ArgumentError, match="1, 2 or 3"):
        neighbourhood(4)
    with pytest.raises(ArgumentError, match="radius"):
        neighbourhood(2, 0.5)
    for bad in ([[0, 0]], [[1, 0], [1, 0]], [1, 2], [[0.5, 0]], [], "x", [[1], [1, 2]], [[1, 2, 3]]):
        with pytest.raises(ArgumentError, match=r"invalid neighbourhood.*nearest valid: neighbourhood\(2\)"):
            affinities_from_segmentation(np.ones((2, 2), int), bad)
    with pytest.raises(InputTypeError, match="float64"):
        affinities_from_segmentation(np.ones((2, 2)), [[1, 0]])
    with pytest.raises(ShapeError, match="affinities and neighbourhood differ"):
        segmentation_from_affinities(np.ones((3, 2, 2)), [[1, 0]])
    with pytest.raises(ShapeError, match="differ in shape"):
        rand_statistics([1, 2], [1, 2, 3])


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"threshold": "a"}, ArgumentError),
        ({"threshold": None}, ArgumentError),
        ({"threshold": True}, ArgumentError),
        ({"min_size": 1.5}, ArgumentError),
        ({"min_size": None}, ArgumentError),
        ({"aff": [["a", "b"]]}, InputTypeError),
        ({"aff": [[1, 2], [3]]}, InputTypeError),
        ({"aff": np.ones((1, 3)) * 1j}, InputTypeError),
        ({"aff": np.ones(3)}, ShapeError),
        ({"aff": np.ones((1, 2, 2, 2, 2))}, ShapeError),
        ({"nhood": [[1, 0]]}, ArgumentError),
    ],
)
def test_what_cannot_be_segmented(given, error):
    with pytest.raises(error) as caught:
        segmentation_from_affinities(**({"aff": np.ones((1, 3)), "nhood": [[-1]]} | given))
    assert caught.value.node == "segmentation_from_affinities"


@pytest.mark.parametrize("ndim", [0, 4, 3.0, True, "3", None, [3], np.array([1, 2])])
def test_the_number_of_axes_is_an_integer(ndim):
    with pytest.raises(ArgumentError, match="'neighbourhood'"):
        neighbourhood(ndim)


@pytest.mark.parametrize("radius", [0.99, 100, np.nan, np.inf, -1, "1", None, True, [1]])
def test_a_radius_is_a_moderate_number(radius):
    with pytest.raises(ArgumentError, match="'neighbourhood'"):
        neighbourhood(2, radius)


def test_labels_are_integers():
    for bad in ([[1], [1, 2]], [1.0, 2.0], ["a"], [True, False], None):
        for given in ((bad, [1, 2]), ([1, 2], bad)):
            with pytest.raises(InputTypeError, match="'rand_statistics'"):
                rand_statistics(*given)
        with pytest.raises(InputTypeError, match="'affinities_from_segmentation'"):
            affinities_from_segmentation(bad, [[1]])


def test_edges_longer_than_the_volume_and_empty_volumes():
    seg = np.ones((2, 3), int)
    assert not affinities_from_segmentation(seg, [[5, 0], [0, -3], [-2, 2]]).any()
    assert affinities_from_segmentation(seg, [[0, 2]]).tolist() == [[[1, 0, 0], [1, 0, 0]]]
    assert affinities_from_segmentation(np.ones((0, 3), int), [[1, 0]]).shape == (1, 0, 3)
    assert segmentation_from_affinities(np.ones((1, 2, 3)), [[5, 0]], min_size=1).tolist() == [[1, 2, 3], [4, 5, 6]]
    assert segmentation_from_affinities(np.ones((1, 0)), [[1]]).shape == (0,)
    assert rand_statistics(np.ones(0, int), np.ones(0, int)) == (1.0, 0, 0)


def test_unusual_affinities_do_not_join():
    aff = [[np.nan, 0.5, np.inf, -np.inf, 0.5000001]]
    assert segmentation_from_affinities(aff, [[-1]]).tolist() == [0, 1, 1, 2, 2]
    assert segmentation_from_affinities(aff, [[-1]]).dtype == "int64"
