"""Compact sets of tiles."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator


class TileSet:
    """Set of tile indices, stored as ranges.

    Examples
    --------
    >>> done = TileSet([(0, 3), (3, 5), (8, 9)])
    >>> len(done), 4 in done, list(done.missing(range(2, 10)))
    (6, True, [5, 6, 7, 9])
    """

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self.starts: list[int] = []
        self.stops: list[int] = []
        for a, b in sorted(ranges):
            if self.stops and a <= self.stops[-1]:
                self.stops[-1] = max(self.stops[-1], b)
            else:
                self.starts.append(a)
                self.stops.append(b)

    def __len__(self) -> int:
        return sum(self.stops) - sum(self.starts)

    def __contains__(self, index: int) -> bool:
        k = bisect_right(self.starts, index) - 1
        return k >= 0 and index < self.stops[k]

    def missing(self, indices: range) -> Iterator[int]:
        """Iterate over the indices of a range that are not in the set."""
        at = indices.start
        for k in range(max(0, bisect_right(self.starts, at) - 1), len(self.starts)):
            if self.starts[k] >= indices.stop:
                break
            yield from range(at, self.starts[k])
            at = max(at, self.stops[k])
        yield from range(at, indices.stop)

    def count(self, indices: range) -> int:
        """Return how many indices of a range are in the set."""
        pairs = zip(self.starts, self.stops, strict=True)
        return sum(max(0, min(b, indices.stop) - max(a, indices.start)) for a, b in pairs)
