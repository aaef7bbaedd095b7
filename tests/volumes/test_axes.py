"""Views in the order (f, *spatial): shapes, slices and blocks of every stored order agree with a transposition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromancer.errors import ArgumentError, InputTypeError, ShapeError
from neuromancer.volumes import create_sink, open_source
from neuromancer.volumes.axes import PASSED, Layout, checked_index, layout_of, letters


@st.composite
def stored_arrays(draw):
    """Draw a layout, an array in its stored order and the same array as the view shows it."""
    spatial = "".join(draw(st.permutations("zyx")))[: draw(st.integers(1, 3))]
    channels = draw(st.booleans())
    sizes = [draw(st.integers(1, 4)) if channels else 1, *[draw(st.integers(1, 4)) for _ in spatial]]
    view = np.arange(np.prod(sizes)).reshape(sizes)
    stored = "".join(draw(st.permutations(spatial + "f" * channels + PASSED * draw(st.integers(0, 2)))))
    array = view.transpose([("f" + spatial).index(a) for a in ("" if channels else "f") + stored.replace(PASSED, "")])
    array = array if channels else array[0]
    return Layout(stored, spatial), np.expand_dims(array, [k for k, a in enumerate(stored) if a == PASSED]), view


@settings(max_examples=40, deadline=None)
@given(stored_arrays(), st.data())
def test_a_view_is_a_transposition(stored, data):
    layout, array, view = stored
    assert layout.names == "f" + layout.spatial and layout.shape(array.shape) == view.shape
    np.testing.assert_array_equal(layout.view(array), view)
    np.testing.assert_array_equal(layout.unview(view), array)
    assert np.shares_memory(layout.view(array), array)
    where = []
    for n in view.shape:
        start = data.draw(st.integers(0, n - 1))
        where.append(slice(start, data.draw(st.integers(start + 1, n))))
    block = layout.view(array[layout.where(where)])
    np.testing.assert_array_equal(block, view[tuple(where)])
    assert layout.unview(block).shape == array[layout.where(where)].shape


def test_values_per_axis_in_both_orders():
    layout = Layout("x.fy", "yx")
    assert layout.per_axis([5, 1, 2, 4], 0) == (2, 4, 5) and layout.per_stored([2, 4, 5], 1) == (5, 1, 2, 4)
    assert Layout("yx", "yx").per_axis([4, 5], 7) == (7, 4, 5)
    shape = Layout("xy", "yx").shape(np.array([5, 4]))
    assert shape == (1, 4, 5) and all(type(n) is int for n in shape)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["z", "y", "x"], "zyx"),
        (["Channels", "Z", "Y", "X"], "fzyx"),
        (["time", "feature", "y", "x"], "tfyx"),
        (["y", "x", "s"], "yxf"),
        (("x",), "x"),
        (["c", "channel", "y", "x"], None),
        (["c", "t"], None),
        (["row", "x"], None),
        (["y", "y"], None),
        ([], None),
        ([0, "x"], "0x"),
        (None, None),
    ],
)
def test_letters_of_names_in_files(names, expected):
    assert letters(names) == expected


@pytest.mark.parametrize(
    ("shape", "named", "spatial", "options", "stored", "view"),
    [
        ((4, 5, 6), None, "zyx", {}, "zyx", "zyx"),
        ((4, 5, 6), None, "xyz", {}, "xyz", "xyz"),
        ((2, 4, 5, 6), None, "zyx", {}, "fzyx", "zyx"),
        ((5, 6), None, "yx", {}, "yx", "yx"),
        ((2, 5, 6), None, "yx", {}, "fyx", "yx"),
        ((2, 4, 5, 6), None, "yx", {}, "fzyx", "zyx"),
        ((2, 4, 5, 6), None, "zy", {}, "fxzy", "xzy"),
        ((6,), None, "x", {}, "x", "x"),
        ((6, 5, 4, 2), "XYZC", "zyx", {"given": True}, "xyzf", "zyx"),
        ((1, 1, 6), "yzx", "x", {}, "..x", "x"),
        ((1, 4, 5, 6), "tzyx", "zyx", {}, ".zyx", "zyx"),
        ((3, 5, 6), "zyx", "yx", {"given": True}, "zyx", "zyx"),
        ((1, 5, 6), "zyx", "yx", {"stack": False}, ".yx", "yx"),
    ],
)
def test_layouts(shape, named, spatial, options, stored, view):
    assert layout_of(shape, named, spatial, "raw", **options) == Layout(stored, view)


@pytest.mark.parametrize(
    ("shape", "named", "spatial", "options", "error", "got"),
    [
        ((5, 6), None, "zyx", {}, ShapeError, "shape (5, 6)"),
        ((1, 2, 4, 5, 6), None, "zyx", {}, ShapeError, "shape (1, 2, 4, 5, 6)"),
        ((2, 4, 5, 6), None, "yx", {"stack": False}, ShapeError, "shape (2, 4, 5, 6)"),
        ((4, 5, 6), 3, "zyx", {}, InputTypeError, 3),
        ((4, 5, 6), "zy", "zyx", {}, ArgumentError, "axes 'zy' for shape (4, 5, 6)"),
        ((4, 5, 6), "zyy", "zyx", {}, ArgumentError, "axes 'zyy' for shape (4, 5, 6)"),
        ((1, 4, 5, 6), "tzyx", "zyx", {"given": True}, ArgumentError, "axes 'tzyx' for shape (1, 4, 5, 6)"),
        ((2, 5, 6), "fyx", "zyx", {}, ShapeError, "axes 'fyx'"),
        ((3, 4, 5, 6), "tzyx", "zyx", {}, ShapeError, "axis 't' of size 3"),
        ((3, 5, 6), "zyx", "yx", {"stack": False}, ShapeError, "axis 'z' of size 3"),
    ],
)
def test_axes_that_do_not_fit(shape, named, spatial, options, error, got):
    with pytest.raises(error) as caught:
        layout_of(shape, named, spatial, "raw", **options)
    assert caught.value.got == got and caught.value.node in ("raw", "axes")


@pytest.mark.parametrize(("named", "nearest"), [("zyyc", "zyxc"), ("CZZX", "czyx")])
def test_the_nearest_order_is_named_in_the_letters_of_the_user(named, nearest):
    with pytest.raises(ArgumentError) as caught:
        layout_of((4, 5, 6, 2), named, "zyx", "raw", True)
    assert caught.value.nearest == nearest and repr(named) in caught.value.got
    with pytest.raises(ShapeError) as caught:
        layout_of((4, 5, 6), "cyx", "zyx", "raw", True)
    assert "'cyx'" in caught.value.got


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=4), st.data())
def test_an_index_selects_what_numpy_does(shape, data):
    where = []
    for n in shape[: data.draw(st.integers(0, len(shape)))]:
        start = data.draw(st.one_of(st.none(), st.integers(0, n)))
        stop = data.draw(st.one_of(st.none(), st.integers(start or 0, n)))
        where.append(slice(start, stop, data.draw(st.one_of(st.none(), st.integers(1, 3)))))
    index = checked_index(tuple(where), shape, "raw", steps=True)
    assert len(index) == len(shape) and all(type(n) is int for s in index for n in (s.start, s.stop, s.step))
    array = np.arange(np.prod(shape)).reshape(shape)
    np.testing.assert_array_equal(array[index], array[tuple(where)])


@pytest.mark.parametrize(
    ("where", "steps", "got"),
    [
        ((slice(0, 5),), False, "0:5:1"),
        ((slice(-1, 2),), False, "-1:2:1"),
        ((slice(3, 2),), False, "3:2:1"),
        ((slice(5, None),), False, "5:4:1"),
        ((slice(0, 4, 2),), False, "0:4:2"),
        ((slice(0, 4, 0),), True, "0:4:0"),
        ((slice(4, 0, -1),), True, "4:0:-1"),
        ((slice(None), 3), False, "3"),
        ((slice(None), None), False, "None"),
        (Ellipsis, False, "Ellipsis"),
        ((slice(0.5, 2),), False, "slice(0.5, 2, None)"),
        ((slice("a", None),), False, "slice('a', None, None)"),
        ((slice(None), slice(0, 2, 1.0)), True, "slice(0, 2, 1.0)"),
        ((slice(False, True),), False, "slice(False, True, None)"),
        ((slice(None),) * 3, False, 3),
    ],
)
def test_other_indices_are_refused(where, steps, got):
    with pytest.raises(ShapeError) as caught:
        checked_index(where, (4, 5), "raw", steps)
    assert (caught.value.node, caught.value.got) == ("raw", got)


@pytest.mark.parametrize("spatial", [5, b"zyx", ("z", "y", "x"), None, "", "zzx", "fyx", "cyx", "z.x"])
def test_spatial_axes_are_distinct_letters(spatial):
    error = ArgumentError if isinstance(spatial, str) else InputTypeError
    with pytest.raises(error) as caught:
        open_source(np.zeros((4, 5, 6)), None, spatial)
    assert caught.value.got == spatial
    with pytest.raises(error):
        create_sink(np.zeros((4, 5, 6)), (1, 4, 5, 6), "float64", spatial=spatial)
