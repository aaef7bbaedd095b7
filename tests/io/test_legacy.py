"""Model files of the original library: read without running anything, translated, converted."""

from __future__ import annotations

import gzip
import os
import pickle
import sys
import types
from collections import OrderedDict
from pathlib import Path
from unittest.mock import patch

import h5py
import numpy as np
import pytest

import neuromancer as nm
from neuromancer.commands.convert import main
from neuromancer.errors import ArgumentError, FileError
from neuromancer.io.legacy.pickles import read_pickle
from tests.io.test_container import refused

LEGACY = Path(__file__).parents[1] / "reference" / "legacy"
CASES = sorted(LEGACY.glob("*.mdl"))


# ---- files of the original
@pytest.fixture(params=CASES, ids=lambda path: path.stem)
def case(request):
    with h5py.File(request.param.with_suffix(".expected.h5")) as file:
        params = {n: {k: v[...] for k, v in g.items()} for n, g in file["params"].items()}
        yield request.param, file["input"][...], file["prediction"][...], params


def test_prediction_and_parameters(case):
    path, data, expected, params = case
    model = nm.modelload(path)
    actual = model.get_param_values()
    assert {n: sorted(p) for n, p in actual.items()} == {n: sorted(p) for n, p in params.items()}
    for name, values in params.items():
        for key, value in values.items():
            np.testing.assert_allclose(actual[name][key], value, rtol=1e-6)
    assert np.abs(model.predict(data.astype("float32")) - expected).max() < 1e-5
    nm.config.floatX = "float64"
    assert np.abs(nm.modelload(path).predict(data.astype("float64")) - expected).max() < 1e-12


def test_options_work_on_them_too(case):
    path = case[0]
    model = nm.modelload(path, imposed_patch_size=[30, 30], imposed_batch_size=2)
    assert model.input_node.shape.shape[2:] == [30, 30]
    dense = nm.modelload(path, override_mfp_to_active=True)
    assert dense.prediction_node.shape.strides.tolist() == [1, 1]


def test_gzipped(case, tmp_path):
    path, data, expected, _ = case
    packed = tmp_path / "packed.mdl"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert np.abs(nm.modelload(packed).predict(data.astype("float32")) - expected).max() < 1e-5


