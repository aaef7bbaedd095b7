"""The step of a recurrence: nodes repeated in every step, shapes that must fit, numbers of steps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import neuromancer as nm
from neuromancer.errors import ArgumentError, GraphError, ShapeError
from neuromancer.nodes.scan import ScanResult
from neuromancer.nodes.scan_step import nodes_between
from tests.nodes.layers import random, registered, source


def tanh(node, name="tanh"):
    return nm.ApplyFunc(node, nm.T.tanh, name=name)


def scan(step, memory, **kwargs):
    return nm.Scan(step, memory, unroll_scan=kwargs.pop("unroll_scan", False), print_repr=False, **kwargs)


# ---- nodes between
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=12), st.data())
def test_nodes_between_are_those_on_the_way_up_to_the_starts(edges, data):
    nm.model_manager.newmodel(None)
    nodes = [source((2, 3), name="x"), source((2, 3), name="y")]
    for a, b in edges:
        nodes.append(nm.Add(nodes[a % len(nodes)], nodes[b % len(nodes)], print_repr=False))
    starts = set(data.draw(st.lists(st.sampled_from(nodes), max_size=3)))
    ends = data.draw(st.lists(st.sampled_from(nodes), min_size=1, max_size=3))
    found = nodes_between(starts, ends)
    want, stack = set(), list(ends)
    while stack:
        node = stack.pop()
        if node not in want:
            want.add(node)
            stack += [] if node in starts else node.parents
    assert set(found) == want and len(found) == len(want)
    for node in found:
        if node not in starts:
            assert all(found.index(p) < found.index(node) for p in node.parents)


@pytest.mark.parametrize("unroll", [True, False])
def test_what_does_not_depend_on_the_memory_is_not_repeated(unroll):
    x, h = source((2, 3), name="x"), source((2, 3), name="h")
    outside = nm.Perceptron(x, 3, name="outside", print_repr=False)
    inside = nm.Perceptron(h, 3, name="inside", print_repr=False)
    node = scan(nm.Add(inside, outside, print_repr=False), h, n_steps=5, unroll_scan=unroll)
    # the first step is part of the graph itself
    assert node.parent.computational_cost == 4 * inside.computational_cost
    a, b = random(2, 3).astype("float32"), random(2, 3, seed=1).astype("float32")
    fed = {"x": a, "h": b}
    state, fixed = b, outside(a)
    for _ in range(5):
        state = inside(state) + fixed
    got = node(*(fed[n.name] for n in node.input_nodes))
    np.testing.assert_allclose(got[-1], state, rtol=1e-4, atol=1e-6)


# ---- shapes
@pytest.mark.parametrize(
    ("memory", "step", "fits"),
    [
        ((2, 3), (2, 3), True),
        ((None, 3), (2, 3), True),
        ((2, 3), (None, 3), True),
        ((2, 3), (3, 3), False),
        ((1, 3), (None, 3), False),  # it would not broadcast at run time
        ((None, 3), (1, 3), False),
    ],
)
def test_a_result_fits_its_memory(memory, step, fits):
    h, other = source(memory, name="h"), source(step, name="other")
    result = nm.ApplyFunc(other, nm.T.tanh, name="result")
    arguments = dict(in_memory=h, out_memory=result, n_steps=3, unroll_scan=False, print_repr=False)
    if fits:
        assert nm.Scan([tanh(h)], **arguments).shape["r"] == 3
    else:
        with pytest.raises(ShapeError, match="'result' cannot be fed back into the memory 'h'"):
            nm.Scan([tanh(h)], **arguments)


def test_the_first_slice_has_the_shape_of_the_others():
    sequence, first = source((4, 2, 3), "r,b,f", name="x"), source((2, 5), name="first")
    h = source((2, 5), name="h")
    before = registered()
    with pytest.raises(ShapeError, match=r"'first' is not a slice.*'x'; got .*\(5,f\)\]; expected .*\(3,f\)\]"):
        scan(nm.Add(h, first, name="sum", print_repr=False), h, in_iterate=sequence, in_iterate_0=first)
    assert set(registered()) - set(before) == {"sum"}


def test_results_get_one_axis_of_time_only():
    h = source((2, 3), name="h")
    timed = source((4, 2, 3), "r,b,f", name="timed")
    with pytest.raises(ShapeError, match=r"already has an axis r; got timed: .*last_only=True"):
        scan([tanh(h), timed], h, out_memory=tanh(h, "fed"), n_steps=2)


def test_memories_are_different_tensors():
    h = source((2, 3), name="h")
    twin = nm.FromTensor(h.output, h.shape, h, name="twin")
    both = nm.Add(h, twin, print_repr=False)
    with pytest.raises(GraphError, match=r"same tensor; got \['h', 'twin'\]"):
        scan(both, [h, twin], out_memory=[both, both], n_steps=2)


# ---- numbers of steps
@pytest.mark.parametrize(
    ("lengths", "n_steps", "steps"),
    [
        ((4,), None, 4),
        ((4,), 3, 3),
        ((4, None), None, 4),
        ((4, 6), 4, 4),
        ((4, 4), np.int64(2), 2),
        ((None,), None, None),
    ],
)
def test_steps_follow_from_the_sequences(lengths, n_steps, steps):
    node = over(lengths, n_steps)
    assert node.shape["r"] == steps
    arrays = {"h": np.zeros((2, 3), "float32")}
    arrays |= {f"x{k}": random(n or 5, 2, 3, seed=k).astype("float32") for k, n in enumerate(lengths)}
    got = node(*(arrays[n.name] for n in node.input_nodes))
    n = steps or 5
    total = sum(np.cumsum(arrays[f"x{k}"][:n], axis=0) for k in range(len(lengths)))
    np.testing.assert_allclose(got, total, rtol=1e-4, atol=1e-5)


def over(lengths, n_steps):
    """Running sum of sequences of these lengths."""
    h = source((2, 3), name="h")
    sequences = [source((n, 2, 3), "r,b,f", name=f"x{k}") for k, n in enumerate(lengths)]
    firsts = [nm.split(s, "r", index=1, strip_singleton_dims=True)[0] for s in sequences]
    step = h
    for first in firsts:
        step = nm.Add(step, first, print_repr=False)
    return scan(step, h, in_iterate=sequences, in_iterate_0=firsts, n_steps=n_steps)


@pytest.mark.parametrize(
    ("lengths", "n_steps", "error", "says"),
    [
        ((4, 6), None, ShapeError, r"got \[4, 6\]; nearest valid: n_steps=4"),
        ((4, 6), 5, ArgumentError, "at most 4; nearest valid: 4"),
        ((4,), True, ArgumentError, "n_steps"),
        ((4,), 2.0, ArgumentError, "n_steps"),
    ],
)
def test_numbers_of_steps_that_cannot_be(lengths, n_steps, error, says):
    with pytest.raises(error, match=says):
        over(lengths, n_steps)


@pytest.mark.parametrize("index", [-1, 2, 1.0, None, "0"], ids=repr)
def test_results_are_numbered_from_zero(index):
    h = source((2, 3), name="h")
    first, second = nm.Scan([tanh(h), tanh(h, "b")], h, tanh(h, "c"), n_steps=2, unroll_scan=False, print_repr=False)
    assert isinstance(second, ScanResult) and first.parent is second.parent
    with pytest.raises(ArgumentError, match="0 to 1"):
        ScanResult(second.parent, index)
    with pytest.raises(ArgumentError, match="must be a ScanN"):
        ScanResult(h, 0)
