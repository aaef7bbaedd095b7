"""Union of labels across blocks."""

from __future__ import annotations

import numpy as np

from neuromancer.instances.agreement import Match, agreed, matching


def test_background_matches_nothing():
    assert matching(np.zeros(4, np.uint32), np.ones(4, np.uint32), 0).shape == (0, 2)


def test_labels_match_if_they_overlap_enough():
    a, b = np.repeat([1, 2], [6, 4]), np.repeat([3, 4], [3, 7])
    assert matching(a, b, 0).tolist() == [[1, 3], [1, 4], [2, 4]]  # overlaps of 3/6, 3/10 and 4/7
    assert matching(a, b, 0.3).tolist() == [[1, 3], [2, 4]]
    assert matching(a, b, 0.5).tolist() == [[2, 4]]


def test_large_labels_do_not_overflow():
    a = np.array([70_000, 1], np.uint32)
    assert matching(a, a, 0).tolist() == [[1, 1], [70_000, 70_000]]


def test_chains_of_labels_become_one_object_numbered_in_order():
    sizes = [np.array(s) for s in ([9, 1, 1], [9, 0, 1], [9, 1])]
    matches = [Match(0, 1, np.array([[2, 1]])), Match(1, 2, np.array([[1, 1]]))]  # by a label that is only in a halo
    starts, objects = agreed(sizes, matches, 1)
    assert starts.tolist() == [0, 3, 6, 8]
    assert objects.tolist() == [0, 1, 2, 0, 2, 3, 0, 2]
    assert agreed(sizes, matches, 2)[1].tolist() == [0, 0, 1, 0, 1, 0, 0, 1]


def test_a_volume_without_objects():
    starts, objects = agreed([np.array([9]), np.array([8])], [], 1)
    assert (starts.tolist(), objects.tolist()) == ([0, 1, 2], [0, 0])
