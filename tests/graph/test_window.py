"""Windows between a node and its parent: sizes, remainders and needed ranges, with numbers known by hand."""

from __future__ import annotations

import pytest

from neuromancer.graph.window import Window


@pytest.mark.parametrize(
    ("window", "size", "out", "left_over"),
    [
        (Window(), 7, 7, 0),
        (Window(size=3), 7, 5, 0),
        (Window(size=4, down=2), 10, 4, 0),
        (Window(size=4, down=2), 11, 4, 1),
        (Window(size=4, down=2, before=1), 11, 5, 0),
        (Window(size=4, down=2, after=1), 11, 5, 0),
        (Window(size=3, down=3, before=1, after=1), 12, 4, 2),
        (Window(size=5, down=3), 12, 3, 1),
        (Window(size=3, before=-2, after=-1), 12, 7, 0),
        (Window(up=3), 5, 15, 0),
        (Window(size=5), 3, -1, 0),
    ],
)
def test_sizes_and_remainders(window, size, out, left_over):
    assert window.output_size(size) == out
    assert window.remainder(size) == left_over


def test_an_unknown_size_stays_unknown():
    assert Window(size=3).output_size(None) is None


@pytest.mark.parametrize(
    ("window", "asked", "needed"),
    [
        (Window(), (2, 5), (2, 5)),
        (Window(size=3), (2, 5), (2, 7)),
        (Window(size=4, down=2), (3, 3), (6, 9)),
        (Window(size=4, down=2, before=1, after=5), (1, 3), (1, 8)),
        (Window(up=3), (2, 3), (0, 1)),
        (Window(up=2, before=1), (5, 9), (1, 3)),
    ],
)
def test_needed_parent_voxels(window, asked, needed):
    assert window.needed(*asked) == needed
