"""Layered graph layout with few edge crossings (after Sugiyama, Tagawa & Toda 1981)."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

WIDTH, HEIGHT = 208, 86
"""Size of a node's box in pixels."""
GAP_X, GAP_Y = 36, 50
LANE = 26
"""Distance kept from an edge that passes a layer."""
SWEEPS = 12

Edge = tuple[int, int]
Point = tuple[float, float]


@dataclass
class GraphLayout:
    """Positions of nodes, edges, labels and groups in pixels.

    Parameters
    ----------
    nodes : list of (float, float)
        Upper left corners of the boxes.
    edges : list of str
        SVG path data.
    labels : list of (float, float)
        Centres of the edges' labels.
    groups : list of dict
        Frames around groups of nodes: x, y, width, height, label.
    """

    nodes: list[Point]
    edges: list[str]
    labels: list[Point]
    groups: list[dict[str, float | str]] = field(default_factory=list)


def assign_layers(count: int, edges: Sequence[Edge]) -> list[int]:
    """Assign every node to a layer below all its parents, and close to its children where edges do not get longer.

    Parameters
    ----------
    count : int
        Number of nodes, parents before children.
    edges : sequence of (int, int)
        From parent to child.

    Returns
    -------
    list of int
        Layer of every node, from 0 at the top.

    Examples
    --------
    >>> assign_layers(4, [(0, 1), (1, 3), (2, 3)])
    [0, 1, 1, 2]
    """
    parents: list[list[int]] = [[] for _ in range(count)]
    children: list[list[int]] = [[] for _ in range(count)]
    for a, b in edges:
        parents[b].append(a)
        children[a].append(b)
    layer = [0] * count
    for n in range(count):
        layer[n] = max((layer[p] + 1 for p in parents[n]), default=0)
    # Branches that lead to a single node, such as labels, move down next to it.
    loose = [False] * count
    for n in range(count):
        loose[n] = all(loose[p] and len(children[p]) == 1 for p in parents[n])
    for n in reversed(range(count)):
        if children[n] and (loose[n] or len(children[n]) > len(parents[n])):
            layer[n] = min(layer[c] for c in children[n]) - 1
    lowest = min(layer, default=0)
    return [n - lowest for n in layer]


def layered_layout(count: int, edges: Sequence[Edge]) -> GraphLayout:
    """Place nodes in layers from top to bottom.

    Parameters
    ----------
    count : int
        Number of nodes, parents before children.
    edges : sequence of (int, int)
        Distinct edges from parent to child; an upward edge (memory) is drawn beside the layers.

    Returns
    -------
    GraphLayout

    Examples
    --------
    >>> layered_layout(2, [(0, 1)]).nodes
    [(0.0, 0.0), (0.0, 136.0)]
    """
    forward = [e for e in edges if e[0] < e[1]]
    layer = assign_layers(count, forward)
    chains: dict[Edge, list[int]] = {}
    for a, b in forward:
        chain = [a]
        for below in range(layer[a] + 1, layer[b]):
            chain.append(len(layer))
            layer.append(below)
        chains[a, b] = [*chain, b]
    links = [link for chain in chains.values() for link in pairwise(chain)]
    above, below_ = _neighbours(len(layer), links)
    order = _order(layer, above, below_)
    x = _coordinates(order, above, below_, count)
    left = min((x[n] for n in range(count)), default=0.0)
    centre = [v - left + WIDTH / 2 for v in x]
    top = [n * (HEIGHT + GAP_Y) for n in layer]
    nodes = [(round(centre[n] - WIDTH / 2, 1), float(top[n])) for n in range(count)]
    starts, ends = _ports(count, chains, centre)
    paths, labels = [], []
    for a, b in edges:
        if (a, b) not in chains:
            path, label = side_path(nodes[a], nodes[b])
        else:
            chain = chains[a, b]
            points = [(starts[a, b], top[a] + HEIGHT)]
            for dummy in chain[1:-1]:
                points += [(centre[dummy], top[dummy]), (centre[dummy], top[dummy] + HEIGHT)]
            points.append((ends[a, b], top[b]))
            path = vertical_path(points)
            label = ((points[0][0] + points[1][0]) / 2, (points[0][1] + points[1][1]) / 2)
        paths.append(path)
        labels.append((round(label[0], 1), round(label[1], 1)))
    return GraphLayout(nodes, paths, labels)


def vertical_path(points: Sequence[Point]) -> str:
    """Return a smooth SVG path through points that starts and ends vertically."""
    parts = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    for (x, y), (u, v) in pairwise(points):
        if abs(x - u) < 0.05:
            parts.append(f"L{u:.1f} {v:.1f}")
        else:
            middle = (y + v) / 2
            parts.append(f"C{x:.1f} {middle:.1f} {u:.1f} {middle:.1f} {u:.1f} {v:.1f}")
    return "".join(parts)


def side_path(a: Point, b: Point) -> tuple[str, Point]:
    """Return an SVG path from the right side of one box to the right side of another, and its outermost point."""
    start, end = (a[0] + WIDTH, a[1] + HEIGHT / 2), (b[0] + WIDTH, b[1] + HEIGHT / 2)
    far = max(start[0], end[0]) + 40 + 0.08 * abs(start[1] - end[1])
    path = f"M{start[0]:.1f} {start[1]:.1f}C{far:.1f} {start[1]:.1f} {far:.1f} {end[1]:.1f} {end[0]:.1f} {end[1]:.1f}"
    return path, (0.75 * far + 0.125 * (start[0] + end[0]), (start[1] + end[1]) / 2)


