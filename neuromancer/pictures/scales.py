"""Graph layout by resolution: coarser nodes are placed lower, so that a U-Net looks like a U."""

from __future__ import annotations

from collections.abc import Sequence

from neuromancer.pictures.info import times
from neuromancer.pictures.layered import (
    GAP_X,
    HEIGHT,
    WIDTH,
    Edge,
    GraphLayout,
    Point,
    assign_layers,
    layered_layout,
    side_path,
    vertical_path,
)

COLUMN_GAP, ROW_GAP, LEVEL_GAP, FRAME = 84, 34, 84, 14
Scale = tuple[float, ...]


def scale_layout(scales: Sequence[Scale], edges: Sequence[Edge]) -> GraphLayout | None:
    """Place runs of nodes with equal strides in columns, coarser ones lower.

    Parameters
    ----------
    scales : sequence of tuple of float
        Strides of every node, parents before children; empty for a node without spatial axes (placed with its parents).
    edges : sequence of (int, int)
        Distinct edges from parent to child.

    Returns
    -------
    GraphLayout or None
        None if all nodes have the same strides.

    Examples
    --------
    >>> layout = scale_layout([(1,), (2,), (1,)], [(0, 1), (1, 2), (0, 2)])
    >>> [x for x, _ in layout.nodes] == sorted(x for x, _ in layout.nodes), [y > 0 for _, y in layout.nodes]
    (True, [False, True, False])
    """
    count = len(scales)
    forward = [e for e in edges if e[0] < e[1]]
    scale = _filled(scales, forward)
    levels = {s: i for i, s in enumerate(sorted(set(scale), key=lambda s: (_volume(s), s)))}
    if len(levels) < 2:
        return None
    layer = assign_layers(count, forward)
    stage = _stages(scale, layer, forward)
    members: dict[int, list[int]] = {}
    for n in sorted(range(count), key=lambda n: layer[n]):
        members.setdefault(stage[n], []).append(n)
    row = {n: layer[n] - layer[nodes[0]] for nodes in members.values() for n in nodes}
    level = {s: levels[scale[nodes[0]]] for s, nodes in members.items()}
    column = _columns(members, stage, level, forward)
    # Skip connections are horizontal: a stage that receives one starts in the row of its origin.
    shift = dict.fromkeys(members, 0)
    for s in sorted(members, key=column.__getitem__):
        for a, b in forward:
            if stage[b] == s and stage[a] != s and level[stage[a]] == level[s]:
                shift[s] = max(shift[s], row[a] + shift[stage[a]] - row[b])
    side = _side_by_side(count, members, row, edges)
    x0 = _column_places(members, column, side)
    y0 = _level_places(members, column, level, row, shift)
    nodes: list[Point] = [
        (
            float(x0[column[stage[n]]] + side[n] * (WIDTH + GAP_X)),
            float(y0[level[stage[n]]] + (row[n] + shift[stage[n]]) * (HEIGHT + ROW_GAP)),
        )
        for n in range(count)
    ]
    paths, labels = [], []
    for a, b in edges:
        path, label = _path(nodes[a], nodes[b])
        paths.append(path)
        labels.append((round(label[0], 1), round(label[1], 1)))
    groups = [_frame([nodes[n] for n in inside], scale[inside[0]]) for inside in members.values()]
    return GraphLayout(nodes, paths, labels, groups)


def _filled(scales: Sequence[Scale], forward: Sequence[Edge]) -> list[Scale]:
    """Return the scales, with those of a parent, else of a child, for nodes without spatial axes."""
    known = list(scales)
    for a, b in sorted(forward, key=lambda e: e[1]):
        known[b] = known[b] or known[a]
    for a, b in sorted(forward, key=lambda e: -e[0]):
        known[a] = known[a] or known[b]
    return known


def _volume(scale: Scale) -> float:
    product = 1.0
    for s in scale:
        product *= s
    return product


def _stages(scale: Sequence[Scale], layer: Sequence[int], forward: Sequence[Edge]) -> list[int]:
    """Return the stage of every node: connected nodes of equal scale in adjacent layers."""
    leader = list(range(len(scale)))

    def find(n: int) -> int:
        while leader[n] != n:
            leader[n] = leader[leader[n]]
            n = leader[n]
        return n

    for a, b in forward:
        if scale[a] == scale[b] and layer[b] == layer[a] + 1:
            leader[find(b)] = find(a)
    return [find(n) for n in range(len(scale))]


