"""Windows, receptive fields and positions, compared with the measured influence of input voxels."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import neuromancer as nm
from neuromancer import engine as E
from neuromancer.errors import ArgumentError, ShapeError
from neuromancer.graph import geometry
from neuromancer.graph.geometry import (
    ancestors,
    asking,
    period,
    raw_interval,
    require_same_spatial_rank,
    sizes_of_all,
    sizes_through,
    window_shape,
    windows_of,
)
from neuromancer.graph.tagged_shape import TaggedShape
from neuromancer.graph.window import Window


def influence(node, position):
    """Return the raw range along one axis that a voxel depends on, measured by the gradient."""
    inp = node.input_nodes[0]
    (gradient,) = E.grad(node.output[0, :, position].sum(), [inp.output])
    x = np.random.default_rng(0).random([s or 1 for s in inp.shape.shape]).astype("float32")
    touched = np.flatnonzero(np.abs(nm.make_func([inp.output], gradient)(x)).sum(axis=(0, 1)))
    return int(touched.min()), int(touched.max())


def source(size=32):
    return nm.Input((1, 1, size), "b,f,x", print_repr=False)


def conv(parent, kernel, pool=1, **kwargs):
    return nm.Conv(parent, 2, (kernel,), (pool,), activation_func="tanh", print_repr=False, **kwargs)


def mean(parent, pool):
    # Average pooling, since the gradient of a maximum does not show the whole receptive field.
    return nm.Pool(parent, (pool,), mode="average", print_repr=False)


def upconv(parent, factor):
    return nm.UpConv(parent, 2, (factor,), activation_func="tanh", identity_init=False, print_repr=False)


@given(st.integers(1, 4), st.integers(1, 3), st.integers(-2, 2), st.integers(-2, 2), st.integers(0, 12))
def test_window_sizes_and_needs_agree(size, down, before, after, extra):
    w = Window(size, down, 1, before, after)
    n = size - before - after + extra
    out = w.output_size(n)
    assert out == (extra // down) + 1
    low, high = w.needed(0, out - 1)
    assert low == -before
    assert high == n + after - 1 - w.remainder(n)


@pytest.mark.parametrize(
    ("build", "fov", "offset"),
    [
        (lambda x: conv(x, 3), 3, 1),
        (lambda x: conv(x, 5, 2), 6, 3),
        (lambda x: conv(conv(x, 5, 2), 4), 12, 6),
        (lambda x: conv(x, 3, conv_mode="same"), 3, 0),
        (lambda x: conv(x, 4, conv_mode="full"), 4, -1),
        (lambda x: nm.Crop(conv(x, 3), (2,), print_repr=False), 3, 3),
        (lambda x: nm.Pad(conv(x, 3), (2,), print_repr=False), 3, -1),
        (lambda x: conv(nm.Crop(conv(x, 3, 2, conv_mode="valid"), (1,), print_repr=False), 3), 8, 6),
        (lambda x: upconv(conv(x, 3, 2), 2), 4, 1),
        (lambda x: conv(upconv(conv(x, 3, 2), 2), 3), 6, 2),
    ],
)
def test_field_of_view_and_position(build, fov, offset):
    node = build(source(32))
    assert node.shape.fov == [fov]
    assert node.shape.offsets == [offset]


def test_raw_interval_equals_the_measured_influence():
    for node in (
        conv(mean(conv(source(31), 4), 2), 3),
        conv(upconv(mean(conv(source(30), 3), 2), 2), 2),
        conv(upconv(mean(conv(mean(conv(source(34), 3), 2), 3), 2), 2), 3),
    ):
        extents = []
        for i in range(2, 2 + max(1, period([node], 0))):
            low, high = influence(node, i)
            assert raw_interval(node, 0, i, i) == (low, high)
            extents.append(high - low + 1)
        assert node.shape.fov == [max(extents)]


def test_unet_geometry():
    inp = source(28)
    top = conv(inp, 3)
    low = conv(mean(top, 2), 3)
    # Linear, since a rectifier could hide part of the receptive field.
    options = {"activation_func": "lin", "identity_init": False}
    node = conv(nm.AutoMerge(low, top, upconv_n_f=2, upconv_kwargs=options, print_repr=False), 3)
    assert node.shape.offsets == [(28 - node.shape["x"]) // 2]
    assert period([node], 0) == 2
    assert sizes_through(node, 0, 28) == node.shape["x"]
    assert sizes_through(node, 0, 29) is None
    assert sizes_through(node, 0, 3) is None
    for i in range(2):
        assert raw_interval(node, 0, i, i) == influence(node, i)


def test_windows_of_a_user_node_are_inferred_from_its_shape():
    class Shrink(nm.Node):
        def _make_output(self):
            x = self.parent.output
            self.output = x[:, :, :-2] + x[:, :, 2:]

        def _calc_shape(self):
            shape = self.parent.shape.updateshape("x", -2, "add")
            self.shape = shape.updatefov(0, shape.fov[0] + 2 * int(shape.strides[0]))

    node = Shrink(conv(source(32), 3, 2))
    assert windows_of(node) == (Window(size=3),)
    raw = np.random.default_rng(0).random((1, 20)).astype("float32")
    assert node.predict_dense(raw).shape == (2, 20 - node.shape.fov[0] + 1)


def test_unknown_field_of_view_stays_unknown():
    node = conv(conv(source(), 3, invalidate_fov=True), 3)
    assert node.shape.fov == [-1]
    assert node.shape.offsets == [-1]


@settings(deadline=None, max_examples=20)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3)), min_size=1, max_size=3))
def test_offset_of_valid_chains_is_half_the_field_of_view(layers):
    nm.model_manager.newmodel(None)
    size = 1
    for kernel, pool in reversed(layers):
        size = size * pool + kernel - 1
    node = source(size)
    for kernel, pool in layers:
        node = conv(node, kernel, pool)
    assert node.shape.offsets == [node.shape.fov[0] // 2]
    assert raw_interval(node, 0, 0, 0) == (0, node.shape.fov[0] - 1)
    assert node.shape.fov == [size]


@pytest.mark.parametrize("order", [1, -1])
def test_merged_field_of_view_does_not_depend_on_the_order_of_the_parents(order):
    node = nm.Input((1, 1, 20), "b,f,x", print_repr=False)
    for _ in range(2):
        branches = [nm.Conv(node, 2, (3,), print_repr=False), nm.Crop(node, (1,), print_repr=False)]
        node = nm.Concat(branches[::order], print_repr=False)
    assert (node.shape.fov, node.shape.offsets) == ([5], [2])
    low = nm.Conv(nm.Pool(node, (2,), print_repr=False), 2, (3,), print_repr=False)
    top = nm.AutoMerge(low, node, upconv_n_f=2, print_repr=False)
    assert (top.shape.fov, top.shape.offsets) == ([10], [4])


def volume(*sizes, tags="b,f,z,y,x", **kwargs):
    return nm.Input((1, 1, *sizes), tags, print_repr=False, **kwargs)


@pytest.mark.parametrize(
    ("window", "size", "stride", "fov", "centre"),
    [
        # Over a parent of 20 voxels at stride 4, of which voxel 0 sees the raw voxels 0 to 5.
        (Window(), 20, 4, 6, Fraction(5, 2)),
        (Window(size=3), 18, 4, 14, Fraction(13, 2)),
        (Window(size=2, down=2), 10, 8, 10, Fraction(9, 2)),
        (Window(size=5, down=3), 6, 12, 22, Fraction(21, 2)),
        (Window(before=1, after=2), 23, 4, 6, Fraction(-3, 2)),
        (Window(before=-1, after=-2), 17, 4, 6, Fraction(13, 2)),
    ],
)
def test_shape_below_a_window(window, size, stride, fov, centre):
    parent = nm.Input((2, 3, 20), "b,f,x", strides=[4], fov=[6], print_repr=False)
    node = SimpleNamespace(parents=(parent,), windows=None, refined=False)
    shape = window_shape(node, [window])
    assert (shape.shape, shape.tags) == ([2, 3, size], ["b", "f", "x"])
    assert (shape.strides.tolist(), shape.fov, shape.centre) == ([stride], [fov], [centre])
    assert node.windows == (window,)
    assert node.refined is False


def test_shape_below_windows_of_several_axes():
    parent = volume(9, 20, None, strides=[1, 2, 3])
    node = SimpleNamespace(parents=(parent,), windows=None, refined=False)
    shape = window_shape(node, [Window(), Window(size=3), Window(size=2, down=2)])
    assert shape.shape == [1, 1, 9, 18, None]
    assert (shape.strides.tolist(), shape.fov) == ([1, 2, 6], [1, 5, 4])
    shape = window_shape(node, [Window(), Window(size=3), Window(size=2, down=2)], [7, 8, 9])
    assert shape.shape == [1, 1, 7, 8, 9]
    assert node.windows == (Window(), Window(size=3), Window(size=2, down=2))


def test_fragments_stay_as_they_are_below_a_window():
    fragments = nm.Pool(source(9), (2,), mfp=True, print_repr=False)
    assert conv(fragments, 3).shape.mfp_offsets.tolist() == [[0], [1]]


def test_unknown_fields_of_view_stay_unknown_per_axis():
    parent = volume(9, 9, tags="b,f,y,x", fov=[-1, 3])
    node = SimpleNamespace(parents=(parent,), windows=None, refined=False)
    shape = window_shape(node, [Window(size=3), Window(size=3)])
    assert shape.fov == [-1, 5]
    assert shape.offsets[0] == -1


def test_up_convolutions_make_everything_below_refined():
    up = upconv(conv(source(), 3), 2)
    assert up.refined and nm.ApplyFunc(up, nm.T.tanh).refined and conv(up, 3).refined
    assert not conv(source(), 3).refined
    # The stride is a fraction where the grid is finer than the raw data; voxel 0 moves left by a quarter.
    assert up.shape.strides.tolist() == [0.5]
    assert up.shape.centre == [Fraction(3, 4)]
    assert up.shape.fov == [3]
    assert upconv(conv(source(), 3), 4).shape.centre == [Fraction(5, 8)]


def test_the_field_of_view_is_the_largest_of_all_phases():
    node = conv(upconv(mean(source(), 2), 2), 3)
    extents = [b - a + 1 for a, b in (raw_interval(node, 0, i, i) for i in range(6))]
    assert extents == [4, 4] * 3
    node = conv(upconv(mean(source(), 2), 2), 2)
    extents = [b - a + 1 for a, b in (raw_interval(node, 0, i, i) for i in range(6))]
    assert extents == [2, 4] * 3
    assert node.shape.fov == [4]
    assert node.shape.strides.tolist() == [1]


def test_asking_is_told_of_every_walk_and_can_end_it():
    asked = []
    low = mean(source(), 4)
    with asking(lambda node, n: asked.append((node.name, n))):
        conv(mean(source(), 4), 3)
        assert asked == []
        upconv(low, 4)
        assert asked == [("upconv", 4)]
        nm.UpConv(nm.Pool(volume(8, 8, tags="b,f,y,x"), (4, 2), print_repr=False), 2, (2, 2), print_repr=False)
        # After the up-convolution a voxel is 2 and 1 raw voxels wide: 2 and 2 of them until everything repeats.
        assert asked[1:] == [("upconv1", 4)]
        nm.UpConv(nm.Pool(volume(8, 8, tags="b,f,y,x"), (4, 1), print_repr=False), 2, (2, 1), print_repr=False)
        assert asked[2:] == [("upconv2", 3)]

    def refuse(node, n):
        raise ArgumentError("too much", node=node)

    with pytest.raises(ArgumentError, match="too much"), asking(refuse):
        upconv(low, 4)
    assert upconv(low, 4).shape.fov == [4]
    assert len(asked) == 3


def test_strides_without_a_common_period_are_refused(monkeypatch):
    monkeypatch.setattr(geometry, "MAX_PHASES", 4)
    low = mean(source(), 4)
    assert upconv(low, 4).shape.fov == [4]
    low = mean(source(40), 5)
    with pytest.raises(ShapeError, match="no common period") as caught:
        nm.UpConv(low, 2, (5,), name="fine", print_repr=False)
    assert caught.value.node.name == "fine"
    assert "4 voxels on axis 0" in caught.value.got


def test_ancestors_come_first_and_once():
    x, y = source(), source()
    a, b = conv(x, 3), conv(y, 3)
    both = nm.Concat([a, b], print_repr=False)
    assert ancestors([both]) == [x, a, y, b, both]
    assert ancestors([b, both, a]) == [y, b, x, a, both]
    assert ancestors([]) == []


def shaped(parent, **geometry):
    """A node of whose windows only the shape says anything."""
    shape = TaggedShape(parent.shape.shape, parent.shape.tags, **geometry)
    return SimpleNamespace(windows=None, parents=(parent,), shape=shape)


@pytest.mark.parametrize(
    ("stride", "fov", "centre", "window"),
    [
        # Over a parent at stride 2 of which voxel 0 sees the raw voxels 0 to 4.
        (2, 5, 2, Window()),
        (2, 9, 4, Window(size=3)),
        (4, 7, 3, Window(size=2, down=2)),
        (6, 11, 5, Window(size=4, down=3)),
        (2, 9, 2, Window(size=3, before=1, after=1)),
        (2, 5, 6, Window(before=-2, after=-2)),
        (2, 7, 4, Window(size=3)),
        (2, 7, 3, Window(size=2)),
        (1, 5, 2, Window()),
    ],
)
def test_windows_follow_from_the_difference_of_two_shapes(stride, fov, centre, window):
    parent = nm.Input((1, 1, 20), "b,f,x", strides=[2], fov=[5], print_repr=False)
    assert windows_of(shaped(parent, strides=[stride], fov=[fov], centre=[centre])) == (window,)


def test_windows_that_cannot_be_known_are_taken_as_none():
    x = volume(9, 9, tags="b,f,y,x")
    assert windows_of(x) == (Window(), Window())
    assert windows_of(shaped(x, fov=[-1, 3])) == (Window(), Window(size=3))
    anything = nm.GenericInput(print_repr=False)
    assert windows_of(anything) == ()
    assert windows_of(SimpleNamespace(windows=None, parents=(x,), shape=None)) == ()
    assert windows_of(SimpleNamespace(windows=None, parents=(anything,), shape=x.shape)) == (Window(), Window())
    line = TaggedShape([1, 1, 9], "b,f,x", fov=[3])
    assert windows_of(SimpleNamespace(windows=None, parents=(x,), shape=line)) == (Window(),)
    flat = nm.Input((1, 2), "b,f", print_repr=False)
    after = SimpleNamespace(windows=None, parents=(flat, anything, source()), shape=line)
    assert windows_of(after) == (Window(size=3),)


def test_period_is_the_common_multiple_of_all_strides():
    x = source(48)
    assert period([conv(mean(x, 2), 1)], 0) == 2
    assert period([conv(mean(x, 2), 1), conv(mean(x, 3), 1)], 0) == 6
    assert period([upconv(mean(x, 4), 2)], 0) == 4
    assert period([nm.Input((1, 2), "b,f", print_repr=False)], 0) == 1
    plane = nm.Pool(volume(6, 6, tags="b,f,y,x"), (2, 3), print_repr=False)
    assert (period([plane], 0), period([plane], 1), period([plane], 2)) == (2, 3, 1)
    half = nm.Input((1, 1, 6), "b,f,x", strides=[0.75], print_repr=False)
    assert period([half], 0) == 3


def test_raw_intervals_of_ranges_beyond_the_data_and_padding():
    node = conv(mean(conv(source(), 3), 2), 3)
    assert raw_interval(node, 0, 0, 0) == (0, 7)
    assert raw_interval(node, 0, -2, 3) == (-4, 13)
    padded = nm.Pad(node, (2,), print_repr=False)
    assert raw_interval(padded, 0, 0, 1) == (-4, 5)


def test_raw_intervals_start_where_the_source_says():
    coarse = nm.Input((1, 1, 20), "b,f,x", strides=[3], fov=[5], print_repr=False)
    assert raw_interval(coarse, 0, 0, 0) == (0, 4)
    assert raw_interval(coarse, 0, 2, 4) == (6, 16)
    assert raw_interval(conv(coarse, 3), 0, 1, 1) == (3, 13)
    even = nm.Input((1, 1, 20), "b,f,x", fov=[4], print_repr=False)
    assert raw_interval(even, 0, 1, 1) == (1, 4)


@pytest.mark.parametrize(
    ("fov", "centre", "first"), [(5, 7, 5), (5, Fraction(15, 2), 5), (4, 1, -1), (4, Fraction(3, 2), 0)]
)
def test_raw_intervals_of_a_source_that_lies_elsewhere(fov, centre, first):
    shape = TaggedShape([1, 1, 20], "b,f,x", strides=[2], fov=[fov], centre=[centre])
    node = SimpleNamespace(is_source=True, parents=(), spatial_parents=(), shape=shape, sub_graph=lambda: iter([node]))
    assert raw_interval(node, 0, 1, 2) == (2 + first, 4 + first + fov - 1)


def test_raw_intervals_of_branches_cover_all_of_them():
    x = source()
    narrow, left = nm.Crop(x, (2,), print_repr=False), nm.Crop(conv(x, 3), (1,), print_repr=False)
    for pair in ((narrow, left), (left, narrow)):
        assert raw_interval(nm.Concat(pair, print_repr=False), 0, 5, 6) == (6, 9)
    far = source()
    assert raw_interval(nm.Concat([left, nm.Crop(far, (2,), print_repr=False)], print_repr=False), 0, 5, 6) == (6, 9)


def test_raw_intervals_of_what_has_no_source():
    value = nm.ValueNode((1, 1, 5), "b,f,x", print_repr=False)
    assert raw_interval(value, 0, 3, 4) == (3, 4)


def test_raw_intervals_per_axis():
    plane = nm.Conv(volume(9, 9, tags="b,f,y,x"), 2, (1, 3), print_repr=False)
    assert raw_interval(plane, 0, 2, 2) == (2, 2)
    assert raw_interval(plane, 1, 2, 2) == (2, 4)


def test_parents_without_the_axis_do_not_count():
    class Scaled(nm.Node):
        def _make_output(self):
            self.output = self.parent[0].output + self.parent[1].output.sum()

    x, flat = source(12), nm.Input((1, 2), "b,f", name="flat", print_repr=False)
    node = conv(Scaled([x, flat, nm.GenericInput(print_repr=False)], name="scaled"), 3)
    assert raw_interval(node, 0, 2, 2) == (2, 4)
    assert period([node], 0) == 1
    assert sizes_through(node, 0, 12) == 10
    assert list(sizes_of_all(node, 0, 12).values()) == [12, 12, 10]


def test_sizes_of_a_graph():
    x = source(20)
    a = conv(x, 3)
    b = mean(a, 2)
    assert sizes_of_all(b, 0, 12) == {id(x): 12, id(a): 10, id(b): 5}
    assert (sizes_through(b, 0, 4), sizes_through(b, 0, 3), sizes_through(b, 0, 2)) == (1, None, None)
    assert sizes_of_all(b, 0, 11) == sizes_of_all(b, 0, 1) == {}
    assert sizes_through(x, 0, 7) == 7
    assert sizes_through(nm.Input((1, 2), "b,f", print_repr=False), 0, 7) is None


def test_branches_must_agree_but_for_single_voxels():
    x = nm.Input((1, 1, None), "b,f,x", print_repr=False)
    even = nm.Concat([nm.Crop(x, (1,), print_repr=False), conv(x, 3)], print_repr=False)
    assert sizes_through(even, 0, 9) == 7
    constant = nm.ValueNode((1, 1, 9), "b,f,x", print_repr=False)
    assert sizes_through(nm.Add(constant, x, print_repr=False), 0, 9) == 9
    # What has no source has no size.
    assert sizes_through(nm.ValueNode((1, 2, 5), "b,f,x", print_repr=False), 0, 6) is None
    total = nm.Pool(conv(x, 3), (18,), mode="average", print_repr=False)
    crop = nm.Crop(conv(x, 1), (1,), print_repr=False)
    both = SimpleNamespace(
        parents=(total, crop), spatial_parents=(total, crop), same_size=(), windows=(Window(),),
        shape=crop.shape, is_source=False,
        sub_graph=lambda: iter([*ancestors([total, crop]), both]),
    )  # fmt: skip
    assert sizes_through(both, 0, 20) is None  # that the pool has a single voxel is not declared
    both.spatial_parents = (nm.Pool(conv(nm.Input((1, 1, 20), "b,f,x", print_repr=False), 3), (18,)), crop)
    both.sub_graph = lambda: iter([*ancestors(both.spatial_parents), both])
    assert sizes_through(both, 0, 20) == 18
    parents = conv(x, 3), conv(x, 2)
    unequal = SimpleNamespace(
        parents=parents, spatial_parents=parents, same_size=(), windows=(Window(),),
        shape=crop.shape, is_source=False,
        sub_graph=lambda: iter([*ancestors(unequal.parents), unequal]),
    )  # fmt: skip
    assert sizes_through(unequal, 0, 20) is None


def test_merged_nodes_see_what_any_parent_sees():
    x = source(20)
    wide, narrow = conv(x, 5), nm.Crop(x, (2,), print_repr=False)
    for pair in ((wide, narrow), (narrow, wide)):
        node = nm.Concat(pair, print_repr=False)
        assert node.windows == (Window(),)
        assert (node.shape.fov, node.shape.centre) == ([5], [2])
    alike = nm.Add(conv(x, 5), conv(x, 5), print_repr=False)
    assert (alike.shape.fov, alike.shape.centre) == ([5], [2])
    unknown = conv(x, 5, invalidate_fov=True)
    assert nm.Add(wide, unknown, print_repr=False).shape.fov == [5]
    assert nm.Add(unknown, wide, print_repr=False).shape.fov == [-1]


def test_merged_nodes_with_padded_parents_see_both():
    x = source(20)
    one, three = nm.Pad(x, (1,), print_repr=False), conv(x, 3, conv_mode="full")
    assert (one.shape.centre, three.shape.centre) == ([-1], [-1])
    assert nm.Concat([one, three], print_repr=False).shape.fov == [3]


def test_merged_fragments_keep_their_offsets():
    fragments = nm.Pool(source(9), (2,), mfp=True, print_repr=False)
    narrow, wide = nm.Crop(fragments, (1,), print_repr=False), conv(fragments, 3)
    node = nm.Concat([narrow, wide], print_repr=False)
    assert node.shape.fov == wide.shape.fov != narrow.shape.fov
    assert node.shape.mfp_offsets.tolist() == [[0], [1]]


def test_inputs_with_other_axes_are_named():
    a, b = volume(5, 5, tags="b,f,y,x", name="a"), volume(5, 5, tags="b,f,x,y", name="b")
    require_same_spatial_rank(a, [a, a])
    with pytest.raises(ShapeError) as caught:
        require_same_spatial_rank(a, [a, b])
    assert caught.value.node is a
    assert caught.value.got == f"a: {a.shape!r}; b: {b.shape!r}"
    assert str(a.shape.tags) in caught.value.expected
