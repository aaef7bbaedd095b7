"""MALIS loss: pair counts against brute-force best paths, values, gradients, errors."""

from __future__ import annotations

import re

import numpy as np
import pytest

import neuromancer as nm
from neuromancer import engine as E
from neuromancer.affinities import affinities_from_segmentation, neighbourhood, rand_statistics
from neuromancer.affinities import segmentation_from_affinities as components
from neuromancer.errors import ArgumentError, InputTypeError, ShapeError
from tests.nodes.layers import registered, source

EPS = 1e-5
TAGS = {1: "b,f,x", 2: "b,f,y,x", 3: "b,f,z,y,x"}


def brute_counts(affinity, labels, nhood, same, allowed=None):
    """Count pairs per edge by brute force over maximin paths; all affinities must differ."""
    shape, n = labels.shape, labels.size
    best, edges = np.full((n, n), -np.inf), {}
    for k, offset in enumerate(nhood):
        for here in np.ndindex(shape):
            there = tuple(np.add(here, offset))
            inside = all(0 <= t < s for t, s in zip(there, shape, strict=True))
            if inside and (allowed is None or allowed[(k, *here)]):
                a, b = np.ravel_multi_index(here, shape), np.ravel_multi_index(there, shape)
                best[a, b] = best[b, a] = max(best[a, b], affinity[(k, *here)])
                edges[affinity[(k, *here)]] = (k, *here)
    for m in range(n):
        best = np.maximum(best, np.minimum(best[:, m : m + 1], best[m : m + 1]))
    counts, flat = np.zeros(affinity.shape, "int64"), labels.ravel()
    for i in range(n):
        for j in range(i):
            if flat[i] > 0 and flat[j] > 0 and (flat[i] == flat[j]) == same and best[i, j] > -np.inf:
                counts[edges[best[i, j]]] += 1
    return counts


def example(shape, nhood, seed=0, n_labels=3):
    """Return scores (1, 2n, *), true affinities (1, n, *), segmentation (1, 1, *)."""
    rng = np.random.default_rng(seed)
    seg = rng.integers(0, n_labels + 1, shape)
    aff = affinities_from_segmentation(seg, nhood)
    return rng.normal(size=(1, 2 * len(nhood), *shape)), aff[None].astype("float64"), seg[None, None]


def make(shape, nhood, dtype="int32", seg_shape=None, **kwargs):
    tags, n = TAGS[len(shape)], len(nhood)
    raw = source((1, 2 * n, *shape), tags, name="raw")
    probs = nm.Softmax(raw, 2, n, print_repr=False)
    aff = source((1, n, *shape), tags, name="aff")
    seg = source((1, 1, *shape), tags, dtype=dtype, name="seg")
    return nm.MalisNLL(probs, aff, seg, nhood, print_repr=False, **kwargs)


def expected(raw, aff, seg, nhood, unrestricted=True, weights=(1, 1)):
    e = np.exp(raw.reshape(1, len(nhood), 2, *raw.shape[2:]))
    apart, joined = np.moveaxis((e / e.sum(axis=2, keepdims=True))[0], 1, 0)
    pos = brute_counts(np.where(aff[0] > 0, joined, 0), seg[0, 0], nhood, True, aff[0] > 0)
    # Edges set by the target have equal affinities; ties are broken in the order of their index.
    made = 1 - 1e-9 * np.arange(aff.size).reshape(aff[0].shape)
    neg = brute_counts(joined if unrestricted else np.where(aff[0] > 0, made, joined), seg[0, 0], nhood, False)
    penalty = -(pos * weights[1] * np.log(joined + EPS) + neg * weights[0] * np.log(apart + EPS))
    right = pos.sum() + neg.sum() - pos[joined <= 0.5].sum() - neg[joined > 0.5].sum()
    stats = [pos.sum(), neg.sum(), pos[joined <= 0.5].sum(), neg[joined > 0.5].sum()]
    total = pos.sum() + neg.sum()
    return (penalty * pos.size / (total + EPS))[None], [*stats, right / total]


