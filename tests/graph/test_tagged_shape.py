"""TaggedShape: construction, look-up, modified copies, geometry."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuromancer import TaggedShape
from neuromancer.errors import ShapeError, UnknownNameError
from neuromancer.graph.tagged_shape import MAX_SIZE, SPATIAL_TAGS, TAGS, exact, parse_tags, require_tag

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


@pytest.mark.parametrize("tags", ["b,f,x", " b , f,x ", ["b", "f", "x"], ("b", "f", "x")])
def test_tags_come_in_any_sequence(tags):
    assert parse_tags(tags) == ["b", "f", "x"]
    assert TaggedShape([1, 2, 3], tags).tags == ["b", "f", "x"]


@pytest.mark.parametrize(
    ("tags", "facts"),
    [
        (7, {"got": 7, "expected": "'b,f,z,y,x'", "nearest": None}),
        ("B,F", {"got": ["B", "F"], "nearest": "b,f"}),
        ("B,q", {"got": ["B", "q"], "nearest": None}),
        (["b", 5], {"got": ["b", 5], "nearest": None}),
        ("f,f", {"got": ["f", "f"]}),
    ],
)
def test_errors_of_tags_hold_what_came_and_what_is_near(tags, facts):
    with pytest.raises(ShapeError) as caught:
        parse_tags(tags)
    error = caught.value
    assert error.node == "TaggedShape"
    assert error.expected is not None
    assert {key: getattr(error, key) for key in facts} == facts


@pytest.mark.parametrize(
    ("make", "got", "expected"),
    [
        (lambda: TaggedShape("12", "b,f"), "12", "None"),
        (lambda: TaggedShape(5, "b"), "5", "None"),
        (lambda: TaggedShape([1, 2], "b"), "shape [1, 2], tags ['b']", "axis"),
        (lambda: TaggedShape([1, 5], "b,x", [1, 1]), "2", "['b', 'x']"),
        (lambda: TaggedShape([1, 5, 5], "b,y,x", mfp_offsets=[[0]]), "1", "2"),
        (lambda: TaggedShape([1, 5], "b,x", centre=[1, 2]), "2", "1"),
        (lambda: TaggedShape([1, 5], "b,x", fov=[1, 2]), "2", "1"),
        (lambda: TaggedShape([1, -5], "b,x"), "-5", "[1, -5]"),
        (lambda: TaggedShape([1, 5], "b,x", [0]), "[0]", "1"),
        (lambda: TaggedShape([1, 5], "b,x", [-1.5]), "[-1.5]", "1"),
        (lambda: TaggedShape([1, 5], "b,x", []), "[]", "1"),
        (lambda: TaggedShape([1, 5], "b,x", ["a"]), "['a']", "1"),
        (lambda: TaggedShape([1, 5], "b,x", [float("nan")]), "[nan]", "1"),
        (lambda: TaggedShape([1, 5], "b,x", [float("inf")]), "[inf]", "1"),
        (lambda: TaggedShape([1, 5], "b,x", fov=[0]), "[0]", ">= 1"),
        (lambda: TaggedShape([1, 5], "b,x", fov=[-2]), "[-2]", ">= 1"),
        (lambda: TaggedShape([1, 5], "b,x", fov=[2.0]), "[2.0]", ">= 1"),
        (lambda: TaggedShape([1, 5], "b,x", fov=3), "3", ">= 1"),
        (lambda: TaggedShape([1, 5], "b,x", mfp_offsets=["a"]), "['a']", "n_fragments"),
        (lambda: TaggedShape([1, 5], "b,x", mfp_offsets=[[[0]]]), "[[[0]]]", "n_fragments"),
        (lambda: TaggedShape([1, 5], "b,x", mfp_offsets=[[1], [2, 3]]), "[[1], [2, 3]]", "n_fragments"),
        (lambda: TaggedShape([1, 5], "b,x", centre="1"), "'1'", ""),
        (lambda: TaggedShape([1, 5], "b,x", centre=3), "3", ""),
        (lambda: TaggedShape([1, 5], "b,x", centre=["1"]), "['1']", ""),
        (lambda: TaggedShape([1, 5], "b,x", centre=[None]), "[None]", ""),
        (lambda: TaggedShape([1, 5], "b,x").axis(2), "2", "below 2"),
        (lambda: TaggedShape([1, 5], "b,x").axis(-3), "-3", "below 2"),
        (lambda: TaggedShape([1, 5], "b,x").axis(True), "True", "['b', 'x']"),
        (lambda: TaggedShape([1, 5], "b,x").axis(1.0), "1.0", "['b', 'x']"),
        (lambda: TaggedShape([1, 5], "b,x").tag2index("f"), "f", "['b', 'x']"),
        (lambda: TaggedShape([1, 5], "b,x").updateshape("x", 3, "sub"), "sub", "'mult'"),
        (lambda: TaggedShape([1, 5], "b,x").updatefov(1, 3), "1", "below 1"),
        (lambda: TaggedShape([1, 5], "b,x").updatefov(-2, 3), "-2", "below 1"),
        (lambda: TaggedShape([1, 5], "b,x").updatefov("x", 3), "x", "below 1"),
    ],
)
def test_errors_hold_what_came_and_what_is_expected(make, got, expected):
    with pytest.raises(ShapeError) as caught:
        make()
    assert str(caught.value.node).startswith("TaggedShape")
    assert got in str(caught.value.got)
    assert expected in str(caught.value.expected)


@pytest.mark.parametrize("part", ["strides", "fov", "centre", "mfp_offsets"])
def test_a_part_of_another_rank_is_named(part):
    entries = [[1, 2]] if part == "mfp_offsets" else [1, 2]
    with pytest.raises(ShapeError) as caught:
        TaggedShape([1, 5], "b,x", **{part: entries})
    assert part in caught.value.problem.split()


def test_numbers_stay_below_a_bound():
    largest = MAX_SIZE - 1
    shape = TaggedShape([largest, 4], "b,x", strides=[MAX_SIZE // 2], fov=[largest], centre=[largest])
    assert (shape["b"], shape.fov, shape.centre) == (largest, [largest], [largest])
    assert shape.strides.tolist() == [MAX_SIZE // 2]
    for wrong in (
        {"shape": [MAX_SIZE, 4]},
        {"strides": [MAX_SIZE]},
        {"fov": [MAX_SIZE]},
        {"centre": [MAX_SIZE]},
        {"centre": [-MAX_SIZE]},
    ):
        with pytest.raises(ShapeError):
            TaggedShape(**{"shape": [1, 4], "tags": "b,x", **wrong})
    assert TaggedShape([1, 4], "b,x", centre=[-largest]).centre == [-largest]


def test_sizes_of_numpy_become_plain():
    shape = TaggedShape(np.array([2, 3]), "b,x", fov=np.array([3]), strides=np.array([2]), centre=np.array([1.5]))
    assert shape.shape == [2, 3] and all(type(s) is int for s in shape.shape)
    assert shape.fov == [3] and type(shape.fov[0]) is int
    assert shape.strides.dtype.kind == "i"
    assert shape.centre == [Fraction(3, 2)]
    assert TaggedShape([1, 4], "b,x", centre=[np.float32(0.25)]).centre == [Fraction(1, 4)]
    assert TaggedShape([1, 4], "b,x", fov=[np.int8(-1)]).fov == [-1]


def test_defaults_of_the_geometry():
    shape = TaggedShape([1, 2, 6, 7], "b,f,y,x")
    assert shape.strides.tolist() == [1, 1] and shape.strides.dtype.kind == "i"
    assert (shape.fov, shape.centre, shape.offsets) == ([1, 1], [0, 0], [0, 0])
    assert shape.mfp_offsets.tolist() == [[0, 0]] and shape.mfp_offsets.dtype.kind == "i"
    flat = TaggedShape([1, 2], "b,f")
    assert (flat.fov, flat.centre, flat.offsets, flat.strides.tolist(), flat.ndim) == ([], [], [], [], 0)
    assert flat.mfp_offsets.shape == (1, 0)
    given = TaggedShape([1, 2], "b,f", strides=[], fov=[], centre=[]).strides
    assert given.tolist() == [] and given.dtype.kind == "i"
    assert flat.spatial_size == 1


def test_offsets_of_one_fragment_may_be_a_row():
    assert TaggedShape([1, 6, 7], "b,y,x", mfp_offsets=[3, 4]).mfp_offsets.tolist() == [[3, 4]]


@pytest.mark.parametrize(
    ("strides", "kept", "kind"), [([2, 3], [2, 3], "i"), ([0.5, 1], [0.5, 1], "f"), ([2.0, 1], [2, 1], "i")]
)
def test_strides_are_whole_where_they_can_be(strides, kept, kind):
    array = TaggedShape([1, 6, 7], "b,y,x", strides=strides).strides
    assert array.tolist() == kept
    assert array.dtype.kind == kind


def test_exact_strides():
    assert exact(1 / 3) == Fraction(1, 3)
    assert exact(np.float64(2 / 7)) == Fraction(2, 7)
    assert exact(1 / 65536) == Fraction(1, 65536)
    assert exact(1 / 65537) != Fraction(1, 65537)


@pytest.mark.parametrize(
    ("centre", "offset"),
    [
        (0, 0),
        (Fraction(1, 2), 1),
        (1, 1),
        (Fraction(3, 2), 2),
        (-1, -1),
        (Fraction(-3, 2), -1),
        (Fraction(1, 4), 0),
        (2, 2),
        (Fraction(5, 2), 3),
    ],
)
def test_a_voxel_belongs_to_the_raw_voxel_below_its_centre(centre, offset):
    shape = TaggedShape([1, 5], "b,x", fov=[4], centre=[centre])
    assert shape.centre == [centre]
    assert shape.offsets == [offset]


def test_a_field_of_view_has_a_middle_voxel_where_it_is_odd():
    assert TaggedShape([1, 5, 5], "b,y,x", fov=[3, 5]).fov_all_centered
    assert not TaggedShape([1, 5, 5], "b,y,x", fov=[3, 4]).fov_all_centered
    assert TaggedShape([1, 2], "b,f").fov_all_centered


def test_unknown_fields_of_view_have_no_centre():
    shape = TaggedShape([1, 5, 5], "b,y,x", fov=[-1, 3])
    assert (shape.centre, shape.offsets) == ([None, 1], [-1, 1])


def test_a_centre_that_is_the_usual_one_moves_with_the_field_of_view():
    usual = TaggedShape([1, 5], "b,x", fov=[5], centre=[2])
    assert usual == TaggedShape([1, 5], "b,x", fov=[5])
    assert usual.updatefov(0, 7).centre == [3]


def test_axes_by_position_and_tag():
    shape = TaggedShape([1, 2, 6, 7], "b,f,y,x")
    assert [shape.axis(a) for a in (0, 3, -1, -4, np.int64(2), "y")] == [0, 3, 3, 0, 2, 2]
    assert type(shape.axis(np.int64(2))) is int
    assert (shape.hastag("y"), shape.hastag("z")) == (True, False)
    assert (shape[-1], shape["y"], list(shape)) == (7, 6, [1, 2, 6, 7])


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [1, 2, 6]},
        {"tags": "b,f,y"},
        {"strides": [3]},
        {"fov": [6]},
        {"centre": [3]},
        {"mfp_offsets": [[1]]},
        {"mfp_offsets": [[0], [0]]},
    ],
)
def test_shapes_differ_in_any_part(change):
    parts = {"shape": [1, 2, 5], "tags": "b,f,x", "strides": [2], "fov": [5], "centre": [4], "mfp_offsets": [[0]]}
    assert TaggedShape(**parts) == TaggedShape(**parts)
    assert TaggedShape(**parts) != TaggedShape(**{**parts, **change})


def test_copies_keep_everything_and_share_nothing():
    shape = TaggedShape([1, 2, 5], "b,f,x", strides=[2], fov=[5], centre=[4], mfp_offsets=[[1]])
    copy = shape.copy()
    assert copy == shape and copy is not shape
    copy.shape[0], copy.tags[0] = 9, "s"
    copy.mfp_offsets[:] = 7
    copy.strides[:] = 7
    assert (shape.shape, shape.tags, shape.mfp_offsets.tolist(), shape.strides.tolist()) == (
        [1, 2, 5], ["b", "f", "x"], [[1]], [2],
    )  # fmt: skip


def test_the_extended_text_holds_the_geometry():
    shape = TaggedShape([1, 2, 5], "b,f,x", strides=[2], fov=[4])
    first, second = shape.ext_repr.split("\n")
    assert first == repr(shape)
    for fact in ("fov=[4]", "offsets=[2]", "strides=[2]", "spatial shape=[5]"):
        assert fact in second


@pytest.mark.parametrize("size", [4, None])
@pytest.mark.parametrize("mode", ["add", "mult"])
def test_unknown_sizes_stay_unknown(size, mode):
    shape = TaggedShape([None, 3], "b,f")
    assert shape.updateshape("b", size, mode).shape == [None, 3]
    assert shape.updateshape("f", None, mode).shape == [None, None]


def test_changed_copies_leave_the_rest():
    shape = TaggedShape([1, 2, 5, 6], "b,f,y,x", strides=[2, 3], fov=[5, 7], centre=[4, 5], mfp_offsets=[[1, 2]])
    fragments = shape.updatemfp_offsets([[0, 0], [1, 0]])
    assert fragments.mfp_offsets.tolist() == [[0, 0], [1, 0]]
    assert fragments.updatemfp_offsets([[1, 2]]) == shape
    assert shape.updatestrides([4, 6]).strides.tolist() == [4, 6]
    assert shape.updatestrides([4, 6]).updatestrides([2, 3]) == shape
    assert shape.updatefov(1, 11).fov == [5, 11]
    assert shape.updatefov(np.int64(0), 7).centre == [5, 5]
    assert shape.updatefov(-2, 7).centre == [5, 5]
    assert shape.updatefov(0, 7).updatefov(0, 5) == shape


def test_new_axes_by_position_and_tag():
    shape = TaggedShape([1, 2, 5], "b,f,x", strides=[2], fov=[5], centre=[4], mfp_offsets=[[1], [2]])
    for at in ("f", 2):
        more = shape.addaxis(at, 9, "z")
        assert (more.shape, more.tags) == ([1, 2, 9, 5], ["b", "f", "z", "x"])
        assert (more.strides.tolist(), more.fov, more.centre) == ([1, 2], [1, 5], [0, 4])
        assert more.mfp_offsets.tolist() == [[0, 1], [0, 2]]
    after = shape.addaxis("x", 9, "y")
    assert (after.strides.tolist(), after.fov, after.centre) == ([2, 1], [5, 1], [4, 0])
    assert after.mfp_offsets.tolist() == [[1, 0], [2, 0]]
    at_end = shape.addaxis(3, 9, "y")
    assert at_end == after
    assert shape.addaxis(0, None, "s").shape == [None, 1, 2, 5]
    assert shape.addaxis(0, None, "s").centre == [4]


def test_axes_go_with_their_geometry():
    shape = TaggedShape(
        [1, 2, 5, 6], "b,f,y,x", strides=[2, 3], fov=[5, 7], centre=[4, 8], mfp_offsets=[[1, 2], [3, 4]]
    )
    left = shape.delaxis("x")
    assert (left.shape, left.tags) == ([1, 2, 5], ["b", "f", "y"])
    assert (left.strides.tolist(), left.fov, left.centre) == ([2], [5], [4])
    assert left.mfp_offsets.tolist() == [[1], [3]]
    right = shape.delaxis(-2)
    assert (right.strides.tolist(), right.fov, right.centre) == ([3], [7], [8])
    assert right.mfp_offsets.tolist() == [[2], [4]]
    assert shape.delaxis(0).centre == [4, 8]


def test_a_needed_tag_is_found_or_the_node_is_named():
    shape = TaggedShape([1, 2, 5], "b,f,x")
    assert require_tag(shape, "f", "conv") == 1
    with pytest.raises(UnknownNameError, match="'z'") as caught:
        require_tag(shape, "z", "conv")
    assert (caught.value.node, caught.value.got) == ("conv", ["b", "f", "x"])
    assert "'z'" in caught.value.expected
