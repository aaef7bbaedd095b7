"""Valid input sizes are exactly those with which a graph can be built."""

from __future__ import annotations

import pytest

import neuromancer as nm
from neuromancer.errors import GraphError, ShapeError
from neuromancer.graph import patches
from neuromancer.graph.geometry import window_shape
from neuromancer.graph.patches import (
    MARGIN,
    get_valid_patch_sizes,
    nearest_patch_sizes,
    patch_size_through,
    patch_source,
    require_patch_size,
)
from neuromancer.graph.window import Window

QUIET = {"print_repr": False}


class Told(nm.Node):
    """Passes on its last parent and is told about others."""

    def _make_output(self):
        self.output = self.parent[-1].output

    def _calc_shape(self):
        self.shape = self.parent[-1].shape.copy()

    def _calc_comp_cost(self):
        self.computational_cost = 0


class Both(nm.Node):
    """Adds the first voxel of its second parent to its first."""

    def _make_output(self):
        self.output = self.parent[0].output + self.parent[1].output[:, :, :1]

    def _calc_shape(self):
        self.shape = self.parent[0].shape.copy()


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


def test_the_first_source_with_space_is_patched():
    flat = nm.Input((1, 2), "b,f", name="flat", **QUIET)
    first, second = (nm.Input((1, 1, 9), "b,f,x", name=name, **QUIET) for name in ("first", "second"))
    merged = nm.Concat([first, second], name="merged", **QUIET)
    told = Told([nm.GenericInput(name="any", **QUIET), flat, merged], name="told")
    assert patch_source(told) is first
    with pytest.raises(GraphError) as caught:
        patch_source(flat)
    assert (caught.value.node, caught.value.got) == (flat, ["flat"])


def test_sizes_of_all_nodes():
    inp = nm.Input((1, 1, 20), "b,f,x", **QUIET)
    a = nm.Conv(inp, 2, (3,), **QUIET)
    b = nm.Pool(a, (2,), **QUIET)
    assert patch_size_through(b, 0, 12) == {inp: 12, a: 10, b: 5}
    assert patch_size_through(b, 0, 11) is None
    assert patch_size_through(b, 0, 2) is None
    assert patch_size_through(b, 0, 12, mfp=True) is None
    assert patch_size_through(b, 0, 11, mfp=True) == {inp: 11, a: 9, b: 4}


def test_fragments_need_a_voxel_in_every_phase():
    fragments = nm.Pool(nm.Input((1, 1, 11), "b,f,x", **QUIET), (3,), mfp=True, **QUIET)
    assert fragments.shape["x"] == 3
    sizes = [patch_size_through(fragments, 0, n) for n in range(1, 9)]
    assert [s and s[fragments] for s in sizes] == [None, None, None, None, 1, None, None, 2]
    dense_ = nm.FragmentsToDense(fragments, **QUIET)
    assert patch_size_through(dense_, 0, 8)[dense_] == 6
    once = nm.Pool(nm.Input((1, 1, 11), "b,f,x", **QUIET), (2,), mfp=True, **QUIET)
    twice = nm.Conv(once, 2, (3,), (2,), mfp=True, **QUIET)
    both = nm.FragmentsToDense(twice, **QUIET)
    assert patch_size_through(both, 0, 11)[both] == both.shape["x"] == 4 * twice.shape["x"]


def test_other_sources_keep_their_sizes():
    a, b = (nm.Input((1, 1, n), "b,f,x", name=name, **QUIET) for n, name in ((9, "a"), (7, "b")))
    cropped = nm.Crop(a, (1,), **QUIET)
    merged = nm.Concat([cropped, b], **QUIET)
    assert patch_size_through(merged, 0, 12) == {a: 12, cropped: 10, merged: 10}
    assert patch_size_through(merged, 0, 7, source=b) == {cropped: 7, b: 7, merged: 7}
    assert patch_size_through(merged, 0, 12, source=b) is None


def test_values_keep_their_sizes_and_single_voxels_are_repeated():
    inp = nm.Input((1, 1, 9), "b,f,x", **QUIET)
    for size, valid in ((7, [3, 9]), (1, [3, 4, 5, 6, 7, 8, 9, 10, 11, 12])):
        cropped, value = nm.Crop(inp, (1,), **QUIET), nm.ValueNode((1, 1, size), "b,f,x", **QUIET)
        merged = Both([cropped, value], name="both")
        assert get_valid_patch_sizes(merged, high=12) == [valid]
        assert patch_size_through(merged, 0, 9) == {inp: 9, cropped: 7, value: size, merged: 7}