def test_damage_is_noticed_or_harmless(case, tmp_path):
    path = case[0]
    whole = path.read_bytes()
    copy = tmp_path / "copy.mdl"
    for at in range(0, len(whole), max(1, len(whole) // 250)):
        changed = bytearray(whole)
        changed[at] ^= 1 << (at % 8)
        for content in (bytes(changed), whole[:at]):
            copy.write_bytes(content)
            try:
                nm.params_from_model_file(copy)
            except FileError:
                continue


def test_conversion(case, tmp_path, capsys):
    path, data, expected, _ = case
    before = nm.model_manager.current
    new = tmp_path / "new.h5"
    assert main([str(path), str(new)]) == 0
    assert nm.model_manager.current is before
    assert np.abs(nm.modelload(new).predict(data.astype("float32")) - expected).max() < 1e-5
    assert main([str(tmp_path / "absent.mdl"), str(new)]) == 1
    assert "cannot be read" in capsys.readouterr().err


# ---- other descriptions in the original's form
@pytest.fixture
def original():
    """Stand-ins for the original's classes, so that pickle writes their names."""
    made, modules = {}, {}

    def stand_in(module, name):
        for k in range(1, module.count(".") + 2):
            part = ".".join(module.split(".")[:k])
            modules.setdefault(part, types.ModuleType(part))
        cls = made.setdefault((module, name), type(name, (), {"__module__": module}))
        setattr(modules[module], name, cls)
        return cls

    stand_in.modules = modules  # only while pickle writes: an engine may have modules of these names
    return stand_in


def record(cls, /, **state):
    thing = cls()
    vars(thing).update(state)
    return thing


class Writer:
    def __init__(self, original):
        base = "elektronn2.neuromancer"
        self.original = original
        self.node = original(f"{base}.graphmanager", "NodeDescriptor")
        self.pointer_class = original(f"{base}.graphmanager", "NodePointer")
        self.split_class = original(f"{base}.graphmanager", "SplitDescriptor")
        self.descriptors = OrderedDict()

    def pointer(self, name):
        return record(self.pointer_class, target_id=name)

    def add(self, name, cls, *args, params=(), **kwargs):
        cls = self.original("elektronn2.neuromancer.neural", cls)
        kwargs["name"] = name
        self.descriptors[name] = [record(self.node, cls=cls, args=list(args), kwargs=kwargs), OrderedDict(params)]
        return self.pointer(name)

    def write(self, path, **roles):
        with patch.dict(sys.modules, self.original.modules):
            path.write_bytes(pickle.dumps((self.descriptors, roles), protocol=2))
        return path


def test_all_kinds_of_arguments(original, tmp_path):
    w = Writer(original)
    inp = w.add("raw", "Input", [np.int64(1), 4], "b,f", None, [])
    value = np.array([[1.0, 2, 3, 4]], "float32")
    tanh = original("theano.scalar.basic", "Tanh")
    elemwise = original("theano.tensor.elemwise", "Elemwise")
    w.add("squashed", "ApplyFunc", inp, record(elemwise, scalar_op=record(tanh), nfunc_spec=None), [], {})
    both = w.add("both", "Concat", [w.pointer("raw"), w.pointer("squashed")])
    weight = np.ones((8, 2), "float64", order="F")
    w.add("one", "Perceptron", both, 2, "lin", params={"w": weight, "b": np.zeros(2)})
    shared = original("elektronn2.neuromancer.graphmanager", "ParamPointer")
    w.add(
        "two", "Perceptron", both, np.int32(2), activation_func="lin",
        w=record(shared, target_id="one", target_param="w"), params={"b": np.ones(2)},
    )  # fmt: skip
    w.add("const", "Perceptron", both, 2, "lin", w=[weight, "const"], params={"w": weight, "b": np.full(2, 3.0)})
    w.add("value", "ValueNode", (1, 4), "b,f", params={"value": value})
    state = {"node_id": "raw", "func": None, "args": [w.pointer("raw")], "kwargs": {"n_out": 2}}
    w.descriptors["halves"] = record(w.split_class, **state)
    model = nm.modelload(w.write(tmp_path / "x.mdl", input_node="raw", prediction_node="one", prediction_ext=[]))
    x = np.array([[0.1, 0.2, 0.3, 0.4]], "float32")
    total = float((x + np.tanh(x)).sum())
    np.testing.assert_allclose(model.predict(x), [[total, total]], rtol=1e-5)
    np.testing.assert_allclose(model["two"](x), [[total + 1] * 2], rtol=1e-5)
    np.testing.assert_allclose(model["const"](x), [[total + 3] * 2], rtol=1e-5)
    assert model["two"].w is model["one"].w and model["const"].w.constant
    assert model["value"].get_value().tolist() == value.tolist()
    assert [n for n in model.nodes if n.startswith("split")] == ["split1", "split2"]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda w: w.add("x", "Unheard", w.pointer("raw")), "class is unknown"),
        (lambda w: w.add("x", "Perceptron", w.pointer("absent"), 2), "cannot be understood"),
        (lambda w: w.add("x", "Perceptron", w.pointer("raw"), 2, unheard=3), "does not describe|unheard"),
        (lambda w: w.add("x", "Perceptron", w.pointer("raw"), 10**12), "weights are missing"),
        (lambda w: w.add("x", "ApplyFunc", w.pointer("raw"), w.node), "cannot be understood"),
        (lambda w: w.descriptors.update(x=3), "does not describe"),
        (lambda w: w.descriptors.update(x=[3, {}]), "does not describe"),
    ],
)  # fmt: skip
def test_what_cannot_be_translated(original, tmp_path, change, match):
    w = Writer(original)
    w.add("raw", "Input", [1, 4], "b,f")
    change(w)
    refused(w.write(tmp_path / "x.mdl"), match)