@pytest.mark.parametrize(
    ("shape", "nhood"),
    [
        ((12,), neighbourhood(1)),
        ((5, 6), neighbourhood(2)),
        ((4, 5), neighbourhood(2, 2.3)),
        ((3, 3, 4), neighbourhood(3)),
        ((3, 4), [[2, 1], [0, -5], [1, 0]]),
    ],
    ids=["1d", "2d", "2d wide", "3d", "odd offsets"],
)
@pytest.mark.parametrize("unrestricted", [True, False])
def test_values_and_counts(shape, nhood, unrestricted):
    nm.config.floatX = "float64"
    node = make(shape, nhood, unrestrict_neg=unrestricted)
    for seed in range(3):
        arrays = example(shape, nhood, seed)
        want, stats = expected(*arrays, nhood, unrestricted)
        np.testing.assert_allclose(node(*arrays), want, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(node.get_debug_outputs(*arrays), stats, rtol=1e-12)
    assert node.shape.shape == list(want.shape) and [n.name for n in node.input_nodes] == ["raw", "aff", "seg"]


def test_counts_of_many_labels_against_brute_force():
    rng, nhood = np.random.default_rng(1), neighbourhood(2)
    seg = rng.permutation(np.repeat(np.arange(20), 4)).reshape(8, 10)
    x = [
        E.tensor(n, (1, k, None, None), t) for n, k, t in (("a", 2, "float64"), ("t", 2, "float64"), ("l", 1, "int64"))
    ]
    affinity = rng.random((2, 8, 10))
    same, different = E.function(x, E.maximin_pairs(*x, nhood.tolist()))(
        affinity[None], np.ones((1, 2, 8, 10)), seg[None, None]
    )
    assert np.array_equal(same[0], brute_counts(affinity, seg, nhood, True))
    assert np.array_equal(different[0], brute_counts(affinity, seg, nhood, False))
    labelled = np.count_nonzero(seg)
    assert same.sum() + different.sum() == labelled * (labelled - 1) // 2


def test_parts_that_the_target_does_not_connect_are_not_drawn_together():
    nm.config.floatX = "float64"
    node = make((5,), [[-1]])
    seg = np.array([[[7, 7, 3, 7, 7]]])
    aff = affinities_from_segmentation(seg[0, 0], [[-1]])[None]
    raw = np.zeros((1, 2, 5))
    raw[0, 1, [1, 4]] = 1  # stronger than across the border
    assert node.get_debug_outputs(raw, aff, seg)[0] == 2
    with_loss = nm.make_func(node.input_tensors, E.grad(node.output.sum(), [node.input_tensors[0]]))
    (slope,) = with_loss(raw, aff, seg)
    assert (slope[0, 1, [2, 3]] > 0).all() and (slope[0, 1, [1, 4]] < 0).all()


def test_gradient_with_weights():
    nm.config.floatX = "float64"
    nhood = neighbourhood(2)
    shape = (4, 5)
    weight = source((1, 1, *shape), "b,f,y,x", name="weight")
    node = make(shape, nhood, class_weights=[2.0, 0.5], example_weights=weight)
    raw, aff, seg = example(shape, nhood)
    factor = np.random.default_rng(3).random((1, 1, *shape))
    plain, _ = expected(raw, aff, seg, nhood, weights=(2.0, 0.5))
    np.testing.assert_allclose(node(raw, aff, seg, factor), plain * factor, rtol=1e-10)
    cost = node.output.sum()
    func = nm.make_func(node.input_tensors, [cost, *E.grad(cost, [node.input_tensors[0]])])
    _, slope = func(raw, aff, seg, factor)
    direction, step = np.random.default_rng(4).normal(size=raw.shape), 1e-6
    ends = [func(raw + s * step * direction, aff, seg, factor)[0] for s in (1, -1)]
    np.testing.assert_allclose((ends[0] - ends[1]) / (2 * step), (slope * direction).sum(), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "float32"])
def test_labels_of_any_dtype_and_extreme_scores(dtype):
    nhood = neighbourhood(2)
    node = make((6, 6), nhood, dtype=dtype)
    raw, aff, seg = example((6, 6), nhood)
    out = node((1e4 * raw).astype("float32"), aff.astype("float32"), seg.astype(dtype))
    assert out.dtype == "float32" and np.isfinite(out).all()


def test_no_objects_give_no_loss():
    node = make((4, 4), neighbourhood(2))
    zeros = np.zeros((1, 2, 4, 4), "float32")
    assert not node(np.ones((1, 4, 4, 4), "float32"), zeros, np.zeros((1, 1, 4, 4), "int32")).any()


def test_layout_with_features_behind_z():
    nm.config.floatX = "float64"
    nhood, shape = neighbourhood(3), (3, 2, 4)
    raw = source((1, 3, 6, 2, 4), "b,z,f,y,x", name="raw")
    aff = source((1, 3, 3, 2, 4), "b,z,f,y,x", name="aff")
    seg = source((1, 3, 2, 4), "b,z,y,x", dtype="int32", name="seg")
    node = nm.MalisNLL(nm.Softmax(raw, 2, 3, print_repr=False), aff, seg, nhood, print_repr=False)
    scores, target, labels = example(shape, nhood)
    want, _ = expected(scores, target, labels, nhood)
    got = node(np.moveaxis(scores, 1, 2), np.moveaxis(target, 1, 2), labels[:, 0])
    np.testing.assert_allclose(np.moveaxis(got, 2, 1), want, rtol=1e-10, atol=1e-12)


