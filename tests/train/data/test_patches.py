"""Patches and the labels of exactly the voxels that a network predicts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import neuromancer as nm
from neuromancer.errors import OutOfMemoryError
from neuromancer.train.data import Flip, LabelledVolume, PatchSampler, Rotate90
from tests.train.data.factories import chain, classifier, decode, positions


@st.composite
def networks(draw):
    """Layers and a patch size that they take, two axes."""
    kind = draw(st.sampled_from(["valid", "same", "up"]))
    layers: list[tuple] = []
    for _ in range(draw(st.integers(1, 2))):
        kernel = tuple(draw(st.sampled_from([1, 3] if kind == "same" else [1, 2, 3, 4])) for _ in range(2))
        pool = tuple(draw(st.integers(1, 2)) for _ in range(2))
        layers.append((kernel, pool, "same" if kind == "same" else "valid"))
    if kind == "up":
        # Undo all pooling, so that the output is as fine as the raw data.
        total = tuple(int(np.prod([layer[1][k] for layer in layers])) for k in range(2))
        layers.append(("up", total))
    return layers


def build(layers, wish=(16, 18)):
    nm.model_manager.newmodel(None)
    node = chain(layers, (None, None), "b,f,y,x")
    return node, [
        min((s for s in sizes if s >= w), default=sizes[-1])
        for sizes, w in zip(nm.get_valid_patch_sizes(node, high=40), wish, strict=True)
    ]


@settings(max_examples=40, deadline=None)
@given(
    layers=networks(),
    margin=st.tuples(*[st.integers(0, 6)] * 4),
    pad_raw=st.booleans(),
    augment=st.sampled_from([(), (Flip(),), (Rotate90(),), (Flip("x"), Rotate90("yx"))]),
    seed=st.integers(0, 5),
)
def test_labels_are_those_of_the_predicted_voxels(layers, margin, pad_raw, augment, seed):
    node, patch = build(layers)
    raw = positions((46, 50))
    low, high = margin[:2], margin[2:]
    part = tuple(slice(a, n - b) for a, b, n in zip(low, high, raw.shape, strict=True))
    volume = LabelledVolume(raw, raw[part], label_offset=low)
    sampler = PatchSampler(
        node,
        [volume],
        patch_size=patch,
        seed=seed,
        augment=augment,
        pad_raw=pad_raw,
        ignore=None,
        scale=lambda r: r,
    )
    raws, labels = sampler.batch(0)
    shape = node.shape
    for patch_raw, target in zip(raws[:, 0], labels[:, 0], strict=True):
        for index in ((0, 0), tuple(n - 1 for n in target.shape)):
            at = [o + int(s) * i for o, s, i in zip(shape.offsets, shape.strides, index, strict=True)]
            if all(0 <= p < n for p, n in zip(at, patch_raw.shape, strict=True)):
                assert patch_raw[tuple(at)] == target[index]
        # The target is a regular grid with the right strides inside the labelled part.
        where = decode(target, 2)
        assert all((w >= a).all() and (w < n - b).all() for w, a, b, n in zip(where, low, high, raw.shape, strict=True))
    grid = np.ix_(
        *(o + int(s) * np.arange(n) for o, s, n in zip(shape.offsets, shape.strides, labels.shape[2:], strict=True))
    )
    if all(g.min() >= 0 and g.max() < n for g, n in zip(grid, patch, strict=True)):
        np.testing.assert_array_equal(raws[(slice(None), 0, *grid)], labels[:, 0])


def test_batches_are_a_function_of_seed_and_step():
    model = classifier(chain([((3, 3), (2, 2), "valid")], (16, 16), "b,f,y,x"))
    raw = np.random.default_rng(0).integers(0, 255, (60, 60)).astype("uint8")
    labels = (raw > 128).astype("int16")

    def make(seed):
        return PatchSampler(model, (raw, labels), seed=seed, augment=[Flip(), Rotate90()], balance=0.5)

    a, b, c = make(1), make(1), make(2)
    later = a.batch(7)
    for step in (0, 7, 3):
        for x, y in zip(a.batch(step), b.batch(step), strict=True):
            np.testing.assert_array_equal(x, y)
    assert all((x == y).all() for x, y in zip(later, a.batch(7), strict=True))
    assert not (a.batch(0)[0] == c.batch(0)[0]).all() and not (a.batch(0)[0] == a.batch(1)[0]).all()
    value, _, _ = model.trainingstep(*later, optimiser="SGD")
    assert np.isfinite(value) and later[0].dtype == nm.config.floatX and later[1].dtype == "int16"


@pytest.mark.parametrize("size", [1 << 45, 1 << 62])
def test_a_batch_that_cannot_be_filled_fails_at_once(size):
    model = classifier(chain([((3, 3), (2, 2), "valid")], (16, 16), "b,f,y,x", batch=None))
    raw = np.zeros((60, 60), "uint8")
    sampler = PatchSampler(model, (raw, raw), batch_size=size)
    with pytest.raises(OutOfMemoryError, match="'PatchSampler': the batch does not fit into memory"):
        sampler.batch(0)
