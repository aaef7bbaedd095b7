"""What building a node takes: sums, products of sizes, what comes with the parents."""

from __future__ import annotations

import operator

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.graph.demand import ENOUGH, OPERATIONS, Demand, inherited, magnitude, nodes_in, product


def test_demands_add_up():
    assert Demand(8, 5) + Demand(4, 100) == (12, 105)
    assert Demand() == (OPERATIONS, 0)
    with pytest.raises(TypeError):
        operator.add(Demand(), (1, 2))


@pytest.mark.parametrize(
    ("value", "size"), [(3, 3), (-3, 3), (np.int64(-4), 4), (2.5, 0), ("7", 0), (None, 0), ([2], 0)]
)
def test_size_of_an_integer(value, size):
    assert magnitude(value) == size


@pytest.mark.parametrize(
    ("sizes", "result"),
    [
        ([3, 4], 12),
        ((2, -5), 10),
        (np.array([2, 3, 7]), 42),
        (5, 5),
        (np.int32(6), 6),
        (None, 1),
        (["3", 4, None, 2.5], 4),
        ([0, 3], 0),
        ([1 << 80], ENOUGH),
        ([ENOUGH, 3], 3 * ENOUGH),
    ],
)
def test_product_of_sizes(sizes, result):
    assert product(sizes) == result


def test_products_stay_below_a_bound():
    assert product([1 << 1000] * 50) == ENOUGH**2
    assert product([ENOUGH, 2, 7, 7]) == 2 * ENOUGH


def test_nodes_in_arguments():
    x = nm.Input((1, 2), "b,f", name="x", print_repr=False)
    y = nm.Input((1, 2), "b,f", name="y", print_repr=False)
    assert list(nodes_in(x)) == [x]
    assert list(nodes_in([x, 5, y, "x"])) == [x, y]
    assert list(nodes_in((y, x))) == [y, x]
    assert list(nodes_in({"x": x})) == list(nodes_in(None)) == []


def test_parents_bring_references_and_offsets_of_fragments():
    x = nm.Input((1, 1, 9, 9), "b,f,y,x", name="x", print_repr=False)
    fragments = nm.Pool(x, (2, 2), mfp=True, print_repr=False)
    anything = nm.GenericInput(print_repr=False)
    assert fragments.shape.mfp_offsets.shape == (4, 2)
    assert inherited({"n_f": 3}) == (0, 0)
    assert inherited({"parent": x}) == (1, 4 * 2)
    assert inherited({"parents": [x, fragments, x], "other": anything}) == (4, 4 * 8)
    assert inherited({"parent": fragments, "other": x}) == (2, 4 * 8)
    assert inherited({"parent": anything}) == (1, 0)