# ---- hostile pickles
class Call:
    """Pickled as a call of a function."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


def hostile_calls():
    yield Call(os.system, "touch executed")
    yield Call(eval, "open('executed', 'w')")
    yield Call(exec, "open('executed', 'w')")
    yield Call(__import__, "os")
    yield Call(getattr, "os", "system")
    yield Call(open, "executed", "w")
    yield Call(Call, os.system, "touch executed")
    yield Call(Path, "executed")
    yield Call(OrderedDict, [("a", Call(os.system, "touch executed"))])
    yield Call(np.load, "executed")
    yield Call(np.dtype, "O")
    yield Call(bytearray, 10**12)
    yield np.array([1, "a", None], dtype=object)
    yield np.zeros(2, [("a", "f4")])
    yield {1, 2}
    yield {(1, 2): 3}
    yield types.SimpleNamespace(a=1)
    yield 1j


def label(thing):
    function = getattr(thing, "function", None)
    return type(thing).__name__ if function is None else function.__qualname__


@pytest.mark.parametrize("thing", hostile_calls(), ids=label)
def test_calls_are_refused(tmp_path, monkeypatch, thing):
    monkeypatch.chdir(tmp_path)
    for content in (thing, (OrderedDict(a=thing), {})):
        path = tmp_path / "x.mdl"
        path.write_bytes(pickle.dumps(content, protocol=2))
        refused(path, "refused")
    assert not (tmp_path / "executed").exists()


def unicode(text):
    return b"X" + len(text).to_bytes(4, "little") + text


@pytest.mark.parametrize(
    "body",
    [
        b"cos\nsystem\n" + unicode(b"touch executed") + b"\x85R.",
        b"(" + unicode(b"touch executed") + b"ios\nsystem\n.",  # INST
        b"(cos\nsystem\n" + unicode(b"touch executed") + b"o.",
        b"celektronn2.x\nA\n)\x81}X\x01\x00\x00\x00acos\nsystem\nsb.",
        b"celektronn2.x\nos.system\n)\x81" + b"}(" + unicode(b"a") + b"N\x86b.",
        b"X\xff\xff\xff\xff" + b"a",  # a string of 4 GB
        b"T\xff\xff\xff\x7fa.",
        b"\x8b\xff\xff\xff\x7f\x00.",  # a number of 2 GB
        b"]r\xff\xff\xff\xff.",  # a huge place in the memory
        b"]q\x00" + b"(h\x00" * 50_000 + b".",
        b"(" * 200_000 + b".",
        b"]" * 200_000 + b"a" * 199_999 + b".",
        b"]q\x00h\x00a.",  # a list that holds itself
        b"}q\x00" + unicode(b"a") + b"h\x00s}\x86.",  # a table that holds itself
        b"h\x07.", b"R.", b"b.", b"e.", b"0.", b"a.", b"s.", b"u.", b"\x81.", b"(.", b"..", b"", b"N", b"NN.",
        b"cos\nsystem\n.", b"c__builtin__\neval\n.", b"cbuiltins\nobject\n)\x81.",
        b"\x82\x01.", b"P1\n.", b"Q.", b"\x95\x00\x00\x00\x00\x00\x00\x00\x00.", b"\x93.", b"I1\n.",
        b"cnumpy.core.multiarray\n_reconstruct\n(NNNtR.",
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR(K\x01K\x05\x85NNU\x00tb.",
        b"cnumpy\ndtype\n(U\x02O8K\x00K\x01tR.",
        b"cnumpy\ndtype\n(U\x02V9K\x00K\x01tR.",
        b"c_codecs\nencode\n(" + unicode(b"a") + unicode(b"rot13") + b"tR.",
    ],
)  # fmt: skip
def test_bytes_are_refused(tmp_path, monkeypatch, body):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.mdl"
    path.write_bytes(b"\x80\x02" + body)
    refused(path, limit=3)
    assert not (tmp_path / "executed").exists()


def test_repetition_is_counted(tmp_path):
    """A large string in the memo that is encoded many times."""
    text = unicode(b"a" * 1_000_000) + b"q\x00" + unicode(b"latin1") + b"q\x01" + b"c_codecs\nencode\nq\x02"
    path = tmp_path / "x.mdl"
    path.write_bytes(b"\x80\x02(" + text + b"h\x02h\x00h\x01\x86R" * 10_000 + b"t.")
    with pytest.raises(FileError, match="expands too much by repeated references"):
        read_pickle(path)


def test_lists_that_double(original, tmp_path):
    w = Writer(original)
    value = [1, 2]
    for _ in range(24):
        value = [value, value]
    w.add("raw", "Input", [1, 4], value)
    refused(w.write(tmp_path / "x.mdl"), "too large", limit=8)


def doubled(value, depth=40, kind=lambda a: (a, a)):
    """A few objects, each of which holds the previous one twice."""
    for _ in range(depth):
        value = kind(value)
    return value


@pytest.mark.parametrize("place", ["argument", "record", "parameter", "split", "class", "role"])
def test_values_that_hold_one_another_many_times(original, tmp_path, place):
    w = Writer(original)
    pair = doubled(1.5)
    w.add(
        "raw",
        "Input",
        [1, 4],
        pair if place == "argument" else "b,f",
        params={"w": pair} if place == "parameter" else (),
    )
    described, _ = w.descriptors["raw"]
    if place == "record":
        described.args.append(doubled(record(w.node), kind=lambda a: record(w.node, one=a, two=a)))
    elif place == "class":
        described.cls = pair
    elif place == "split":
        w.descriptors["halves"] = record(w.split_class, node_id=pair, func=None, args=[], kwargs={"n_out": 2})
    path = w.write(tmp_path / "x.mdl", input_node=pair if place == "role" else "raw")
    if place == "role":  # of no kind that says anything
        assert nm.modelload(path).input_node is None
    else:
        refused(path, limit=8)
        with pytest.raises(FileError):
            nm.params_from_model_file(path)


@pytest.mark.parametrize("what", ["array", "vector", "text", "state", "name"])
def test_one_thing_under_many_names(original, tmp_path, what):
    w = Writer(original)
    big = np.zeros(1_000_000, "uint8" if what == "array" else "float32")
    many = {"array": big, "vector": np.arange(50_000), "text": "a" * 500_000}
    if what == "array":
        w.add("raw", "Input", [1, 4], "b,f", params={f"w{k}": big for k in range(2_000)})
    elif what == "name":
        w.add("n" * 500_000, "Input", [1, 4], "b,f", params={f"w{k}": 1.0 for k in range(2_000)})
    elif what == "state":
        one = record(w.pointer_class, **{f"k{k}": "text" for k in range(20_000)})
        w.add("raw", "Input", [one] * 20_000, "b,f")
    else:
        w.add("raw", "Input", [many[what]] * 2_000, "b,f")
    refused(w.write(tmp_path / "x.mdl"), limit=8)


def test_parameters_are_numbers(original, tmp_path):
    w = Writer(original)
    w.add("raw", "Input", [1, 2], "b,f")
    w.add("one", "Perceptron", w.pointer("raw"), 2, params={"w": [[1, 2.5], (3, np.float32(4))], "b": np.zeros(2)})
    values = nm.params_from_model_file(w.write(tmp_path / "x.mdl"))
    assert values["one"]["w"].tolist() == [[1, 2.5], [3, 4]]
    w.add("two", "Perceptron", w.pointer("raw"), 2, params={"w": ["a" * 1_000, "b"]})
    refused(w.write(tmp_path / "x.mdl"), "not an array of numbers")


def test_compression_bombs(tmp_path):
    path = tmp_path / "x.mdl"
    path.write_bytes(gzip.compress(b"\x80\x02" + b"N0" * 20_000_000))
    refused(path, "expands too much when decompressed")
    path.write_bytes(gzip.compress(b"\x80\x02N.")[:-6])
    refused(path, "damaged")


@pytest.mark.parametrize("protocol", [0, 1, 3, 4, 5])
def test_other_protocols_are_told(tmp_path, protocol):
    path = tmp_path / "x.mdl"
    path.write_bytes(pickle.dumps(({}, {}), protocol=protocol))
    refused(path, "not a model file")


def test_options_are_checked_before_the_file(tmp_path):
    with pytest.raises(ArgumentError):
        nm.modelload(tmp_path / "absent", replace_bn="nonsense")
