"""Sliding windows by themselves: where patches lie, what their voxels count, and which values are refused."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import neuromancer as nm
from neuromancer.errors import ArgumentError, InputTypeError, NeuromancerError, ShapeError

overlaps = st.one_of(st.sampled_from([0, 0.25, 0.3, 0.5, 0.7, 0.75, 0.9]), st.floats(0, 0.95))


def nnunet_starts(size, patch, step):
    """As published: as many steps as the target distance needs, evenly spaced and rounded."""
    target = patch * step
    count = int(np.ceil((size - patch) / target)) + 1
    distance = (size - patch) / (count - 1) if count > 1 else 0
    return tuple(int(np.round(distance * i)) for i in range(count))


def nnunet_weights(shape):
    scipy = pytest.importorskip("scipy.ndimage")
    delta = np.zeros(shape)
    delta[tuple(n // 2 for n in shape)] = 1
    weights = scipy.gaussian_filter(delta, [n / 8 for n in shape], mode="constant")
    weights = (weights / weights.max()).astype("float32")
    weights[weights == 0] = weights[weights != 0].min()
    return weights


@given(st.integers(1, 90), st.integers(0, 300), overlaps, st.sampled_from(["nnunet", "monai"]))
def test_patches_cover_the_image_and_overlap_as_asked(patch, more, overlap, convention):
    size = patch + more
    starts = nm.SlidingWindow((patch,), overlap, convention=convention).starts(0, size)
    assert starts[0] == 0 and starts[-1] == size - patch and list(starts) == sorted(starts)
    steps = [b - a for a, b in itertools.pairwise(starts)]
    most = max(1, patch * (1 - overlap)) if convention == "monai" else patch * (1 - overlap) + 1
    assert all(step <= most + 1e-6 for step in steps)


@given(st.integers(1, 90), st.integers(0, 300), st.one_of(st.sampled_from([0.1, 0.3, 0.5, 0.7, 1]), st.floats(0.05, 1)))
def test_patches_lie_where_nnunet_puts_them(patch, more, step):
    assert nm.SlidingWindow.nnunet((patch,), step).starts(0, patch + more) == nnunet_starts(patch + more, patch, step)


@given(st.integers(1, 90), st.integers(0, 300), overlaps)
def test_patches_lie_where_monai_puts_them(patch, more, overlap):
    pytest.importorskip("monai")
    from monai.data.utils import dense_patch_slices

    interval = patch if not more else max(1, int(patch * (1 - overlap)))
    want = [int(s.start) for (s,) in dense_patch_slices((patch + more,), (patch,), (interval,))]
    assert list(nm.SlidingWindow.monai((patch,), overlap).starts(0, patch + more)) == sorted(want)


@pytest.mark.parametrize("shape", [(16,), (1, 8), (20, 33), (12, 9, 7), (3, 5)])
def test_weights_are_those_of_the_libraries(shape):
    mine = nm.SlidingWindow(shape).importance(shape)
    np.testing.assert_allclose(mine / mine.max(), nnunet_weights(shape) / nnunet_weights(shape).max(), rtol=1e-5)
    monai = pytest.importorskip("monai.data.utils")
    for sigma in (0.125, 0.3):
        mine = nm.SlidingWindow.monai(shape, mode="gaussian", sigma_scale=sigma).importance(shape)
        np.testing.assert_allclose(mine, monai.compute_importance_map(shape, "gaussian", sigma).numpy(), rtol=1e-5)
    assert (nm.SlidingWindow.monai(shape).importance(shape) == 1).all()


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=3),
    st.floats(0.001, 2),
    st.sampled_from(["nnunet", "monai"]),
)
def test_weights_are_positive_and_not_above_one(shape, sigma, convention):
    weights = nm.SlidingWindow(shape, sigma=sigma, convention=convention).importance(shape)
    assert weights.shape == tuple(shape) and weights.dtype == np.float32
    assert 0 < weights.min() and weights.max() <= 1


def test_mirrors_are_all_combinations_and_start_with_the_patch():
    assert nm.SlidingWindow((4, 4, 4)).flips == ((),)
    assert nm.SlidingWindow.nnunet((4, 4), mirror=True).flips == ((), (0,), (1,), (0, 1))
    assert nm.SlidingWindow((4, 4, 4), mirror=(2, 0)).flips == ((), (2,), (0,), (2, 0))


def test_equal_windows_are_equal_and_cannot_be_changed():
    one, other = nm.SlidingWindow([8, 8], [0.5, 0.5], mirror=np.array([1])), nm.SlidingWindow((8, 8), 0.5, mirror=[1])
    assert one == other and hash(one) == hash(other) and one.label == other.label
    assert one.label != nm.SlidingWindow((8, 8), 0.5).label
    with pytest.raises(AttributeError):
        one.patch = (9, 9)


BAD = [
    (ShapeError, {"patch": 64}),
    (ShapeError, {"patch": ()}),
    (ShapeError, {"patch": (0, 4)}),
    (ShapeError, {"patch": (4.5, 4)}),
    (ShapeError, {"patch": None}),
    (ShapeError, {"patch": (2, 2, 2, 2)}),
    (ArgumentError, {"overlap": 1}),
    (ArgumentError, {"overlap": -0.1}),
    (ArgumentError, {"overlap": "half"}),
    (ArgumentError, {"overlap": (0.5,)}),
    (ArgumentError, {"overlap": math.nan}),
    (ArgumentError, {"overlap": None}),
    (ArgumentError, {"overlap": np.zeros((2, 2))}),
    (ArgumentError, {"weights": "gauss"}),
    (ArgumentError, {"weights": None}),
    (ArgumentError, {"sigma": 0}),
    (ArgumentError, {"sigma": (1, -1)}),
    (ArgumentError, {"sigma": math.inf}),
    (ArgumentError, {"convention": "MONAI"}),
    (ArgumentError, {"mirror": 1}),
    (ArgumentError, {"mirror": (2,)}),
    (ArgumentError, {"mirror": (-1,)}),
    (ArgumentError, {"mirror": (0, 0)}),
    (ArgumentError, {"mirror": "yx"}),
    (ArgumentError, {"mirror": None}),
    (ArgumentError, {"padding": "wrap"}),
    (InputTypeError, {"padding_value": "0"}),
    (InputTypeError, {"padding_value": math.inf}),
]


@pytest.mark.parametrize(("kind", "values"), BAD)
def test_bad_values_are_refused_by_name(kind, values):
    (name,) = values
    with pytest.raises(kind, match=f"'{name}'"):
        nm.SlidingWindow(**{"patch": (8, 8)} | values)


@pytest.mark.parametrize("step", [0, 1.5, "half", None, math.nan])
def test_bad_steps_are_refused(step):
    with pytest.raises(ArgumentError, match="'step'"):
        nm.SlidingWindow.nnunet((8, 8), step)


def test_errors_are_those_of_the_package():
    for call in (lambda: nm.SlidingWindow.monai(96), lambda: nm.SlidingWindow.monai((96,), mode="hann")):
        with pytest.raises(NeuromancerError):
            call()