def _neighbours(count: int, links: Sequence[Edge]) -> tuple[list[list[int]], list[list[int]]]:
    above: list[list[int]] = [[] for _ in range(count)]
    below: list[list[int]] = [[] for _ in range(count)]
    for a, b in links:
        above[b].append(a)
        below[a].append(b)
    return above, below


def _order(layer: list[int], above: list[list[int]], below: list[list[int]]) -> list[list[int]]:
    """Order nodes within layers by barycentres of their neighbours; return the sweep with the fewest crossings."""
    layers: list[list[int]] = [[] for _ in range(max(layer, default=0) + 1)]
    seen = [False] * len(layer)
    for root in sorted(range(len(layer)), key=lambda n: layer[n]):
        stack = [root]
        while stack:
            n = stack.pop()
            if not seen[n]:
                seen[n] = True
                layers[layer[n]].append(n)
                stack.extend(reversed(below[n]))
    best, fewest = [list(row) for row in layers], _crossings(layers, below)
    for sweep in range(SWEEPS):
        if not fewest:
            break
        side, rows = (above, layers[1:]) if sweep % 2 == 0 else (below, layers[-2::-1])
        place = {n: i for row in layers for i, n in enumerate(row)}
        for row in rows:
            middle = {n: sum(place[m] for m in side[n]) / len(side[n]) if side[n] else place[n] for n in row}
            row.sort(key=middle.__getitem__)
            place.update((n, i) for i, n in enumerate(row))
        crossings = _crossings(layers, below)
        if crossings < fewest:
            best, fewest = [list(row) for row in layers], crossings
    return best


def _crossings(layers: list[list[int]], below: list[list[int]]) -> int:
    place = {n: i for row in layers for i, n in enumerate(row)}
    total = 0
    for row in layers:
        ends: list[int] = []
        for n in row:
            targets = [place[m] for m in below[n]]
            total += sum(len(ends) - bisect_right(ends, t) for t in targets)
            for t in targets:
                insort(ends, t)
    return total


def _coordinates(order: list[list[int]], above: list[list[int]], below: list[list[int]], count: int) -> list[float]:
    """Compute horizontal centres, by least squares as close to neighbours as order and distances allow."""
    x = [0.0] * len(above)
    for row in order:
        for i, n in enumerate(_spread(row, [0.0] * len(row), [1.0] * len(row), count)):
            x[row[i]] = n
    # The last sweep goes down, which straightens chains.
    for sweep in range(SWEEPS + 1):
        rows = order if sweep % 2 == 0 else order[::-1]
        for row in rows:
            targets, weights = [], []
            for n in row:
                side = above[n] if sweep % 2 == 0 else below[n]
                # Straight long edges take precedence.
                weight = 6.0 if n >= count else 1.0
                targets.append(sum(x[m] for m in side) / len(side) if side else x[n])
                weights.append(weight if side else 0.1)
            for n, value in zip(row, _spread(row, targets, weights, count), strict=True):
                x[n] = value
    return x


def _spread(row: list[int], targets: list[float], weights: list[float], count: int) -> list[float]:
    """Return the positions closest to the targets that keep order and distances: isotonic regression by pooling."""
    offset, offsets = 0.0, [0.0]
    for a, b in pairwise(row):
        both = (a < count) + (b < count)
        offset += (LANE, (WIDTH + GAP_X + LANE) / 2, WIDTH + GAP_X)[both]
        offsets.append(offset)
    blocks: list[list[float]] = []  # weighted mean, weight, number of members
    for value, weight, shift in zip(targets, weights, offsets, strict=True):
        blocks.append([value - shift, weight, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            mean, w, size = blocks.pop()
            other = blocks[-1]
            other[0] = (other[0] * other[1] + mean * w) / (other[1] + w)
            other[1] += w
            other[2] += size
    flat = [mean for mean, _, size in blocks for _ in range(int(size))]
    return [value + shift for value, shift in zip(flat, offsets, strict=True)]


def _ports(
    count: int, chains: dict[Edge, list[int]], centre: list[float]
) -> tuple[dict[Edge, float], dict[Edge, float]]:
    """Return where edges leave and enter the boxes: side by side, in the order of the nodes at their other ends."""
    leaving: list[list[Edge]] = [[] for _ in range(count)]
    entering: list[list[Edge]] = [[] for _ in range(count)]
    for a, b in chains:
        leaving[a].append((a, b))
        entering[b].append((a, b))
    starts: dict[Edge, float] = {}
    ends: dict[Edge, float] = {}
    for node in range(count):
        for edges, place, neighbour in ((leaving[node], starts, 1), (entering[node], ends, -2)):
            edges.sort(key=lambda e: centre[chains[e][neighbour]])
            step = min(22.0, (WIDTH - 40) / max(1, len(edges)))
            for i, edge in enumerate(edges):
                place[edge] = centre[node] + (i - (len(edges) - 1) / 2) * step
    return starts, ends
