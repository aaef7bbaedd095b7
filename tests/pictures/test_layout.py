"""Layouts: positions of nodes and edges."""

from __future__ import annotations

import random
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromancer.pictures import describe_model
from neuromancer.pictures.layered import GAP_X, HEIGHT, WIDTH, assign_layers, layered_layout
from neuromancer.pictures.scales import scale_layout
from tests.pictures.graphs import network, u_net

NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


@st.composite
def graphs(draw):
    count = draw(st.integers(1, 25))
    pairs = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)).filter(lambda e: e[0] != e[1])
    edges = draw(st.lists(pairs, max_size=40, unique=True)) if count > 1 else []
    return count, edges


def overlaps(nodes) -> list:
    return [
        (a, b)
        for i, a in enumerate(nodes)
        for b in nodes[:i]
        if abs(a[0] - b[0]) < WIDTH - 0.2 and abs(a[1] - b[1]) < HEIGHT - 0.2
    ]


def ends(path: str) -> tuple[float, ...]:
    numbers = [float(n) for n in NUMBER.findall(path)]
    return *numbers[:2], *numbers[-2:]


@settings(max_examples=60, deadline=None)
@given(graphs())
def test_layers_hold_for_any_graph(graph) -> None:
    count, edges = graph
    layout = layered_layout(count, edges)
    assert len(layout.nodes) == count and len(layout.edges) == len(layout.labels) == len(edges)
    assert not overlaps(layout.nodes)
    for (a, b), path in zip(edges, layout.edges, strict=True):
        x, y, u, v = ends(path)
        if a < b:
            assert layout.nodes[a][1] < layout.nodes[b][1]
            assert y == layout.nodes[a][1] + HEIGHT and v == layout.nodes[b][1]
            assert layout.nodes[a][0] <= x <= layout.nodes[a][0] + WIDTH
            assert layout.nodes[b][0] <= u <= layout.nodes[b][0] + WIDTH


@settings(max_examples=60, deadline=None)
@given(graphs(), st.randoms(use_true_random=False))
def test_scales_hold_for_any_graph(graph, rng) -> None:
    count, edges = graph
    scales = [rng.choice([(1, 1), (2, 2), (1, 4), (0.5, 1), ()]) for _ in range(count)]
    layout = scale_layout(scales, edges)
    if layout is None:
        assert len({s for s in scales if s}) < 2 or count < 2
    else:
        assert not overlaps(layout.nodes)
        assert len(layout.nodes) == count and len(layout.edges) == len(edges)


def test_a_chain_is_straight_and_labels_are_next_to_their_child() -> None:
    graph = describe_model(network())
    layout = layered_layout(len(graph.nodes), [(e.source, e.target) for e in graph.edges])
    place = dict(zip([n.name for n in graph.nodes], layout.nodes, strict=True))
    chain = ["image", "first", "second", "third", "scores", "probs"]
    assert len({place[n][0] for n in chain}) == 1
    assert place["labels"][1] == place["probs"][1] and abs(place["labels"][0] - place["probs"][0]) == WIDTH + GAP_X


def test_parents_of_labels_move_down_with_them() -> None:
    # Nodes 0 to 4 are the network, 5 and 6 the labels and their crop.
    assert assign_layers(7, [(0, 1), (1, 2), (2, 3), (5, 6), (3, 4)]) == [0, 1, 2, 3, 4, 0, 1]
    assert assign_layers(7, [(0, 1), (1, 2), (2, 3), (3, 6), (4, 5), (5, 6)]) == [0, 1, 2, 3, 2, 3, 4]


def test_few_crossings() -> None:
    # A ladder can be drawn without crossings, also if its nodes are given in a twisted order.
    layout = layered_layout(6, [(0, 3), (0, 2), (1, 2), (2, 5), (3, 4)])
    x = [p[0] for p in layout.nodes]
    assert (x[2] < x[3]) == (x[1] < x[0]) and (x[2] < x[3]) == (x[5] < x[4])


def test_a_u_net_is_a_u() -> None:
    graph = describe_model(u_net())
    layout = scale_layout([tuple(n.strides) for n in graph.nodes], [(e.source, e.target) for e in graph.edges])
    place = dict(zip([n.name for n in graph.nodes], layout.nodes, strict=True))
    across = [place[n][0] for n in ("down0", "down1", "bottom", "up1", "up0")]
    depth = [place[n][1] for n in ("down0", "down1", "bottom", "up1", "up0")]
    assert across == sorted(across) and len(set(across)) == 5
    assert depth[0] < depth[1] < depth[2] and depth[2] > depth[3] > depth[4]
    assert sorted({g["label"] for g in layout.groups}) == ["stride 1 × 1", "stride 2 × 2", "stride 4 × 4"]
    skips = [
        path
        for e, path in zip(graph.edges, layout.edges, strict=True)
        if place[graph.nodes[e.target].name][0] - place[graph.nodes[e.source].name][0] > 2 * WIDTH
    ]
    assert len(skips) == 2
    for path in skips:
        _, y, _, v = ends(path)
        assert y == v and "C" not in path


def test_no_layout_by_scale_for_a_single_scale() -> None:
    assert scale_layout([(1,), (1,), ()], [(0, 1), (1, 2)]) is None


@pytest.mark.parametrize("count", [1000])
def test_large_graphs_take_seconds(count) -> None:
    rng = random.Random(0)
    edges = sorted({(max(0, i - 1 - rng.randrange(k)), i) for i in range(1, count) for k in (1, 2, 60) if i % k == 0})
    start = time.perf_counter()
    layout = layered_layout(count, edges)
    assert time.perf_counter() - start < 20 and not overlaps(layout.nodes[::10])