def _columns(
    members: dict[int, list[int]], stage: Sequence[int], level: dict[int, int], forward: Sequence[Edge]
) -> dict[int, int]:
    """Return a column for every stage: right of the stages that it depends on, and free at its level.

    Stages are ordered by their first node; edges from a later to an earlier stage are ignored.
    """
    first = {s: k for k, s in enumerate(members)}
    before: dict[int, set[int]] = {s: set() for s in members}
    for a, b in forward:
        if first[stage[a]] < first[stage[b]]:
            before[stage[b]].add(stage[a])
    column: dict[int, int] = {}
    taken: set[tuple[int, int]] = set()
    for s in members:
        place = max((column[p] + 1 for p in before[s]), default=0)
        while (place, level[s]) in taken:
            place += 1
        column[s] = place
        taken.add((place, level[s]))
    return column


def _side_by_side(
    count: int, members: dict[int, list[int]], row: dict[int, int], edges: Sequence[Edge]
) -> dict[int, int]:
    """Return the position of every node within its row of a stage, in the order of the layered layout."""
    x = layered_layout(count, edges).nodes
    side: dict[int, int] = {}
    for nodes in members.values():
        used: dict[int, int] = {}
        for n in sorted(nodes, key=lambda n: x[n][0]):
            side[n] = used.get(row[n], 0)
            used[row[n]] = side[n] + 1
    return side


def _column_places(members: dict[int, list[int]], column: dict[int, int], side: dict[int, int]) -> list[float]:
    broad = [1] * (max(column.values()) + 1)
    for s, nodes in members.items():
        broad[column[s]] = max(broad[column[s]], max(side[n] for n in nodes) + 1)
    places, x = [], 0.0
    for n in broad:
        places.append(x)
        x += n * (WIDTH + GAP_X) - GAP_X + COLUMN_GAP
    return places


def _level_places(
    members: dict[int, list[int]],
    column: dict[int, int],
    level: dict[int, int],
    row: dict[int, int],
    shift: dict[int, int],
) -> list[float]:
    """Return the top of each level; a stage may extend below its level if no coarser stage is at or right of it."""
    rows = [1] * (max(level.values()) + 1)
    for s, nodes in members.items():
        if any(level[t] > level[s] and column[t] >= column[s] for t in members):
            rows[level[s]] = max(rows[level[s]], shift[s] + max(row[n] for n in nodes) + 1)
    places, y = [], 0.0
    for n in rows:
        places.append(y)
        y += n * (HEIGHT + ROW_GAP) - ROW_GAP + LEVEL_GAP
    return places


def _path(a: Point, b: Point) -> tuple[str, Point]:
    if abs(b[1] - a[1] - HEIGHT - ROW_GAP) < 1 and abs(b[0] - a[0]) < WIDTH + GAP_X + COLUMN_GAP:
        start, end = (a[0] + WIDTH / 2, a[1] + HEIGHT), (b[0] + WIDTH / 2, b[1])
        return vertical_path([start, end]), ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
    if b[0] < a[0] + WIDTH:
        return side_path(a, b)
    start, end = (a[0] + WIDTH, a[1] + HEIGHT / 2), (b[0], b[1] + HEIGHT / 2)
    # Edges bend only in the gaps next to the boxes, so that a long skip connection is straight in between.
    bend = min(COLUMN_GAP, end[0] - start[0]) * 0.75
    if abs(start[1] - end[1]) < 0.5:
        path = f"M{start[0]:.1f} {start[1]:.1f}L{end[0]:.1f} {end[1]:.1f}"
    else:
        path = (
            f"M{start[0]:.1f} {start[1]:.1f}C{start[0] + bend:.1f} {start[1]:.1f} "
            f"{end[0] - bend:.1f} {end[1]:.1f} {end[0]:.1f} {end[1]:.1f}"
        )
    return path, ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)


def _frame(corners: Sequence[Point], scale: Scale) -> dict[str, float | str]:
    left, top = min(x for x, _ in corners) - FRAME, min(y for _, y in corners) - FRAME - 20
    return {
        "x": left,
        "y": top,
        "width": max(x for x, _ in corners) + WIDTH + FRAME - left,
        "height": max(y for _, y in corners) + HEIGHT + FRAME - top,
        "label": "stride " + times(list(scale)) if scale else "",
    }