def test_single_voxels_are_not_repeated_where_sizes_must_be_equal():
    inp = nm.Input((1, 1, 8), "b,f,x", **QUIET)
    coarse = nm.Conv(inp, 1, (1,), stride=4, **QUIET)
    up = nm.Crop(nm.Upsample(coarse, 4, **QUIET), ((0, 1),), **QUIET)
    for merged in (nm.Concat([up, nm.Crop(inp, ((0, 1),), **QUIET)], **QUIET), nm.Add(up, nm.Crop(inp, ((1, 0),)))):
        assert get_valid_patch_sizes(merged, high=9) == [[4, 8]]


def test_what_looks_at_everything_fixes_the_size():
    inp = nm.Input((1, 1, 8, 6), "b,f,y,x", **QUIET)
    flattened = nm.Perceptron(inp, 2, flatten=True, **QUIET)
    assert get_valid_patch_sizes(flattened, high=20) == [[8], [6]]
    assert patch_size_through(flattened, 0, 8) == {inp: 8}
    reshaped = nm.Reshape(inp, (1, 1, 6, 8), "b,f,y,x", **QUIET)
    assert not reshaped.equivariant
    assert patch_size_through(reshaped, 0, 8) == {inp: 8, reshaped: 6}
    assert patch_size_through(reshaped, 1, 8) is None
    below = nm.Conv(reshaped, 1, (3, 3), **QUIET)
    assert patch_size_through(below, 0, 8) == {inp: 8, reshaped: 6, below: 4}


def test_axes_that_a_node_lacks_do_not_count():
    plane = nm.Input((1, 1, 8, 8), "b,f,y,x", name="plane", **QUIET)
    line = nm.Input((1, 1, 8), "b,f,x", name="line", **QUIET)
    conv = nm.Conv(plane, 1, (1, 3), **QUIET)
    told = Told([nm.GenericInput(name="any", **QUIET), line, conv], name="told")
    assert patch_size_through(told, 1, 9, source=plane) == {plane: 9, conv: 7, told: 7}


@pytest.mark.parametrize(
    ("kwargs", "sizes"),
    [
        # Valid are 5, 8, 11, ...; the declared size is 11, the largest stride 3.
        ({}, [5, 8, 11, 14, 17, 20, 23]),
        ({"low": 8}, [8, 11, 14, 17, 20, 23]),
        ({"low": 9, "high": 14}, [11, 14]),
        ({"low": -4, "high": 8}, [5, 8]),
        ({"high": 4}, []),
        ({"mfp": True, "high": 13}, [7, 10, 13]),
    ],
)
def test_range_of_valid_sizes(kwargs, sizes):
    inp = nm.Input((1, 1, 11), "b,f,x", **QUIET)
    assert get_valid_patch_sizes(nm.Conv(inp, 4, (3,), (3,), **QUIET), **kwargs) == [sizes]


def test_the_range_goes_beyond_the_field_of_view_where_nothing_is_declared():
    inp = nm.Input((1, 1, None), "b,f,x", **QUIET)
    assert get_valid_patch_sizes(nm.Conv(inp, 4, (3,), (3,), **QUIET)) == [[5, 8, 11, 14, 17]]
    assert get_valid_patch_sizes(inp) == [[1, 2, 3, 4, 5]]


