"""What nodes are called with: converted exactly, or refused with a table; random data for every source."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import ArgumentError, InputTypeError, ShapeError
from neuromancer.graph.feeding import check_arrays, random_inputs

QUIET = {"print_repr": False}


def flat(name="x", batch=None, dtype=None):
    return nm.Input((batch, 3), "b,f", dtype=dtype, name=name, **QUIET)


def rows(error):
    """Lines of the table in an error: name of the source, what it needs, what it got."""
    lines = str(error.value.got).strip("\n").split("\n")
    return [tuple(part for part in line.split("  ") if part.strip()) for line in lines if line.strip()]


def stripped(error):
    return [tuple(part.strip() for part in row) for row in rows(error)]


def classifier(n_label=None):
    """A classification: prediction, sparse target, the loss of the two."""
    x = flat()
    probs = nm.Softmax(nm.Perceptron(x, 2, activation_func="lin", **QUIET), **QUIET)
    target = nm.Input((None, n_label or 1), "b,f", dtype="int16", name="t", **QUIET)
    return x, probs, target


def test_arrays_become_those_of_the_sources():
    x, y = flat("x"), flat("y", dtype="int16")
    both = [x, y]
    a, b = check_arrays(x, both, [[[1, 2, 3]], np.array([[4, 5, 6]], "int64")])
    assert (a.dtype, b.dtype) == ("float32", "int16")
    assert (a.tolist(), b.tolist()) == ([[1, 2, 3]], [[4, 5, 6]])
    given = np.ones((2, 3), "float32")
    assert check_arrays(x, [x], [given])[0] is given


def test_any_object_goes_into_a_generic_input():
    anything, x = nm.GenericInput(name="any", **QUIET), flat()
    given = object()
    a, b = check_arrays(x, [anything, x], [given, np.zeros((1, 3))])
    assert a is given
    assert b.dtype == "float32"


def test_a_value_that_the_dtype_cannot_hold_names_the_source():
    y = flat("small", dtype="uint8")
    node = nm.Add(y, y, name="sum", **QUIET)
    with pytest.raises(ArgumentError, match=r"'sum'.*'small'.*uint8.*300") as caught:
        check_arrays(node, [y], [np.array([[1, 2, 300]])])
    assert caught.value.node is node


def test_a_wrong_number_of_arrays_is_shown_in_a_table():
    x, y = flat("first"), flat("second", dtype="int16")
    anything = nm.GenericInput(name="third", **QUIET)
    node = nm.Add(x, x, name="sum", **QUIET)
    with pytest.raises(InputTypeError, match="3 inputs required, 1 given") as caught:
        check_arrays(node, [x, y, anything], [np.ones((2, 3), "float32")])
    assert caught.value.node is node
    header, *others = stripped(caught)
    assert header == ("source", "required", "given")
    assert others == [
        ("first", "[(None,b), (3,f)] float32", "(2, 3) float32"),
        ("second", "[(None,b), (3,f)] int16", "-"),
        ("third", "any object", "-"),
    ]


def test_too_many_arrays_are_shown_in_a_table():
    x = flat("first")
    given = [[[1, 2, 3]], "text", {"a": 1}, {1}, [[1], [2, 3]], 4.0]
    with pytest.raises(InputTypeError, match="1 inputs required, 6 given") as caught:
        check_arrays(x, [x], given)
    assert stripped(caught)[1:] == [
        ("first", "[(None,b), (3,f)] float32", "(1, 3) int64"),
        ("-", "-", "str"),
        ("-", "-", "dict"),
        ("-", "-", "set"),
        ("-", "-", "list"),
        ("-", "-", "() float64"),
    ]


def test_columns_of_the_table_stand_below_their_heads():
    x = flat("first")
    with pytest.raises(InputTypeError) as caught:
        check_arrays(x, [x], [])
    head, row = [line for line in str(caught.value.got).split("\n") if line.strip()]
    assert (head.index("source"), head.index("required")) == (row.index("first"), row.index("[("))
    assert str(caught.value.got).startswith("\n") and str(caught.value.got).endswith("\n")


@pytest.mark.parametrize(
    ("value", "error", "facts"),
    [
        (np.ones((2, 3)) * 1j, InputTypeError, ("complex128", "float32")),
        (np.ones((2, 3)) > 0.5, None, ()),
        (np.ones((2, 4)), ShapeError, ("(2, 4) float64", "(3,f)")),
        (np.ones((2, 3, 1)), ShapeError, ("(2, 3, 1) float64", "(3,f)")),
        (np.ones(3), ShapeError, ("(3,) float64", "(3,f)")),
        ([[1], [2, 3]], ShapeError, ("(3,f)",)),
    ],
)
def test_what_does_not_fit_is_refused_with_both(value, error, facts):
    x = flat("x")
    node = nm.Add(x, x, name="sum", **QUIET)
    if error is None:
        assert check_arrays(node, [x], [value])[0].dtype == "float32"
        return
    with pytest.raises(error, match="input 'x'") as caught:
        check_arrays(node, [x], [value])
    assert caught.value.node is node
    assert all(fact in f"{caught.value.got} {caught.value.expected}" for fact in facts)


def test_masked_values_are_refused_where_they_are_fed():
    x = flat()
    node = nm.Add(x, x, name="sum", **QUIET)
    with pytest.raises(InputTypeError, match="Add 'sum': masked"):
        check_arrays(node, [x], [np.ma.masked_array(np.ones((1, 3)), mask=[[True, False, False]])])


def test_declared_sizes_bind_and_open_ones_do_not():
    x = flat(batch=2)
    open_ = flat("open")
    with pytest.raises(ShapeError, match="wrong shape"):
        x(np.ones((5, 3)))
    assert check_arrays(open_, [open_], [np.ones((5, 3))])[0].shape == (5, 3)


def test_labels_are_checked_of_what_is_evaluated():
    x, probs, target = classifier()
    loss = nm.MultinoulliNLL(probs, target, target_is_sparse=True, **QUIET)
    good, bad = np.array([[1]]), np.array([[2]])
    data = np.ones((1, 3))
    assert check_arrays(loss, [x, target], [data, good])[1].dtype == "int16"
    with pytest.raises(ArgumentError, match="2"):
        check_arrays(loss, [x, target], [data, bad])
    # The node that is called does not count where the evaluated ones are given.
    assert check_arrays(loss, [x, target], [data, bad], [probs])[1].tolist() == [[2]]
    with pytest.raises(ArgumentError, match="2"):
        check_arrays(probs, [x, target], [data, bad], [probs, nm.AggregateLoss([loss], **QUIET)])


def test_labels_are_checked_as_they_came():
    x, probs, target = classifier()
    loss = nm.MultinoulliNLL(probs, target, target_is_sparse=True, **QUIET)
    with pytest.raises(ArgumentError, match="65536") as caught:  # 0 in int16
        check_arrays(x, [x, target], [np.ones((1, 3)), np.array([[65536]])], [loss])
    assert caught.value.node is loss


def test_labels_are_checked_behind_nodes_that_rearrange_them():
    _, probs, target = classifier(n_label=3)
    first, second = nm.split(target, n_out=2, index=[1], name=["first", "second"])
    swapped = nm.Concat([second, first], **QUIET)
    part = nm.split(swapped, index=[1, 2], name=["ignored", "used", "rest"])[1]
    loss = nm.MultinoulliNLL(probs, part, target_is_sparse=True, **QUIET)
    data = np.ones((1, 3))
    # Of (first | second, third) the used one is the third: its label must be a class, the others' need not.
    assert check_arrays(loss, loss.input_nodes, [data, np.array([[7, 9, 1]])])[1].tolist() == [[7, 9, 1]]
    with pytest.raises(ArgumentError, match="9"):
        check_arrays(loss, loss.input_nodes, [data, np.array([[0, 1, 9]])])


def test_computed_labels_are_not_checked_beforehand():
    _, probs, target = classifier()
    halved = nm.ApplyFunc(target, lambda t: t // 2, name="halved")
    loss = nm.MultinoulliNLL(probs, nm.Concat([halved], **QUIET), target_is_sparse=True, **QUIET)
    assert check_arrays(loss, loss.input_nodes, [np.ones((1, 3)), np.array([[2]])])[1].tolist() == [[2]]


def test_parts_of_computed_labels_are_not_checked_beforehand():
    _, probs, target = classifier(n_label=2)
    parts = nm.split(nm.ApplyFunc(target, lambda t: t // 2, name="halved"), n_out=2, name=["ignored", "used"])
    loss = nm.MultinoulliNLL(probs, parts[1], target_is_sparse=True, **QUIET)
    assert check_arrays(loss, loss.input_nodes, [np.ones((1, 3)), np.array([[9, 9]])])[1].tolist() == [[9, 9]]


def test_fractions_are_not_fed_to_integers():
    y = flat("y", dtype="int16")
    with pytest.raises(InputTypeError, match="input 'y'") as caught:
        check_arrays(y, [y], [np.ones((2, 3))])
    assert caught.value.expected == "int16"
    assert "(2, 3) float64" in caught.value.got


def test_random_data_has_the_sources_shapes_and_dtypes():
    x, y = flat("x", batch=400), nm.Input((400, 3), "b,f", dtype="float64", name="y", **QUIET)
    a, b = random_inputs(nm.Concat([x, y], **QUIET))
    assert (a.shape, a.dtype, b.shape, b.dtype) == ((400, 3), "float32", (400, 3), "float64")
    for values in (a, b):
        assert 0 <= values.min() < 0.05 and 0.95 < values.max() < 1
    assert not np.array_equal(a, b)


def test_unknown_sizes_of_random_data():
    assert random_inputs(flat())[0].shape == (1, 3)
    x = nm.Input((None, 3, None), "b,f,x", name="x", **QUIET)
    assert random_inputs(x)[0].shape == (1, 3, 1)
    y = nm.Input((None, 4, 7), "b,f,x", name="y", **QUIET)
    assert [v.shape for v in random_inputs(nm.Concat([x, y], **QUIET))] == [(1, 3, 7), (1, 4, 7)]


def test_unknown_batch_sizes_follow_any_node_and_others_the_sources_only():
    x = nm.Input((None, 3, None), "b,f,x", name="x", **QUIET)
    weights = nm.ValueNode((6, 3, 8), "b,f,x", name="weights", **QUIET)
    assert random_inputs(nm.Concat([x, weights], **QUIET))[0].shape == (6, 3, 1)


def test_no_random_data_for_a_generic_input():
    class Told(nm.Node):
        def _make_output(self):
            self.output = self.parent[0].output + 1

    anything = nm.GenericInput(name="any", **QUIET)
    node = Told([flat(), anything], name="told")
    with pytest.raises(ArgumentError, match="generic input") as caught:
        random_inputs(node)
    assert (caught.value.node, caught.value.got) == (node, "any")


def test_random_labels_are_zero_and_data_is_not():
    _, probs, target = classifier()
    second = nm.Input((4, 2), "b,f", dtype="float32", name="fractions", **QUIET)
    parts = nm.split(second, n_out=2, name=["ignored", "used"])
    weights = nm.Input((4, 2), "b,f", name="w", **QUIET)
    more = nm.Input((4, 1), "b,f", name="more", **QUIET)
    losses = [
        nm.MultinoulliNLL(probs, parts[1], target_is_sparse=True, class_weights=weights, name="a", **QUIET),
        nm.MultinoulliNLL(probs, more, target_is_sparse=True, name="b", **QUIET),
        nm.MultinoulliNLL(probs, target, target_is_sparse=True, name="c", **QUIET),
    ]
    total = nm.AggregateLoss(losses, **QUIET)
    values = dict(zip([n.name for n in total.input_nodes], random_inputs(total), strict=True))
    assert {name: v.shape for name, v in values.items()} == {
        "x": (4, 3), "fractions": (4, 2), "w": (4, 2), "more": (4, 1), "t": (4, 1),
    }  # fmt: skip
    assert values["t"].dtype == "int16"
    for name in ("fractions", "more", "t"):
        assert not values[name].any()
    for name in ("x", "w"):
        assert (values[name] > 0).all()
