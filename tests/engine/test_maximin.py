"""Pairs of voxels per edge: against joining components one edge at a time, ties, borders, operands that do not fit."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromancer import engine as E
from neuromancer.engine.common.maximin import edge_ids, inside, pair_counts
from neuromancer.errors import InputTypeError, ShapeError


def joined(affinity, labels, offsets, same, allowed=None):
    """Join components in descending order of affinity, counting the pairs of voxels that every edge joins."""
    edges = [
        (-affinity[(k, *v)], k, v)
        for k, offset in enumerate(offsets)
        for v in np.ndindex(labels.shape)
        if all(0 <= a + o < n for a, o, n in zip(v, offset, labels.shape, strict=True))
        and (allowed is None or allowed[(k, *v)])
    ]
    members = {v: [v] for v in np.ndindex(labels.shape)}
    counts = np.zeros(affinity.shape, np.int64)
    for _, k, v in sorted(edges):
        a, b = members[v], members[tuple(np.add(v, offsets[k]))]
        if a is b:
            continue
        counts[(k, *v)] = sum(
            labels[i] > 0 and labels[j] > 0 and (labels[i] == labels[j]) == same for i, j in product(a, b)
        )
        a += b
        for moved in b:
            members[moved] = a
    return counts


@st.composite
def volumes(draw):
    """Draw affinities with many ties, labels, a neighbourhood, and which edges exist."""
    ndim = draw(st.integers(1, 3))
    shape = draw(st.tuples(*[st.integers(1, (9, 4, 3)[ndim - 1])] * ndim))
    offset = st.tuples(*[st.integers(-2, 2)] * ndim).filter(any)
    offsets = draw(st.lists(offset, min_size=1, max_size=3))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    affinity = rng.integers(0, draw(st.integers(1, 6)), (len(offsets), *shape)) / 8
    labels = rng.integers(-1, draw(st.integers(1, 40)), shape)
    return affinity, labels, offsets, rng.random(affinity.shape) < 0.7


@settings(max_examples=25, deadline=None)
@given(volumes(), st.booleans(), st.booleans())
def test_every_edge_counts_the_pairs_that_it_joins(volume, same, restrict) -> None:
    affinity, labels, offsets, exists = volume
    allowed = exists if restrict else None
    found = pair_counts(affinity, labels, offsets, same, allowed)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, joined(affinity, labels, offsets, same, allowed))


def test_of_equal_edges_the_first_joins() -> None:
    counts = pair_counts(np.ones((2, 3)), np.ones(3, int), [[1], [-1]], True)
    assert counts.tolist() == [[1, 2, 0], [0, 0, 0]]


@pytest.mark.parametrize("dtype", ["int8", "int64", "uint8", "uint64"])
def test_the_numbers_of_labels_do_not_matter(dtype) -> None:
    affinity = np.random.default_rng(0).random((1, 7))
    small, large = np.array([1, 2, 0, 2, 1, 1, 2]), np.iinfo(dtype).max
    labels = np.array([0, large, 3], dtype)[small]
    for same in (True, False):
        np.testing.assert_array_equal(
            pair_counts(affinity, labels, [[1]], same), pair_counts(affinity, small, [[1]], same)
        )


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(-6, 6)), min_size=1, max_size=3))
def test_inside_are_the_voxels_with_a_neighbour(axes) -> None:
    shape, offset = zip(*axes, strict=True)
    found = np.zeros(shape, bool)
    found[inside(shape, offset)] = True
    for v in np.ndindex(shape):
        assert found[v] == all(0 <= a + o < n for a, o, n in zip(v, offset, shape, strict=True))
    ids = edge_ids(shape, [offset, [0] * len(shape)])
    assert ids.dtype == np.int64
    assert ids.tolist() == [*np.flatnonzero(found), *range(found.size, 2 * found.size)]


def test_no_edges() -> None:
    assert edge_ids((3, 4), []).shape == (0,)
    assert pair_counts(np.zeros((0, 3)), np.ones(3, int), [], True).shape == (0, 3)
    assert not pair_counts(np.ones((1, 2)), np.ones(2, int), [[5]], True).any()


# ---- as an operation
def operands(spatial=(4, 5), edges=2, dtype="int64", batch=1):
    return [
        E.tensor("affinity", (batch, edges, *(None,) * len(spatial)), "float32"),
        E.tensor("target", (batch, edges, *(None,) * len(spatial)), "float32"),
        E.tensor("labels", (batch, 1, *(None,) * len(spatial)), dtype),
    ]


OFFSETS = [[-1, 0], [0, -1]]


@pytest.mark.parametrize("unrestricted", [True, False])
def test_restricted_counts_take_the_edges_of_the_target_as_connected(unrestricted) -> None:
    rng = np.random.default_rng(3)
    affinity, target = rng.random((1, 2, 4, 5), "float32"), rng.integers(0, 2, (1, 2, 4, 5)).astype("float32")
    labels = rng.integers(0, 4, (1, 1, 4, 5))
    x = operands()
    same, different = E.function(x, E.maximin_pairs(*x, OFFSETS, unrestricted))(affinity, target, labels)
    a, t, seg = affinity[0], target[0], labels[0, 0]
    np.testing.assert_array_equal(same[0], joined(np.minimum(a, t), seg, OFFSETS, True, t > 0))
    wrong = a if unrestricted else np.maximum(a, t)
    np.testing.assert_array_equal(different[0], joined(wrong, seg, OFFSETS, False))
    assert same.dtype == different.dtype == "int64"


def test_counts_are_unrestricted_by_default_and_constant_to_gradients() -> None:
    x = operands()
    default, given_ = E.maximin_pairs(*x, OFFSETS), E.maximin_pairs(*x, OFFSETS, True)
    rng = np.random.default_rng(0)
    arrays = rng.random((1, 2, 4, 5)), np.ones((1, 2, 4, 5)), rng.integers(0, 3, (1, 1, 4, 5))
    for a, b in zip(E.function(x, default)(*arrays), E.function(x, given_)(*arrays), strict=True):
        np.testing.assert_array_equal(a, b)
    cost = (x[0] * default[0]).sum()
    gradient = E.grad(cost, x[:1])[0]
    np.testing.assert_array_equal(*E.function(x, [gradient, default[0].astype("float32")])(*arrays))
    assert E.grad(default[1].sum().astype("float32"), x[:1]) == [None]


def test_labels_must_be_integers_and_all_operands_have_the_axes_of_the_neighbourhood() -> None:
    for dtype in ("float32", "bool"):
        x = operands(dtype=dtype)
        with pytest.raises(InputTypeError) as wrong_dtype:
            E.maximin_pairs(*x, OFFSETS)
        assert wrong_dtype.value.got == dtype
    for k, name in enumerate(("affinity", "target", "labels")):
        x = operands()
        x[k] = x[k].sum(axis=3)
        with pytest.raises(ShapeError) as wrong_rank:
            E.maximin_pairs(*x, OFFSETS)
        assert name in wrong_rank.value.problem and (wrong_rank.value.got, wrong_rank.value.expected) == (3, 4)


@pytest.mark.parametrize(
    "shapes",
    [
        [(1, 2, 4, 5), (1, 2, 4, 5), (1, 1, 4, 6)],
        [(1, 2, 4, 5), (1, 2, 5, 4), (1, 1, 4, 5)],
        [(1, 3, 4, 5), (1, 3, 4, 5), (1, 1, 4, 5)],
        [(2, 2, 4, 5), (2, 2, 4, 5), (2, 1, 4, 5)],
        [(1, 2, 4, 5), (1, 2, 4, 5), (1, 2, 4, 5)],
    ],
    ids=["labels", "target", "edges", "batch", "label channels"],
)
def test_sizes_that_do_not_fit_are_reported(shapes) -> None:
    x = [E.tensor(name, (None,) * 4, dtype) for name, dtype in (("a", "float32"), ("t", "float32"), ("l", "int32"))]
    f = E.function(x, E.maximin_pairs(*x, OFFSETS))
    with pytest.raises(ShapeError) as caught:
        f(*(np.ones(s) for s in shapes[:2]), np.ones(shapes[2], "int32"))
    assert all(str(s) in str(caught.value) for s in shapes)
