"""Overlap of arrays, files and stores under any name, and fingerprints of arrays in memory."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromancer.volumes import create_sink, open_source
from neuromancer.volumes.held import Place, fingerprint, overlap, places


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_views_overlap_if_they_share_an_element(data):
    base = np.arange(20).reshape(4, 5)
    steps = st.sampled_from([1, 2, -1])

    def view():
        found = base[tuple(slice(data.draw(st.integers(0, 2)), None, data.draw(steps)) for _ in range(2))]
        return found.T if data.draw(st.booleans()) else found

    one, other = view(), view()
    assert overlap(one, other) == overlap(other, one) == bool(np.intersect1d(one, other).size)


def test_places_meet_within_one_file():
    place = Place(("file", 1), 10, 20)
    assert place.meets(Place(("file", 1), 19, 30)) and place.meets(Place(("file", 1))) and place.meets(place)
    for other in (Place(("file", 1), 20, 30), Place(("file", 1), 0, 10), Place(("file", 2), 10, 20)):
        assert not place.meets(other) and not other.meets(place)


def test_memory_maps_overlap_byte_by_byte(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((6, 4)))
    os.link(tmp_path / "a.npy", tmp_path / "same.npy")
    np.save(tmp_path / "b.npy", np.zeros((6, 4)))
    one, same, other = (np.load(tmp_path / f"{name}.npy", mmap_mode="r+") for name in ("a", "same", "b"))
    assert overlap(one[:3], same[2:]) and overlap(one[::-1], same[5:]) and overlap(one[:, :2], same[1:])
    assert not overlap(one[:3], same[3:]) and not overlap(one, other) and not overlap(one[:3][::-1], same[3:])
    assert overlap(one, tmp_path / "same.npy") and overlap(Path(tmp_path / "a.npy"), same[5:])
    assert not overlap(one, tmp_path / "b.npy") and not overlap(one, tmp_path / "nothing.npy")
    assert places(np.zeros(3)) == [] and overlap(
        *[open_source(raw, spatial="yx") for raw in (one[:3], tmp_path / "a.npy")]
    )


@pytest.mark.parametrize("chunks", [None, (2, 2)])
def test_data_sets_overlap_under_any_name(tmp_path, chunks):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        one = file.create_dataset("in/one", (4, 4), "f4", chunks=chunks)
        other = file.create_dataset("in/other", (4, 4), "f4", chunks=chunks)
        one[...] = other[...] = 1
        file["hard"], file["soft"] = one, h5py.SoftLink("/in/one")
        for name in ("in/one", "hard", "soft"):
            assert overlap(one, file[name]) and not overlap(other, file[name])
    with h5py.File(tmp_path / "a.h5") as file, h5py.File(tmp_path / "b.h5", "w") as second:
        second.create_dataset("in/one", (4, 4), "f4", chunks=chunks)[...] = 1
        assert not overlap(file["in/one"], second["in/one"])
        layout = h5py.VirtualLayout((4, 4), "f4")
        layout[...] = h5py.VirtualSource(tmp_path / "a.h5", "in/one", (4, 4))
        virtual = second.create_virtual_dataset("virtual", layout)
        assert overlap(virtual, file["in/one"]) and not overlap(virtual, file["in/other"])


def test_data_sets_in_memory_have_no_place():
    with h5py.File("memory.h5", "w", driver="core", backing_store=False) as file:
        data = file.create_dataset("a", data=np.zeros((4, 4)))
        assert places(data) == [] and overlap(data, data) and not overlap(data, np.zeros((4, 4)))
    assert places(data) == []  # closed


def test_an_output_overlaps_with_its_own_file_only(tmp_path):
    sink = create_sink(tmp_path / "a.npy", (1, 4, 5), "uint8", spatial="yx")
    other = create_sink(tmp_path / "b.npy", (1, 4, 5), "uint8", spatial="yx")
    source = open_source(tmp_path / "a.npy", spatial="yx")
    assert overlap(source, sink) and overlap(sink, sink) and not overlap(source, other)
    array = np.zeros((4, 5), "uint8")
    into = create_sink(array[1:], (1, 3, 5), "uint8", spatial="yx")
    assert overlap(into, open_source(array, spatial="yx")) and not overlap(into, open_source(array[:1], spatial="yx"))
    sink.close()
    other.close()


def test_the_fingerprint_follows_every_voxel_in_memory(tmp_path):
    array = np.zeros((40, 41, 42), "float32")
    before = fingerprint(open_source(array))
    for where in ((0, 0, 0), (39, 40, 41), (20, 3, 17)):
        array[where] = 1
        assert fingerprint(open_source(array)) != before
        array[where] = 0
    assert fingerprint(open_source(array)) == before
    assert fingerprint(open_source(np.asfortranarray(array))) == before
    np.save(tmp_path / "a.npy", array)
    source = open_source(tmp_path / "a.npy")
    assert fingerprint(source) == source.fingerprint()  # that of a file is taken without reading all of it