def test_nearest_sizes_are_searched_far_enough():
    inp = nm.Input((1, 1, 50), "b,f,x", **QUIET)
    wide = nm.Conv(inp, 1, (50,), **QUIET)
    assert nearest_patch_sizes(wide, 0, 3) == [50]
    assert nearest_patch_sizes(wide, 0, 1) == nearest_patch_sizes(wide, 0, -2) == [50]
    assert nearest_patch_sizes(wide, 0, 60) == [60]
    wider = nm.Conv(nm.Input((1, 1, 400), "b,f,x", **QUIET), 1, (400,), **QUIET)
    assert nearest_patch_sizes(wider, 0, 3) == [400]
    assert nearest_patch_sizes(inp, 0, 1) == nearest_patch_sizes(inp, 0, 0) == [1]
    coarse = nm.Pool(inp, (25,), **QUIET)
    assert nearest_patch_sizes(coarse, 0, 26) == [25, 50]
    assert nearest_patch_sizes(coarse, 0, 24) == [25]
    assert nearest_patch_sizes(coarse, 0, 49, mfp=True) == [49]
    assert nearest_patch_sizes(coarse, 0, 50, mfp=True) == [49, 74]
    fixed = nm.Perceptron(inp, 2, flatten=True, **QUIET)
    assert nearest_patch_sizes(fixed, 0, 178) == [50]
    # Further than 128 steps (and one voxel) nothing is looked for.
    assert nearest_patch_sizes(fixed, 0, 179) == [50]
    assert nearest_patch_sizes(fixed, 0, 180) == []


def test_the_search_is_bounded_by_the_size_of_the_graph(monkeypatch):
    inp = nm.Input((1, 1, 1000), "b,f,x", **QUIET)
    fixed = nm.Perceptron(nm.Pool(inp, (10,), **QUIET), 2, flatten=True, **QUIET)
    assert nearest_patch_sizes(fixed, 0, 500) == [1000]
    # A walk takes 5 steps: three nodes, two of which have a parent. That leaves 400 sizes, too few.
    monkeypatch.setattr(patches, "EFFORT", 2000)
    assert nearest_patch_sizes(fixed, 0, 500) == []
    assert nearest_patch_sizes(fixed, 0, 600) == [1000]
    assert nearest_patch_sizes(fixed, 0, 1400) == [1000]
    monkeypatch.setattr(patches, "EFFORT", 5)
    assert nearest_patch_sizes(fixed, 0, 1000 - MARGIN) == [1000]
    assert nearest_patch_sizes(fixed, 0, 1000 - MARGIN - 1) == []


def test_an_error_names_the_nearest_sizes_per_axis():
    inp = nm.Input((1, 1, 8, 9), "b,f,y,x", name="image", **QUIET)
    node = nm.Conv(inp, 2, (1, 3), (4, 1), **QUIET)
    require_patch_size(node, [8, 4])
    require_patch_size(node, (7, 4), mfp=True)
    with pytest.raises(ShapeError) as caught:
        require_patch_size(node, [8, 4, 4])
    assert (caught.value.node, caught.value.got) == (inp, [8, 4, 4])
    assert "['y', 'x']" in caught.value.expected
    with pytest.raises(ShapeError) as caught:
        require_patch_size(node, (9, 2))
    assert caught.value.node is inp
    assert caught.value.got == "[9, 2] on axes ['y', 'x']"
    assert caught.value.nearest == "y: 8 or 12; x: 3"
    assert "max-fragment" not in caught.value.problem
    with pytest.raises(ShapeError, match="max-fragment") as caught:
        require_patch_size(node, [8, 4], mfp=True)
    assert caught.value.nearest == "y: 7 or 11; x: 4"
    with pytest.raises(ShapeError) as caught:
        require_patch_size(nm.Perceptron(inp, 2, flatten=True, **QUIET), [1000, 9])
    assert caught.value.nearest == "y: none; x: 9"


def test_fragments_of_a_padded_layer():
    inp = nm.Input((1, 1, 9), "b,f,x", **QUIET)
    node = nm.Conv(inp, 1, (3,), (2,), conv_mode="full", mfp=True, **QUIET)
    # 2 voxels are added at either end and 3 are needed: n + 2 positions, of which both phases get as many.
    sizes = {n: found[node] for n in range(1, 8) if (found := patch_size_through(node, 0, n))}
    assert sizes == {1: 1, 3: 2, 5: 3, 7: 4}
    assert {type(size) for size in sizes.values()} == {int}
    assert nearest_patch_sizes(node, 0, 2) == [1, 3]


def test_a_users_node_that_strides_has_no_fragments():
    class Every(nm.Node):
        def _make_output(self):
            self.output = self.parent.output[:, :, ::2]

        def _calc_shape(self):
            self.shape = window_shape(self, [Window(size=2, down=2)])

    node = Every(nm.Input((1, 1, 8), "b,f,x", **QUIET), "every")
    for mfp in (False, True):
        assert get_valid_patch_sizes(node, high=7, mfp=mfp) == [[2, 4, 6]]
