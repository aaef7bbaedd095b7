"""OME-Zarr metadata: what is written is read, and transformations are applied one after the other."""

from __future__ import annotations

import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromancer.errors import FileError
from neuromancer.volumes import create_sink, open_source
from neuromancer.volumes.axes import Layout
from neuromancer.volumes.calibration import calibrated
from neuromancer.volumes.ome import image_metadata, image_of, levels_of, odd_image, read_level
from neuromancer.volumes.placement import Placement, directed, known_or_none

LENGTHS = st.integers(1, 1000).map(lambda n: n / 8)


@st.composite
def placements(draw, n):
    sizes = known_or_none([draw(st.one_of(st.none(), LENGTHS)) for _ in range(n)])
    signs = [1 if sizes is None or sizes[k] is None else draw(st.sampled_from([1, -1])) for k in range(n)]
    unit = None if sizes is None else draw(st.sampled_from(["nanometer", "micrometer"]))
    offset = tuple(0.0 if sizes is None or sizes[k] is None else draw(LENGTHS) for k in range(n))
    return Placement(sizes, offset, unit, directed(signs))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_what_is_written_is_read(data):
    axes = "".join(data.draw(st.permutations("zyxf")))
    spatial = axes.replace("f", "")
    finest, coarse = (data.draw(placements(3)) for _ in range(2))
    # The levels of an image share their unit, and the axes of unknown size.
    known = finest.voxel_size or (None,) * 3
    sizes = known_or_none([None if k is None else 2 * k for k in known])
    coarse = Placement(sizes, finest.offset, finest.unit, finest.direction)
    written = image_metadata("em", axes, [("s0", finest), ("s1", coarse)], "mean")
    image = image_of(written)
    assert image["name"] == "em" and image["type"] == "mean" and levels_of(image) == ["s0", "s1"]
    for path, wanted in (("s0", finest), ("s1", coarse)):
        found, stated = read_level(image, path, "raw")
        placement, doubts = calibrated(stated, Layout(found, spatial))
        assert found == axes and not doubts
        assert (placement.voxel_size, placement.direction) == (wanted.voxel_size, wanted.direction)
        if wanted.voxel_size is not None:
            assert placement.unit == wanted.unit
            for size, got, offset in zip(wanted.voxel_size, placement.offset, wanted.offset, strict=True):
                assert size is None or got == offset


def image_with(level=(), whole=(), axes="zyx", **more):
    image = {"axes": [{"name": a} for a in axes], "datasets": [{"path": "0", "coordinateTransformations": list(level)}]}
    return image | ({"coordinateTransformations": list(whole)} if whole else {}) | more


def scale(*values):
    return {"type": "scale", "scale": list(values)}


def shift(*values):
    return {"type": "translation", "translation": list(values)}


@pytest.mark.parametrize(
    ("level", "whole", "size", "offset"),
    [
        ([], [], None, None),
        ([scale(1, 2, 3)], [], [1, 2, 3], [0, 0, 0]),
        ([scale(1, 2, 3), shift(4, 5, 6)], [], [1, 2, 3], [4, 5, 6]),
        ([shift(4, 5, 6), scale(1, 2, 3)], [], [1, 2, 3], [4, 10, 18]),
        ([scale(1, 2, 3), shift(4, 5, 6)], [scale(10, 10, 10), shift(1, 1, 1)], [10, 20, 30], [41, 51, 61]),
        ([{"type": "identity"}, scale(1, 2, 3)], [{"type": "identity"}], [1, 2, 3], [0, 0, 0]),
        ([shift(4, 5, 6)], [], None, [4, 5, 6]),
        ([scale("1", 2, 3)], [], [1, 2, 3], [0, 0, 0]),
        ([scale(1, "thick", 3)], [scale(2, 2, 2)], [2, "thick", 6], [0, 0, 0]),
        ([scale(1, 1, 1), shift(1, None, 3)], [], [1, 1, 1], [1, None, 3]),
    ],
)
def test_transformations_follow_one_another(level, whole, size, offset):
    axes, stated = read_level(image_with(level, whole), "0", "raw")
    assert (axes, stated.voxel_size, stated.offset) == ("zyx", size, offset)


@pytest.mark.parametrize("step", [{"type": "affine"}, {}, None, 5, scale(1, 2), {"type": "scale"}])
def test_odd_transformations_are_shown_and_no_sizes(step):
    _, stated = read_level(image_with([step]), "0", "raw")
    assert isinstance(stated.voxel_size, str) and stated.offset is None
    assert calibrated(stated, Layout("zyx", "zyx"))[1]


def test_an_odd_translation_leaves_the_scale():
    _, stated = read_level(image_with([scale(1, 2, 3), shift(1)]), "0", "raw")
    assert stated.voxel_size == [1, 2, 3] and isinstance(stated.offset, str)


@pytest.mark.parametrize(
    ("attributes", "found", "odd"),
    [
        ({}, False, False),
        ({"multiscales": []}, False, False),
        ({"multiscales": [image_with()]}, True, False),
        ({"ome": {"version": "0.5", "multiscales": [image_with()]}}, True, False),
        ({"ome": {"version": "0.5"}, "multiscales": [image_with()]}, False, False),
        ({"multiscales": {"0": image_with()}}, False, True),
        ({"multiscales": "image"}, False, True),
        ({"multiscales": [5]}, False, True),
        ({"multiscales": [{"axes": []}]}, False, True),
        ({"multiscales": [{"datasets": []}]}, False, True),
        ({"multiscales": [{"datasets": [{"name": "0"}]}]}, False, True),
        ({"multiscales": [{"datasets": ["0"]}]}, False, True),
        ({"ome": "image"}, False, True),
    ],
)
def test_groups_with_and_without_an_image(attributes, found, odd):
    assert (image_of(attributes) is not None) == found
    assert bool(odd_image(attributes)) == odd and all(len(text) <= 80 for text in odd_image(attributes))


def test_an_image_of_a_group_has_its_metadata(tmp_path):
    sink = create_sink(tmp_path / "a.zarr/labels/cells", (1, 2, 3, 4), "uint8", multiscale=True, voxel_size=(4, 2, 2))
    sink.close()
    assert (
        open_source(tmp_path / "a.zarr/labels").voxel_size == open_source(tmp_path / "a.zarr").voxel_size == (4, 2, 2)
    )
    shutil.rmtree(tmp_path / "a.zarr/labels/cells/0")
    with pytest.raises(FileError, match=r"its finest level is missing; got 0; expected \[\]"):
        open_source(tmp_path / "a.zarr/labels/cells")


def test_a_level_without_axes_is_an_error():
    image = image_with()
    for bad in (image | {"axes": None}, image | {"axes": [{"type": "space"}] * 3}, {"datasets": image["datasets"]}):
        with pytest.raises(FileError, match="'raw'"):
            read_level(bad, "0", "raw")
    with pytest.raises(FileError, match="'raw'"):
        read_level(image, "1", "raw")
    assert read_level(image | {"axes": ["c", "y", "x"]}, "0", "raw")[0] == "fyx"  # version 0.3 had names only
