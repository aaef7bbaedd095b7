"""Views in a form that files can store: found through any chain of transpositions and slices, and applied again."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromancer import engine as E
from neuromancer.engine.common.views import slice_step

VALUE = np.arange(3 * 4 * 5, dtype="float32").reshape(3, 4, 5)


@st.composite
def slices(draw, n):
    """Draw a slice of an axis of length `n` that selects at least one element."""
    start, stop = draw(st.integers(-n, n - 1)), draw(st.none() | st.integers(-n - 1, n + 1))
    index = slice(draw(st.none() | st.just(start)), stop, draw(st.sampled_from([None, 1, 2, -1, -2])))
    return index if range(n)[index] else slice(None, None, index.step)


@st.composite
def chains(draw):
    """Draw functions from an array, symbolic or not, to a view of it."""
    steps, x = [], VALUE
    for _ in range(draw(st.integers(1, 4))):
        if draw(st.booleans()):
            order = draw(st.permutations(range(x.ndim)))
            steps.append(("transpose", order))
            x = x.transpose(order)
        else:
            index = tuple(draw(slices(n)) for n in x.shape[: draw(st.integers(1, max(x.ndim, 1)))])
            if x.ndim > 1 and draw(st.booleans()):
                index = (draw(st.integers(-x.shape[0], x.shape[0] - 1)), *index[1:])
            steps.append(("slice", index))
            x = x[index]
    return steps, x


@settings(max_examples=12, deadline=None)
@given(chains())
def test_any_view_can_be_stored_and_applied_again(chain) -> None:
    steps, expected = chain
    x = E.tensor("x", VALUE.shape, "float32")
    view = x
    for kind, content in steps:
        view = view.dimshuffle(*content) if kind == "transpose" else view[content]
    found = E.view_of(view)
    if found is None:  # every step selects everything, in order: not a view
        assert view is x
        return
    base, stored = found
    assert base is x
    again = E.apply_view(E.constant(VALUE), json.loads(json.dumps(stored)))
    result = E.function([], again * 1)()
    assert result.shape == expected.shape
    np.testing.assert_array_equal(result, expected)


def test_steps_stand_in_the_order_of_their_application() -> None:
    x = E.tensor("x", (3, 4, 5), "float32")
    base, steps = E.view_of(x[1:, ::-1].dimshuffle(2, 0, 1)[0, :, 2:3])
    assert base is x and steps == [
        ["slice", [[1, None, None], [None, None, -1]]],
        ["transpose", [2, 0, 1]],
        ["slice", [0, [None, None, None], [2, 3, None]]],
    ]


def test_shared_variables_and_intermediate_results_are_told_apart() -> None:
    w = E.SharedVariable(VALUE, "w")
    assert E.view_of(w) is None and E.view_of(w.dimshuffle(1, 0, 2))[0] is w
    assert E.view_of(w * 2) is None
    assert E.view_of((w * 2).dimshuffle(1, 0, 2)) is None, "what is below is computed"
    assert E.view_of(w.dimshuffle(1, 0, 2) + 1) is None


def test_axes_of_length_one_are_stored_too() -> None:
    v = E.tensor("v", (4,), "float32")
    base, steps = E.view_of(v.dimshuffle("x", 0, "x"))
    assert base is v and steps == [["transpose", ["x", 0, "x"]]]
    again = E.apply_view(E.constant(np.arange(4, dtype="float32")), steps)
    assert E.function([], again)().shape == (1, 4, 1)


@pytest.mark.parametrize("make", [lambda x, k: x[k], lambda x, k: x[:k], lambda x, k: x[k:], lambda x, k: x[::k]])
def test_slices_by_symbolic_numbers_are_no_views(make) -> None:
    x, k = E.tensor("x", (3, 4), "float32"), E.tensor("k", (), "int64")
    assert E.view_of(make(x, k)) is None


def test_constant_indices_become_plain_numbers() -> None:
    index = [slice(E.constant(1), None, E.constant(np.int8(2))), E.constant(3), np.int64(-1)]
    kind, content = slice_step(index, E.Variable, E.Constant)
    assert kind == "slice" and content == [[1, None, 2], 3, -1]
    assert [type(v) for v in (content[0][0], content[1], content[2])] == [int] * 3
    assert slice_step([slice(None, E.tensor("k", (), "int64"))], E.Variable, E.Constant) is None


def test_no_steps_change_nothing() -> None:
    x = E.tensor("x", (3,), "float32")
    assert E.apply_view(x, []) is x
