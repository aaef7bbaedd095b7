"""Replacing variables of a graph: all at once, anywhere, without copying unaffected parts."""

from __future__ import annotations

import numpy as np
import pytest

from neuromancer import engine as E
from neuromancer.errors import InputTypeError

T = E.T


def inputs():
    return [E.tensor(name, (None,), "float64") for name in "xyz"]


def test_replacements_do_not_see_each_other():
    x, y, z = inputs()
    swapped = E.rewire([x - y, x * z], {x: y, y: x})
    got = E.function([x, y, z], swapped)([1.0], [3.0], [5.0])
    assert [v.item() for v in got] == [2.0, 15.0]


def test_a_replacement_may_contain_the_replaced_variable():
    x, y, _ = inputs()
    step = out = x * 2 + y
    for _ in range(3):
        out = E.rewire(step, {x: out})
    assert E.function([x, y], out)([1.0], [1.0]).item() == 31.0


def test_an_intermediate_result():
    x, y, _ = inputs()
    inner = T.exp(x)
    got = E.function([x, y], E.rewire([inner + x, inner], {inner: y}))([1.0], [5.0])
    assert [v.item() for v in got] == [6.0, 5.0]


def test_unaffected_parts_are_shared():
    x, y, _ = inputs()
    fixed = T.exp(y)
    moved = E.rewire(T.tanh(x) * fixed, {x: y})
    assert fixed in moved.owner.inputs
    assert E.rewire(fixed, {x: y}) is fixed


def test_sizes_may_become_unknown():
    narrow, wide = E.tensor("narrow", (2, 3), "float64"), E.tensor("wide", (None, None), "float64")
    out = E.rewire(T.tanh(narrow).sum(axis=0), {narrow: wide})
    assert E.known_shape(out) == (None,)
    assert E.function([wide], out)(np.zeros((4, 5))).shape == (5,)


def test_other_dtypes_and_ranks_are_refused():
    x = E.tensor("x", (None,), "float64")
    for other in (E.tensor("m", (None, None), "float64"), E.tensor("i", (None,), "int64")):
        with pytest.raises(InputTypeError, match="cannot stand in"):
            E.rewire(x + 1, {x: other})
