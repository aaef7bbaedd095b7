"""TaggedShape: construction, look-up, modified copies, geometry."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuromancer import TaggedShape
from neuromancer.errors import ShapeError
from neuromancer.graph.tagged_shape import SPATIAL_TAGS, TAGS

shapes = st.lists(st.sampled_from(TAGS), min_size=1, max_size=7, unique=True).flatmap(
    lambda tags: st.tuples(
        st.lists(st.one_of(st.none(), st.integers(1, 50)), min_size=len(tags), max_size=len(tags)),
        st.just(tags),
    )
)


def geometric(draw, tags):
    n = sum(t in SPATIAL_TAGS for t in tags)
    return draw(st.lists(st.integers(1, 9), min_size=n, max_size=n)), draw(
        st.lists(st.integers(1, 9), min_size=n, max_size=n)
    )


def test_documented_members():
    sh = TaggedShape([10, 3, 23, 183, 100], "b,f,z,x,y", strides=[1, 2, 2], fov=[9, 27, 26])
    assert repr(sh) == "[(10,b), (3,f), (23,z), (183,x), (100,y)]"
    assert sh.shape == [10, 3, 23, 183, 100]
    assert sh.tags == ["b", "f", "z", "x", "y"]
    assert sh["f"] == 3
    assert sh[0] == 10
    assert sh[1:3] == [3, 23]
    assert len(sh) == 5
    assert sh.ndim == 3
    assert sh.spatial_axes == [2, 3, 4]
    assert sh.spatial_shape == [23, 183, 100]
    assert sh.spatial_size == 23 * 183 * 100
    assert sh.strides.tolist() == [1, 2, 2]
    assert sh.fov == [9, 27, 26]
    assert sh.offsets == [4, 13, 13]
    assert not sh.fov_all_centered
    assert sh.stripbatch_prod == 3 * 23 * 183 * 100
    assert list(sh) == sh.shape
    assert "fov=[9, 27, 26], offsets=[4, 13, 13], strides=[1, 2, 2]" in sh.ext_repr


def test_unknown_sizes():
    sh = TaggedShape([None, 3, None], "b,f,x")
    assert sh.stripnone == [3]
    assert sh.stripnone_prod == 3
    assert sh.spatial_size is None
    assert sh.stripbatch_prod is None
    assert TaggedShape([None, 3, 5], "b,f,x").stripbatch_prod == 15


def test_unknown_field_of_view_gives_unknown_offset():
    assert TaggedShape([1, 1, 4], "b,f,x", fov=[-1]).offsets == [-1]


def test_tags_as_list_are_not_aliased():
    tags = ["b", "f"]
    sh = TaggedShape([1, 2], tags)
    tags[0] = "s"
    assert sh.tags == ["b", "f"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (([1, 2], "b,q"), "unknown tag 'q'"),
        (([1, 2], "b,b"), "duplicate tags"),
        (([1, 2, 3], "b,f"), "shape and tags differ in length"),
        (([1, 2], None), "tags must be a list"),
        (([1, -2], "b,f"), "not a size"),
        (([1, 2.5], "b,f"), "not a size"),
        (([1, 2, 3], "b,f,x", [1, 1]), "strides needs one entry per spatial axis"),
        (([1, 2, 3], "b,f,x", [0]), "strides must be positive"),
        (([1, 2, 3], "b,f,x", None, None, [1, 2]), "fov needs one entry per spatial axis"),
    ],
)
def test_bad_arguments(args, message):
    with pytest.raises(ShapeError, match=message):
        TaggedShape(*args)


def test_look_up_of_missing_tag_lists_the_tags():
    with pytest.raises(ShapeError, match=r"no axis has tag 'z'.*one of \['b', 'f'\]"):
        TaggedShape([1, 2], "b,f").tag2index("z")


def test_updateshape_modes():
    sh = TaggedShape([None, 3, 10], "b,f,x")
    assert sh.updateshape("x", 4).shape == [None, 3, 4]
    assert sh.updateshape(np.int64(2), 4, "add").shape == [None, 3, 14]
    assert sh.updateshape("x", 4, "mult").shape == [None, 3, 40]
    assert sh.updateshape("b", 4, "add").shape == [None, 3, 10]
    with pytest.raises(ShapeError, match="unknown mode"):
        sh.updateshape("x", 4, "sub")
    assert sh.shape == [None, 3, 10]


def test_delaxis_removes_the_named_axis_and_its_geometry():
    sh = TaggedShape([1, 2, 5, 6], "b,f,z,x", strides=[2, 3], fov=[4, 5])
    left = sh.delaxis("z")
    assert left.tags == ["b", "f", "x"]
    assert left.strides.tolist() == [3]
    assert left.fov == [5]
    assert left.mfp_offsets.shape == (1, 1)
    assert sh.delaxis("f").tags == ["b", "z", "x"]


def test_addaxis_extends_the_geometry():
    sh = TaggedShape([1, 2, 6], "b,f,x", strides=[3], fov=[5]).addaxis("f", 4, "z")
    assert sh.tags == ["b", "f", "z", "x"]
    assert sh.strides.tolist() == [1, 3]
    assert sh.fov == [1, 5]


def test_fractional_strides_survive_copies():
    sh = TaggedShape([1, 2, 6], "b,f,x").updatestrides([0.5])
    assert sh.copy().strides.tolist() == [0.5]


def test_equality():
    a = TaggedShape([1, 2, 6], "b,f,x", fov=[5])
    assert a == a.copy()
    assert a != a.updatefov(0, 7)
    assert a != TaggedShape([1, 2, 6], "b,f,y", fov=[5])
    assert a != "b,f,x"


@given(shapes)
def test_string_and_list_tags_agree(case):
    shape, tags = case
    assert TaggedShape(shape, ",".join(tags)) == TaggedShape(shape, tags)


@given(shapes, st.data())
def test_add_then_delete_an_axis_is_the_identity(case, data):
    shape, tags = case
    free = [t for t in TAGS if t not in tags]
    strides, fov = geometric(data.draw, tags)
    sh = TaggedShape(shape, tags, strides=strides, fov=fov)
    if free:
        tag = data.draw(st.sampled_from(free))
        after = data.draw(st.sampled_from(tags))
        bigger = sh.addaxis(after, 3, tag)
        assert bigger.tag2index(tag) == sh.tag2index(after) + 1
        assert bigger.delaxis(tag) == sh


@given(shapes)
def test_spatial_members_are_consistent(case):
    shape, tags = case
    sh = TaggedShape(shape, tags)
    assert sh.ndim == len(sh.strides) == len(sh.fov) == len(sh.offsets) == sh.mfp_offsets.shape[1]
    assert [sh.tags[i] for i in sh.spatial_axes] == [t for t in tags if t in SPATIAL_TAGS]
    assert sh.copy() == sh


def test_updatefov_keeps_the_first_raw_voxel():
    padded = TaggedShape([1, 20, 20], "b,y,x", fov=[5, 5], centre=[1, 2])
    assert padded.updatefov(0, 9).centre == [3, 2] and padded.updatefov(0, 9).fov == [9, 5]
    assert padded.updatefov(-1, 2).centre == [1, Fraction(1, 2)]
    plain = TaggedShape([1, 20], "b,x", fov=[5])
    assert plain.updatefov(0, 8).centre == [Fraction(7, 2)] and plain.updatefov(0, 8).offsets == [4]


def test_sizes_are_not_negative():
    assert TaggedShape([2, 0], "b,x").shape == [2, 0]
    for size in (-1, 1.0, True, "3"):
        with pytest.raises(ShapeError, match="not a size"):
            TaggedShape([2, size], "b,x")
