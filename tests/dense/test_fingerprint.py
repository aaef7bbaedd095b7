"""Fingerprints: whatever changes a prediction changes them, in any process; names and patch sizes do not."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.dense.fingerprint import function_text, model_fingerprint


def net(**changes):
    """Small network; `changes` are options of its first layer, or of the input."""
    nm.seed(1)
    nm.model_manager.newmodel(None)
    size, dtype, tags = changes.pop("size", 8), changes.pop("dtype", None), changes.pop("tags", "b,f,y,x")
    inp = nm.Input((1, 1, size, size), tags, dtype=dtype, print_repr=False)
    options = {"n_f": 2, "filter_shape": (3, 3), "pool_shape": (1, 1), "activation_func": "tanh"} | changes
    return nm.Conv(inp, **options, print_repr=False)


def test_the_same_network_has_the_same_fingerprint_under_any_name_and_patch_size():
    assert len({model_fingerprint([net(**c)]) for c in ({}, {"name": "other"}, {"size": 20})}) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"activation_func": "relu"},
        {"conv_mode": "same"},
        {"pool_shape": (2, 2)},
        {"pool_shape": (2, 1)},
        {"tags": "b,f,x,y"},
        {"dtype": "float64"},
        {"filter_shape": (3, 4)},
        {"dropout_rate": 0.5},
        {"b": np.full(2, 0.25, "float32")},
    ],
    ids=str,
)
def test_any_change_of_a_layer_is_seen(change):
    assert model_fingerprint([net(**change)]) != model_fingerprint([net()])


@pytest.mark.parametrize("key", ["w", "b"])
def test_every_parameter_counts_to_the_last_bit(key):
    node = net()
    before, value = model_fingerprint([node]), node.params[key].get_value()
    changed = value.copy()
    changed.flat[-1] = np.nextafter(changed.flat[-1], np.float32(9))
    node.set_param_values({key: changed})
    assert model_fingerprint([node]) != before
    node.set_param_values({key: value})
    assert model_fingerprint([node]) == before


def test_connections_and_the_order_of_nodes_count():
    inp = nm.Input((1, 2, 8, 8), "b,f,y,x", print_repr=False)
    a = nm.ApplyFunc(inp, nm.T.tanh)
    b = nm.ApplyFunc(inp, nm.T.exp)
    prints = [model_fingerprint(nodes) for nodes in ([a, b], [b, a], [a], [b])]
    merged = [model_fingerprint([nm.Concat(pair, print_repr=False)]) for pair in ([a, b], [b, a], [a, a])]
    assert len({*prints, *merged}) == 7


def test_parts_of_a_split_are_told_apart():
    inp = nm.Input((1, 4, 8, 8), "b,f,y,x", print_repr=False)
    halves = nm.split(inp, n_out=2)
    thirds = nm.split(inp, index=[1, 3])
    assert len({model_fingerprint([part]) for part in (*halves, *thirds)}) == 5


def test_keyword_arguments_of_a_functor_count_whatever_their_names():
    def scaled(x, **options):
        return x * options.popitem()[1]

    inp = nm.Input((1, 2, 8, 8), "b,f,y,x", print_repr=False)
    cases = [{"b": 2}, {"b": 3}, {"std": 2}, {"name": 2}, {"a": 2}]
    prints = {model_fingerprint([nm.ApplyFunc(inp, scaled, kwargs=case)]) for case in cases}
    assert len(prints) == len(cases)


def make(factor, power=1):
    def scaled(values, offset=0):
        return factor * values**power + offset

    return scaled


def recursive():
    def count(n):
        return count(n - 1) if n else 0

    return count


PAIRS = {
    "constant": (lambda v: v + 1, lambda v: v + 2),
    "type of a constant": (lambda v: v + 1, lambda v: v + 1.0),
    "name": (lambda v: np.sqrt(v), lambda v: np.square(v)),
    "closure": (make(1), make(2)),
    "array in a closure": (make(np.array([1, 2])), make(np.array([1, 3]))),
    "function in a closure": (make(make(1)), make(make(2))),
    "default": (lambda v, a=1: v + a, lambda v, a=2: v + a),
    "keyword default": (lambda v, *, a=1: v + a, lambda v, *, a=2: v + a),
    "inner function": (lambda v: (lambda u: u + 1)(v), lambda v: (lambda u: u + 2)(v)),
    "set": (lambda v: v in {1, 2}, lambda v: v in {1, 3}),
    "partial": (partial(make, 1), partial(make, 2)),
    "keyword of a partial": (partial(make, power=1), partial(make, power=2)),
}


@pytest.mark.parametrize("what", PAIRS)
def test_functions_are_told_apart_by_what_they_compute(what):
    one, other = PAIRS[what]
    assert function_text(one) == function_text(one) != function_text(other)


def test_functions_that_compute_the_same_are_the_same():
    assert function_text(make(3, 2)) == function_text(make(3, 2))
    assert function_text(recursive()) == function_text(recursive())


@pytest.mark.parametrize(
    ("source", "same"),
    [
        ("lambda v: [list(map(lambda u: u + 1, w)) for w in v]",) * 2,  # the inner functions have addresses
        ("lambda v: v in {0, 8}", "lambda v: v in {8, 0}"),  # sets have no order
        ("lambda v: v in {'a', 'b', 'c', 'd'}", "lambda v: v in {'d', 'c', 'b', 'a'}"),
    ],
)
def test_texts_of_functions_do_not_depend_on_the_process(source, same):
    assert function_text(eval(source)) == function_text(eval(same))


def test_documentation_does_not_count():
    def documented(text):
        space = {}
        exec(f"def f(v):\n    {text!r}\n    return v in {{0, 8}}", space)
        return space["f"]

    assert function_text(documented("one")) == function_text(documented("two"))


def test_a_function_without_code_is_known_by_its_name():
    assert function_text(np.sqrt) != function_text(np.square)
    assert function_text(nm.T.tanh) != function_text(nm.T.exp)
    assert function_text(len) == "builtins:len"
