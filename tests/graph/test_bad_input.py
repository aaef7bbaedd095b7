"""Invalid arguments: errors give node, value, expectation and nearest valid value, and no node is left behind."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer import T
from neuromancer.errors import ArgumentError, InputTypeError, NeuromancerError, ShapeError, blame


def flat(**kwargs):
    return nm.Input((None, 3), "b,f", name="flat", print_repr=False, **kwargs)


def image(**kwargs):
    return nm.Input((1, 2, 10, 10), "b,f,y,x", name="image", print_repr=False, **kwargs)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"tags": "b,q"}, r"unknown tag 'q'; got \['b', 'q'\]; expected tags from"),
        ({"tags": "B,F"}, r"unknown tag 'B'.*nearest valid: b,f"),
        ({"tags": "b,b"}, "duplicate tags"),
        ({"tags": "b,f,x"}, "shape and tags differ in length"),
        ({"tags": 5}, "tags must be a list"),
        ({"shape": 5}, "a shape must be a list or tuple; got 5"),
        ({"shape": (1, -2)}, r"not a size; got -2; expected a non-negative int or None in \[1, -2\]"),
        ({"shape": (1, np.float64(2.5))}, r"not a size; got 2\.5"),
        (
            {"shape": (5, 2), "tags": "x,f", "strides": 2},
            "strides must be positive numbers; got 2; expected 1, one per",
        ),
        ({"shape": (5, 2), "tags": "x,f", "strides": ["a"]}, "strides must be positive numbers"),
        ({"shape": (5, 2), "tags": "x,f", "strides": [0]}, "strides must be positive numbers"),
        ({"shape": (5, 2), "tags": "x,f", "strides": [1, 1]}, "strides needs one entry per spatial axis"),
        ({"shape": (5, 2), "tags": "x,f", "fov": [0]}, "a field of view must be a positive integer"),
        ({"shape": (5, 2), "tags": "x,f", "fov": ["a"]}, "a field of view must be a positive integer"),
        ({"dtype": np.float32}, "dtype must be the name of a numeric dtype"),
        ({"hardcoded_shape": True, "shape": (None, 2)}, "all sizes of a hard-coded shape must be known"),
    ],
)
def test_sources(fresh_model, kwargs, message):
    with pytest.raises(NeuromancerError, match=f"^Input 'input': {message}"):
        nm.Input(**{"shape": (1, 2), "tags": "b,f", "print_repr": False, **kwargs})
    assert not fresh_model.nodes


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda i, f: nm.Concat([i, i], "z"), "Concat 'concat': no axis has tag 'z'"),
        (lambda i, f: nm.Concat([i, f]), r"Concat 'concat': the inputs have different axes; got image: .*; flat: "),
        (lambda i, f: nm.Add(i, f), "Add 'add': the inputs have different axes"),
        (lambda i, f: nm.Conv(i, 2, (11, 3)), "Conv 'conv': the kernel is larger.*nearest valid: size 11"),
        (lambda i, f: nm.Conv(i, 2, (2, 2), (2, 2)), "Conv 'conv': the pooling does not divide.*size 9 or 11"),
        (
            lambda i, f: nm.Conv(i, 2, (3, 3, 3)),
            "Conv 'conv': filter_shape needs one entry.*2 entries, for the axes y, x",
        ),
        (
            lambda i, f: nm.Conv(i, 2, (3, 3), w=np.full((2, 2, 3, 3), np.nan)),
            "Conv 'conv': parameter 'w' is not finite",
        ),
        (lambda i, f: nm.Pool(i, (3, 3)), "Pool 'pool': the windows do not cover.*nearest valid: size 9 or 12"),
        (
            lambda i, f: nm.Softmax(nm.GenericInput(print_repr=False)),
            "Softmax 'softmax': the parent has no tensor output",
        ),
        (
            lambda i, f: nm.ApplyFunc(f, T.pow, 3),
            "ApplyFunc 'apply': args must be a tuple and kwargs a dict; got args=3",
        ),
        (
            lambda i, f: nm.ValueNode((1, 2), "b,f", dtype="int64", apply_train=True),
            "only floating-point.*dtype=float32",
        ),
        (lambda i, f: nm.ValueNode((1, 2), "b,f", value="x"), "the value does not fit the shape; got 'x'"),
        (
            lambda i, f: nm.ValueNode((1, 2), "b,f", init_kwargs={"foo": 1}),
            r"'value_state': init_kwargs must be arguments of initweights; got {'foo': 1}; expected .*'scale'",
        ),
        (lambda i, f: nm.Input_like(f, override_f=0), "'input': override_f must be a positive integer; got 0"),
        (lambda i, f: nm.split(i, "q", n_out=2), "split of 'image'\": no axis has tag 'q'"),
        (lambda i, f: nm.split(i, n_out=2, name=5), "one name per part is needed; got 5; expected 2 names"),
    ],
)
def test_nodes(fresh_model, make, message):
    i, f = image(), flat()
    with pytest.raises(NeuromancerError, match=message):
        make(i, f)
    assert [n for n in fresh_model.nodes if n != "generic_input"] == ["image", "flat"]
    assert not i.children
    assert not f.children


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ([[1], [2, 3]], ShapeError, "Input 'flat': input 'flat' is not an array"),
        ("text", InputTypeError, "(?s)wrong dtype.*given.*str"),
        ({"a": 1}, InputTypeError, "(?s)wrong dtype.*given.*dict"),
    ],
)
def test_calls(value, error, message):
    with pytest.raises(error, match=message):
        flat()(value)


def test_ragged_lists_are_shown_in_the_table():
    with pytest.raises(InputTypeError, match=r"(?s)1 inputs required, 2 given.*\n  -  +-  +list"):
        flat()([[1, 2, 3]], [[1], [2, 3]])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1], "Perceptron 'dot': needs values by name; got list; expected a dict of"),
        (
            {"w": "abc"},
            r"parameter 'w' needs real numbers; got str 'abc'; expected a number or an array of shape \(3, 2\)",
        ),
        ({"w": None}, "parameter 'w' needs real numbers; got NoneType None"),
        ({"w": np.ones((3, 2)) * 1j}, "parameter 'w' needs real numbers"),
        ({"w": [[1], [2, 3]]}, "parameter 'w' needs real numbers; got list"),
    ],
)
def test_parameters_by_name(values, message):
    node = nm.Perceptron(flat(), 2, print_repr=False)
    with pytest.raises(InputTypeError, match=message):
        node.set_param_values(values)


@pytest.mark.parametrize("names", [5, "abc", ["a", "b"], [1, 2, 3]])
def test_feature_names(names):
    with pytest.raises(ArgumentError, match=r"Input 'flat': one name per feature.*expected a list of 3 strings"):
        flat().feature_names = names


def test_errors_of_a_functor_name_its_node():
    with pytest.raises(AttributeError) as caught:
        nm.ApplyFunc(flat(), lambda x: x.nothing_like_this, name="mine")
    assert caught.value.__notes__ == ["Raised by the functor of ApplyFunc 'mine'."]


def test_numbers_of_runs():
    with pytest.raises(ArgumentError, match="invalid number of runs"):
        flat().measure_exectime("5")


def test_numpy_numbers_read_like_numbers():
    assert str(ShapeError("no", got=(np.int64(3), [np.float32(0.5)]), expected=np.int64(4))) == (
        "no; got (3, [0.5]); expected 4"
    )


def test_blame_keeps_the_node_that_an_error_names():
    node = flat()
    with pytest.raises(ShapeError) as caught, blame("other"):
        raise ShapeError("no", node=node)
    assert caught.value.node is node


def test_unknown_sizes_of_random_data_are_those_of_other_sources():
    both = nm.Add(flat(), nm.Input((4, 3), "b,f", print_repr=False), print_repr=False)
    assert both.test_run().shape == (4, 3)
    value = nm.ValueNode((5, 3), "b,f", print_repr=False)
    assert nm.Add(flat(), value, print_repr=False).test_run().shape == (5, 3)


def test_errors_of_a_call_name_the_node():
    both = nm.Add(flat(), nm.ValueNode((5, 3), "b,f", print_repr=False), name="both", print_repr=False)
    with pytest.raises(ShapeError, match=r"Add 'both': .* axis 0; got shape"):
        both(np.ones((2, 3)))
