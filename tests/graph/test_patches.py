"""Valid input sizes are exactly those with which a graph can be built."""

from __future__ import annotations

import pytest

import neuromancer as nm
from neuromancer.errors import GraphError, ShapeError
from neuromancer.graph.patches import get_valid_patch_sizes, nearest_patch_sizes, require_patch_size

QUIET = {"print_repr": False}


def chain(size, mfp=False):
    inp = nm.Input((1, 1, size), "b,f,x", **QUIET)
    out = nm.Conv(inp, 2, (3,), (3,), mfp=mfp, **QUIET)
    return nm.Conv(out, 2, (2,), (2,), mfp=mfp, **QUIET)


def padded(size, mfp=False):
    inp = nm.Input((1, 1, size), "b,f,x", **QUIET)
    out = nm.Pool(nm.Conv(inp, 2, (5,), conv_mode="same", **QUIET), (3,), mfp=mfp, **QUIET)
    out = nm.Crop(nm.Pad(out, (2,), **QUIET), (1,), **QUIET)
    return nm.Conv(out, 2, (3,), (2,), conv_mode="full", mfp=mfp, **QUIET)


def overlapping(size, mfp=False):
    return nm.Pool(nm.Input((1, 1, size), "b,f,x", **QUIET), (3,), stride=(2,), **QUIET)


def branches(size, mfp=False):
    inp = nm.Input((1, 1, size), "b,f,x", **QUIET)
    a = nm.Conv(inp, 2, (3,), (2,), mfp=mfp, **QUIET)
    b = nm.Pool(nm.Crop(inp, (1,), **QUIET), (2,), mfp=mfp, **QUIET)
    return nm.Conv(nm.Concat([a, b], **QUIET), 2, (3,), (3,), mfp=mfp, **QUIET)


def unet(size, mfp=False):
    inp = nm.Input((1, 1, size), "b,f,x", **QUIET)
    high = nm.Conv(inp, 2, (3,), **QUIET)
    low = nm.Conv(high, 2, (3,), (2,), **QUIET)
    lower = nm.UpConv(nm.Conv(low, 2, (3,), (3,), **QUIET), 2, (3,), **QUIET)
    merged = nm.AutoMerge(low, lower, upconv_n_f=2, **QUIET)
    return nm.AutoMerge(high, merged, upconv_n_f=2, **QUIET)


def dense(size, mfp=True):
    inp = nm.Input((1, 1, size), "b,f,x", **QUIET)
    out = nm.FragmentsToDense(nm.Conv(inp, 2, (3,), (4,), mfp=True, **QUIET), **QUIET)
    return nm.Conv(out, 2, (3,), (1,), **QUIET)


def buildable(build, high, mfp):
    sizes = []
    for size in range(1, high + 1):
        try:
            build(size, mfp)
        except ShapeError:
            continue
        sizes.append(size)
    return sizes


@pytest.mark.parametrize(
    ("build", "mfp"),
    [(chain, False), (chain, True), (padded, False), (padded, True), (overlapping, False), (branches, False),
     (branches, True), (unet, False), (dense, False)],
)  # fmt: skip
def test_sizes_are_those_that_can_be_built(build, mfp):
    valid = buildable(build, 40, mfp)
    assert valid
    # Independent of the declared size and of whether max-fragment pooling is already enabled.
    for size in valid[:2]:
        assert get_valid_patch_sizes(build(size, mfp), high=40) == [valid]
    plain = build(buildable(build, 40, False)[0], False)
    assert get_valid_patch_sizes(plain, high=40, mfp=mfp) == [valid]


def test_sizes_of_the_original_examples():
    """Valid sizes as computed by the original library for its two 3D examples."""
    inp = nm.Input((1, 1, 23, 185, 185), "b,f,z,y,x", **QUIET)
    out = nm.Conv(inp, 2, (1, 6, 6), (1, 2, 2), **QUIET)
    out = nm.Conv(out, 2, (4, 4, 4), (2, 1, 1), **QUIET)
    z, y, x = get_valid_patch_sizes(out, high=30)
    assert z == list(range(5, 31, 2)) and y == x == list(range(13, 31, 2))


def test_sizes_per_axis():
    inp = nm.Input((1, 1, 8, 9), "b,f,y,x", **QUIET)
    out = nm.Conv(inp, 2, (1, 3), (2, 1), **QUIET)
    assert get_valid_patch_sizes(out, low=3, high=7) == [[4, 6], [3, 4, 5, 6, 7]]
    assert [s[-1] > n for s, n in zip(get_valid_patch_sizes(out), (8, 9), strict=True)] == [True, True]


def test_flattening_fixes_the_size():
    inp = nm.Input((1, 1, 8), "b,f,x", **QUIET)
    assert get_valid_patch_sizes(nm.Perceptron(inp, 2, flatten=True, **QUIET), high=20) == [[8]]


def test_nearest_sizes_and_errors():
    out = chain(11)
    assert nearest_patch_sizes(out, 0, 11) == [11]
    assert nearest_patch_sizes(out, 0, 12) == [11, 17]
    assert nearest_patch_sizes(out, 0, 0) == [11] and nearest_patch_sizes(out, 0, -5) == [11]
    require_patch_size(out, [17])
    with pytest.raises(ShapeError, match="x: 11 or 17"):
        require_patch_size(out, [12])
    with pytest.raises(ShapeError, match="one entry per spatial axis"):
        require_patch_size(out, [11, 11])


def test_a_source_needs_spatial_axes():
    with pytest.raises(GraphError, match="no source with spatial axes"):
        get_valid_patch_sizes(nm.Input((1, 2), "b,f", **QUIET))
