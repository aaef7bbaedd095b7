"""Intensity augmentation changes grey values, but not shapes, dtypes or labels."""

from __future__ import annotations

import numpy as np
import pytest

from neuromancer.errors import ArgumentError, ShapeError
from neuromancer.train.data import (
    Blur,
    CutOut,
    DropSlices,
    Flip,
    GreyValues,
    Noise,
    OneOf,
    PatchSampler,
    Rotate90,
    ShiftSlices,
)
from tests.train.data.factories import chain

ALL = [
    GreyValues(gamma=0.3),
    Noise(0.1),
    Blur((0, 1, 1), p=1),
    DropSlices(0.5),
    DropSlices(0.5, axis=2, repeat=True),
    ShiftSlices(3, 0.5),
    ShiftSlices(2, 0.5, axis=-1, onwards=True),
    CutOut(4, 3, 1.0),
    OneOf([Noise(), Blur()]),
]


@pytest.mark.parametrize("change", ALL, ids=lambda change: type(change).__name__)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_change(change, dtype):
    raw = np.random.default_rng(0).random((2, 6, 9, 10)).astype(dtype)
    before, labels = raw.copy(), np.arange(4)
    changed = [change(raw, labels, np.random.default_rng(seed))[0] for seed in (1, 1, 2)]
    np.testing.assert_array_equal(raw, before)
    np.testing.assert_array_equal(changed[0], changed[1])
    assert not np.array_equal(changed[0], changed[2]) and np.isfinite(changed[0]).all()
    assert all(c.shape == raw.shape and c.dtype == raw.dtype for c in changed)
    assert change(raw, labels, np.random.default_rng(0))[1] is labels


@pytest.mark.parametrize(
    "change", [GreyValues(p=0), Noise(p=0), Blur(p=0), DropSlices(0), ShiftSlices(p=0), CutOut(p=0)]
)
def test_a_probability_of_zero_is_off(change):
    raw = np.random.default_rng(0).random((1, 4, 5)).astype("float32")
    np.testing.assert_array_equal(change(raw, None, np.random.default_rng(0))[0], raw)


def test_amounts():
    rng, raw = np.random.default_rng(0), np.random.default_rng(1).random((1, 20, 50)).astype("float32")
    for _ in range(20):
        changed = GreyValues(contrast=0.5, brightness=0)(raw, None, rng)[0]
        assert 1 / 1.5 - 1e-5 <= changed.std() / raw.std() <= 1.5 + 1e-5
        gamma = GreyValues(0, 0, gamma=1.0)(raw, None, rng)[0]
        np.testing.assert_allclose([gamma.min(), gamma.max()], [raw.min(), raw.max()], rtol=1e-5)
        assert abs(GreyValues(0, 0.2)(raw, None, rng)[0] - raw).max() <= 0.2 + 1e-6
        assert (Noise(0.3)(raw, None, rng)[0] - raw).std() < 0.33
    even = np.full((1, 3, 4), 0.5, "float32")
    np.testing.assert_array_equal(GreyValues(1, 0, gamma=1)(even, None, rng)[0], even)
    np.testing.assert_allclose(Blur(2, p=1)(even, None, rng)[0], even, rtol=1e-6)


def test_slices_are_moved_whole_and_mirrored():
    raw = np.tile(np.arange(8, dtype="float32"), (1, 5, 3, 1))
    moved = ShiftSlices(2, 0.7)(raw, None, np.random.default_rng(0))[0]
    assert {tuple(row) for row in np.unique(moved.reshape(-1, 8), axis=0).astype(int).tolist()} <= {
        (0, 1, 2, 3, 4, 5, 6, 7),
        (1, 0, 0, 1, 2, 3, 4, 5),
        (0, 0, 1, 2, 3, 4, 5, 6),
        (1, 2, 3, 4, 5, 6, 7, 7),
        (2, 3, 4, 5, 6, 7, 7, 6),
    }
    onwards = ShiftSlices(2, 0.2, onwards=True)(raw, None, np.random.default_rng(1))[0]
    changed = [i for i in range(1, 5) if (onwards[0, i] != onwards[0, i - 1]).any()]
    assert len(changed) <= 2


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Noise(-1), "sigma"),
        (lambda: Noise(p=3), "probability"),
        (lambda: GreyValues(contrast="x"), "contrast"),
        (lambda: Blur((1, np.nan)), "sigma"),
        (lambda: ShiftSlices(1.5), "shift"),
        (lambda: DropSlices(2), "probability"),
        (lambda: CutOut(-1), "size"),
        (lambda: OneOf([]), "functions"),
        (lambda: DropSlices(axis=3)(np.zeros((1, 2, 2)), None, np.random.default_rng(0)), "no such axis"),
    ],
)
def test_bad_amounts(make, says):
    with pytest.raises(ArgumentError, match=says):
        make()


def lose_an_axis(raw, labels, rng):
    return raw[0], labels


def fractions(raw, labels, rng):
    return raw, labels * 0.5


def test_in_a_sampler():
    node = chain([((2, 3, 3), None, "valid")], (5, 9, 9))
    volume = np.random.default_rng(0).integers(0, 200, (12, 30, 30)).astype("uint8")
    plain, changed = (PatchSampler(node, (volume, volume), augment=[Flip(), *grey]) for grey in ([], ALL))
    np.testing.assert_array_equal(plain.batch(0)[1][0], changed.batch(0)[1][0])
    assert changed.batch(0)[0].dtype == "float32" and changed.batch(0)[0].shape == (2, 1, 5, 9, 9)
    for wrong in (lose_an_axis, fractions):
        with pytest.raises(ShapeError, match=f"{wrong.__name__}.* changed shape or dtype"):
            PatchSampler(node, (volume, volume), augment=[wrong]).batch(0)


@pytest.mark.parametrize(
    ("change", "says"), [(Flip("q"), "tags"), (Flip((3,)), "tags"), (Rotate90("z"), "two axes"), (Flip(p=2), "prob")]
)
def test_bad_turns(change, says):
    node = chain([((2, 3, 3), None, "valid")], (5, 9, 9))
    with pytest.raises(ArgumentError, match=says):
        PatchSampler(node, (np.zeros((12, 30, 30)), np.zeros((12, 30, 30), int)), augment=[change])


def test_turns_of_a_patch_that_is_not_square():
    node = chain([((1, 1), None, "valid")], (4, 6), "b,f,y,x", batch=1)
    code = np.arange(24).reshape(4, 6)
    seen = {PatchSampler(node, (code, code), augment=[Rotate90()], seed=s).batch(0)[1].tobytes() for s in range(20)}
    assert len(seen) == 2
    square = chain([((1, 1), None, "valid")], (4, 4), "b,f,y,x", batch=1)
    code = code[:, :4]
    both = [Rotate90(), Flip()]
    seen = {PatchSampler(square, (code, code), augment=both, seed=s).batch(0)[1].tobytes() for s in range(80)}
    assert len(seen) == 8