def test_learning_mends_a_split_and_a_merge():
    """Create trainable scores with one weak edge inside an object and one strong edge between objects."""
    seg = np.array([[1] * 4 + [2] * 4] * 3)
    nhood = neighbourhood(2)
    aff = affinities_from_segmentation(seg, nhood)
    start = np.stack([np.zeros_like(aff, dtype="float32"), 3.0 * aff - 1.5], axis=1).reshape(1, 4, 3, 8)
    start[0, 3, :, 2], start[0, 3, 1, 4] = -1.5, 1.5
    scores = nm.ValueNode((1, 4, 3, 8), "b,f,y,x", value=start, apply_train=True, print_repr=False)
    probs = nm.Softmax(scores, 2, 2, print_repr=False)
    target = nm.Input((1, 2, 3, 8), "b,f,y,x", name="aff", print_repr=False)
    labels = nm.Input((1, 1, 3, 8), "b,f,y,x", dtype="int32", name="seg", print_repr=False)
    nll = nm.MalisNLL(probs, target, labels, nhood, print_repr=False)
    loss = nm.AggregateLoss([nll], name="loss", print_repr=False)
    model = nm.model_manager.current
    model.designate_nodes(None, loss_node=loss, prediction_node=probs, debug_outputs=[nll])
    model.lr = 0.3
    arrays = aff[None].astype("float32"), seg[None, None].astype("int32")
    before = rand_statistics(components(probs()[0, 1::2], nhood), seg)
    assert before.false_merges > 0 and nll.get_debug_outputs(*arrays)[3] == before.false_merges
    for _ in range(80):
        model.trainingstep(*arrays)
    assert rand_statistics(components(probs()[0, 1::2], nhood), seg).rand_index == 1
    assert nll.get_debug_outputs(*arrays)[4] == 1


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"batch": 2}, ShapeError, r"only one volume.*got batch size 2; expected 1"),
        ({"nhood": [[-1, 0, 0]]}, ArgumentError, r"invalid neighbourhood.*nearest valid: neighbourhood\(2\)"),
        ({"nhood": [[-1, 0]]}, ShapeError, r"two features per edge.*got f=4 for 1 edges; expected f=2"),
        ({"nhood": [[-1, 0], [0, 0]]}, ArgumentError, r"invalid neighbourhood"),
        ({"n_class": 4}, ArgumentError, r"Softmax of two classes.*4 classes"),
        ({"softmax": False}, ArgumentError, r"Softmax of two classes.*nearest valid: Softmax\(raw, n_class=2"),
        ({"aff": (1, 3, 4, 4)}, ShapeError, r"target affinities 'aff' does not fit"),
        ({"seg": (1, 1, 4, 3)}, ShapeError, r"segmentation 'seg' does not fit"),
        ({"class_weights": [1, 2, 3]}, ArgumentError, r"wrong number of class weights"),
    ],
)
def test_errors_leave_nothing_behind(change, error, message):
    raw = source((change.get("batch", 1), 4, 4, 4), "b,f,y,x", name="raw")
    n_class = change.get("n_class", 2)
    probs = nm.Softmax(raw, n_class, 4 // n_class, print_repr=False) if change.get("softmax", True) else raw
    batch = change.get("batch", 1)
    aff = source(change.get("aff", (batch, 2, 4, 4)), "b,f,y,x", name="aff")
    seg = source(change.get("seg", (batch, 1, 4, 4)), "b,f,y,x", dtype="int32", name="seg")
    before = registered()
    nhood = change.get("nhood", neighbourhood(2))
    with pytest.raises(error, match=re.compile(message, re.DOTALL)):
        nm.MalisNLL(probs, aff, seg, nhood, class_weights=change.get("class_weights"), print_repr=False)
    assert registered() == before


def test_a_batch_that_only_the_data_has_is_refused():
    nhood = neighbourhood(1)
    raw = source((None, 2, 4), "b,f,x", name="raw")
    aff, seg = source((None, 1, 4), "b,f,x", name="aff"), source((None, 1, 4), "b,f,x", dtype="int32", name="seg")
    node = nm.MalisNLL(nm.Softmax(raw, 2, 1, print_repr=False), aff, seg, nhood, print_repr=False)
    with pytest.raises((ShapeError, nm.errors.EngineError), match="batch size is not 1"):
        node(np.zeros((2, 2, 4), "float32"), np.zeros((2, 1, 4), "float32"), np.zeros((2, 1, 4), "int32"))
    with pytest.raises(InputTypeError):
        nm.MalisNLL(3, aff, seg, nhood, print_repr=False)
