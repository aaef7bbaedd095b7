"""Encoding of node arguments as JSON, and decoding."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

import neuromancer as nm
from neuromancer import TaggedShape, VariableParam
from neuromancer import engine as E
from neuromancer.errors import ArgumentError, FileError
from neuromancer.io.limits import Budget
from neuromancer.io.values import MAX_DEPTH, Arrays, Decoder, Encoder

OWNER = SimpleNamespace(name="the owner")


def encoded(value, nodes=(), arrays=None):
    return Encoder(nodes, Arrays() if arrays is None else arrays)(value, OWNER, "the argument")


def decoder(arrays=(), nodes=(), functors=()):
    arrays = dict(arrays)
    return Decoder(arrays, {n.name: n for n in nodes}, dict(functors), Budget({"nodes": []}, arrays))


def again(value, nodes=()):
    arrays = Arrays()
    text = json.dumps(encoded(value, nodes, arrays), allow_nan=False)
    return decoder(arrays.by_path, nodes)(json.loads(text))


def layer(name="layer"):
    return nm.Conv(nm.Input((1, 1, 9), "b,f,x", print_repr=False), 2, (3,), name=name, print_repr=False)


@pytest.mark.parametrize("centre", [None, [1, 2.5], [0, 0]])
def test_shapes_keep_everything(centre):
    shape = TaggedShape([2, None, 9], "b,y,x", strides=[2, 1], mfp_offsets=[[0, 0], [1, 0]], fov=[5, 3], centre=centre)
    got = again(shape)
    assert got == shape and got.centre == shape.centre and got.offsets == shape.offsets
    assert got.strides.tolist() == [2, 1] and got.mfp_offsets.tolist() == [[0, 0], [1, 0]] and got.fov == [5, 3]


def test_a_shape_of_unknown_centre_stays_so():
    got = again(TaggedShape([2, 9], "b,x", fov=[-1]))
    assert got.fov == [-1] and got.centre == [None]


def test_a_shape_is_a_list_of_its_parts():
    shape = TaggedShape([2, 9], "b,x", strides=[Fraction(1, 2)], fov=[5], centre=[3])
    assert encoded(shape) == {"shape": [[2, 9], ["b", "x"], [0.5], [[0]], [5], [{"fraction": [3, 1]}]]}


def test_arrays_are_shared_only_if_they_are_the_same():
    arrays = Arrays()
    first = arrays.add(np.zeros(2, "float32"))
    assert arrays.add(np.zeros(2, "float32")) == first
    others = [np.zeros(2, "int32"), np.zeros((1, 2), "float32"), np.zeros(4, "int16"), np.ones(2, "float32")]
    paths = [arrays.add(array)["array"] for array in others]
    assert len({first["array"], *paths}) == 5
    for path, array in zip(paths, others, strict=True):
        assert arrays.by_path[path].dtype == array.dtype and arrays.by_path[path].shape == array.shape


def test_arrays_are_numbered_and_kept_as_they_were_in_one_piece():
    arrays, original = Arrays(), np.asfortranarray(np.arange(6.0).reshape(2, 3))
    assert [arrays.add(original), arrays.add(np.ones(3))] == [{"array": "constants/0"}, {"array": "constants/1"}]
    original[:] = 0
    kept = arrays.by_path["constants/0"]
    assert kept.tolist() == [[0, 1, 2], [3, 4, 5]] and kept.flags.c_contiguous


def test_an_array_with_a_path_of_its_own_is_found_there():
    arrays = Arrays()
    assert arrays.add(np.ones(2), "nodes/a/w") == {"array": "nodes/a/w"}
    assert arrays.add(np.ones(2), "nodes/b/w") == {"array": "nodes/b/w"}
    assert arrays.add(np.ones(2)) == {"array": "nodes/a/w"}
    assert list(arrays.by_path) == ["nodes/a/w", "nodes/b/w"]
    assert arrays.add(np.zeros(2)) == {"array": "constants/2"}


@pytest.mark.parametrize(
    ("value", "json_value"),
    [
        (None, None),
        (True, True),
        ("text", "text"),
        (3, 3),
        (2**128 - 1, 2**128 - 1),
        (1 - 2**128, 1 - 2**128),
        (1.5, 1.5),
        (math.inf, {"float": "inf"}),
        (-math.inf, {"float": "-inf"}),
        (Fraction(2, 3), {"fraction": [2, 3]}),
        ([1, [2.5, None]], [1, [2.5, None]]),
        ((1, ("a", False)), {"tuple": [1, {"tuple": ["a", False]}]}),
        ({"a": (1,), "tuple": 2}, {"dict": {"a": {"tuple": [1]}, "tuple": 2}}),
        (nm.T.tanh, {"functor": "T:tanh"}),
    ],
)
def test_what_stands_for_what(value, json_value):
    assert encoded(value) == json_value
    found = again(value)
    assert found == value and type(found) is type(value)


def test_not_a_number_comes_back():
    assert encoded(math.nan) == {"float": "nan"} and math.isnan(again(math.nan))


@pytest.mark.parametrize("value", [np.float32(0.1), np.int8(-3), np.bool_(True), np.uint64(2**64 - 1)])
def test_scalars_keep_their_type(value):
    arrays = Arrays()
    assert encoded(value, arrays=arrays) == {"scalar": "constants/0"}
    assert arrays.by_path["constants/0"].shape == ()
    found = again(value)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "float64"])
def test_arrays_keep_their_type(dtype):
    value = np.arange(6).reshape(2, 3).astype(dtype)
    assert encoded(value) == {"array": "constants/0"}
    found = again({"inside": [value]})["inside"][0]
    assert isinstance(found, np.ndarray) and found.dtype == dtype and found.tolist() == value.tolist()


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (2**128, "int"),
        (-(2**128), "int"),
        (np.array(["text"]), "ndarray"),
        (np.array([None]), "ndarray"),
        (np.complex64(1), "complex64"),
        (1j, "complex"),
        ({1: "one"}, "dict"),
        ({"a": 1, 2: 3}, "dict"),
        ({1, 2}, "set"),
        (nm.Conv, "NodeType"),
    ],
)
def test_what_a_file_cannot_hold_is_refused_with_its_type(value, kind):
    for nested in (value, [value], (value,), {"key": value}):
        with pytest.raises(ArgumentError, match=r"the argument") as caught:
            encoded(nested)
        assert caught.value.node is OWNER and caught.value.got.split()[0] == kind


def test_a_local_function_is_refused():
    with pytest.raises(ArgumentError, match="lambda") as caught:
        encoded(lambda x: x)
    assert caught.value.node is OWNER


def test_nodes_go_by_their_names():
    node = layer()
    assert encoded([node], [node]) == [{"node": "layer"}]
    assert again(node, [node]) is node
    with pytest.raises(ArgumentError, match=r"the owner.*the argument: layer"):
        encoded(node)


def test_parameters_go_by_their_nodes():
    node, other = layer(), VariableParam(1.0)
    encode = Encoder([node], Arrays())
    assert encode(node.params["w"], OWNER, "w") == {"parameter": ["layer", "w"]}
    assert encode.is_param(node.params["w"]) and not encode.is_param(other)
    assert again(node.params["b"], [node]) is node.params["b"]


def test_variables_of_no_node_are_numbered_once_each():
    encode = Encoder([], Arrays())
    one, two = VariableParam(1.0), VariableParam(1.0)
    found = [encode(v, OWNER, "w")["variable"] for v in (one, two, one, two)]
    assert found == [0, 1, 0, 1] and encode.variables[0] is one and encode.variables[1] is two
    decode = decoder()
    decode.variables += [one, two]
    assert decode({"variable": 1}) is two and decode([{"variable": 0}])[0] is one


def test_constants_are_stored():
    constant = E.constant(np.arange(3, dtype="int16"))
    assert encoded(constant) == {"constant": "constants/0"}
    found = again(constant)
    assert isinstance(found, E.Constant) and found.data.tolist() == [0, 1, 2] and found.data.dtype == "int16"


def test_views_are_kept_as_steps_from_what_they_show():
    node = layer()
    view = node.params["w"].dimshuffle(1, 0, 2)[:, ::-1]
    stored = encoded(view, [node])
    ((base, steps),) = stored.values()
    assert list(stored) == ["view"] and base == {"parameter": ["layer", "w"]} and len(steps) == 2
    assert E.view_of(again(view, [node])) == (node.params["w"], steps)


def test_other_symbolic_values_are_refused_under_views_too():
    node = layer()
    raw = node.parent.output
    for value in (node.params["w"] * 2, (node.params["w"] * 2)[0], raw, raw[0]):
        with pytest.raises(ArgumentError, match="the argument") as caught:
            encoded(value, [node])
        assert caught.value.node is OWNER and "Variable" in caught.value.got.split()[0]


# ---- what a file may say


@pytest.mark.parametrize(
    "nest",
    [
        lambda v: [v],
        lambda v: {"tuple": [v]},
        lambda v: {"dict": {"key": v}},
        lambda v: {"view": [v, []]},
    ],
)
def test_nesting_has_an_end(nest):
    decode = decoder()
    decode.variables.append(VariableParam(1.0))
    value = {"variable": 0}
    for _ in range(MAX_DEPTH):
        value = nest(value)
    decode(value)
    with pytest.raises(FileError, match="40"):
        decode(nest(value))


def test_nesting_has_an_end_in_shapes():
    decode, deep = decoder(), 1
    for _ in range(MAX_DEPTH):
        deep = [deep]
    with pytest.raises(FileError, match="40"):
        decode({"shape": [deep, [], [], [], [], []]})


def test_functions_stand_only_where_an_argument_does():
    assert decoder()({"functor": "T:tanh"}) is nm.T.tanh
    assert decoder(functors={"mine": abs})({"functor": "somewhere:mine"}) is abs
    for nested in ([{"functor": "T:tanh"}], {"tuple": [{"functor": "T:tanh"}]}):
        with pytest.raises(FileError, match="functor"):
            decoder()(nested)


@pytest.mark.parametrize(
    ("value", "got"),
    [
        ({}, "{}"),
        ({"tuple": [], "dict": {}}, "'dict'"),
        ({"pickle": 1}, "pickle"),
        (2**128, "3402823669"),
        ([-(2**128)], "-3402823669"),
        ({"fraction": [1, 2, 3]}, r"1, 2, 3"),
        ({"fraction": [1]}, "1"),
        ({"fraction": ["1e99999999", 1]}, "1e99999999"),
        ({"fraction": [1, True]}, "True"),
        ({"fraction": [2**128, 1]}, "3402823669"),
        ({"fraction": [1, 2**128]}, "3402823669"),
        ({"variable": -1}, "-1"),
        ({"variable": True}, "True"),
        ({"variable": "0"}, "0"),
        ({"array": "constants/9"}, "constants/9"),
        ({"array": ["constants/0"]}, "constants/0"),
        ({"scalar": "constants/9"}, "constants/9"),
        ({"constant": None}, "None"),
        ({"node": "missing"}, "missing"),
        ({"node": ["layer"]}, "layer"),
        ({"parameter": ["missing", "w"]}, "missing"),
        ({"parameter": ["layer", "unknown"]}, "unknown"),
    ],
)
def test_damaged_values_are_refused_with_what_is_wrong(value, got):
    arrays, node = {"constants/0": np.ones(2)}, layer()
    decode = decoder(arrays, [node])
    decode.variables.append(VariableParam(1.0))
    with pytest.raises(FileError, match=got):
        decode(value)


def test_plain_values_stay_as_they_are():
    values = [None, True, "text", 1.5, 2**128 - 1, 1 - 2**128]
    found = decoder()(values)
    assert found == values and found[1] is True


def test_copies_of_arrays_are_apart_and_counted():
    arrays = {"constants/0": np.zeros(10)}
    decode = decoder(arrays)
    before = decode.budget.numbers
    copies = [decode({"array": "constants/0"}) for _ in range(2)]
    assert decode.budget.numbers == before - 2 * 11
    copies[0][:] = 1
    assert not copies[1].any() and not arrays["constants/0"].any()
    decode({"constant": "constants/0"})
    assert decode.budget.numbers == before - 3 * 11


def test_views_are_counted_by_their_steps_and_the_length_of_their_description():
    decode = decoder()
    decode.variables.append(VariableParam(np.zeros((2, 3), "float32")))
    for steps in ([], [["transpose", [1, 0]]], [["transpose", [1, 0]]] * 40):
        before = decode.budget.operations
        decode({"view": [{"variable": 0}, steps]})
        assert before - decode.budget.operations == 4 * len(steps) + len(str(steps)) // 64
    decode.budget.operations = 3
    with pytest.raises(FileError, match=r"view.*got 4 .*at most 3"):
        decode({"view": [{"variable": 0}, [["transpose", [1, 0]]]]})
