"""Functions that model files may refer to: a fixed list, registered ones, and those passed by the caller."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer import T
from neuromancer.errors import ArgumentError, FileError, InputTypeError
from neuromancer.nodes import functors
from neuromancer.nodes.functors import find_functor, functor_name, register_functor, tensor_functions

UNSAFE = ("shape_padleft", "atleast_Nd", "tile", "repeat", "alloc", "arange", "eye", "pad", "diff", "tensor", "einsum")
"""Functions whose arguments determine how much is built, or that create tensors."""


@pytest.fixture
def registry(monkeypatch):
    monkeypatch.setattr(functors, "_registered", {})


def half(x):
    return x / 2


def _private(x):
    return x


def test_the_list_is_closed():
    known = tensor_functions()
    assert known["tanh"] is T.tanh and known["exp"] is T.exp and {"sum", "flatten", "softmax", "relu"} <= set(known)
    assert not set(UNSAFE) & set(known)
    assert not any(name.startswith("_") or isinstance(f, type) for name, f in known.items())


@pytest.mark.parametrize("name", sorted(functors.ELEMENTWISE))
def test_names_lead_back_to_the_function(name):
    functor = tensor_functions().get(name)
    if functor is not None:
        found = functor_name(functor, "node")
        assert find_functor(found, {}) is functor


def test_elementwise_functions_compute():
    x = np.array([[0.3, 0.6]], "float32")
    inp = nm.Input((1, 2), "b,f", print_repr=False)
    for name in ("tanh", "exp", "sqr", "abs", "reciprocal", "sigmoid", "softplus", "expm1"):
        want = {
            "sqr": x * x, "reciprocal": 1 / x, "sigmoid": 1 / (1 + np.exp(-x)), "softplus": np.log1p(np.exp(x))
        }  # fmt: skip
        want = want[name] if name in want else getattr(np, name)(x)
        np.testing.assert_allclose(nm.ApplyFunc(inp, tensor_functions()[name])(x), want, rtol=1e-5)


@pytest.mark.parametrize(
    "name",
    [
        "os:system",
        "neuromancer.errors:node_label",
        "torch.serialization:save",
        "numpy:save",
        f"{__name__}:half",
        f"{__name__}:_private",
        "_private",
        "T:_private",
        "T:__loader__",
        *(f"T:{name}" for name in UNSAFE),
        "T:",
        ":tanh",
        "tanh",
        "",
        7,
        None,
        ["T:tanh"],
        "T:tanh\0",
        "x" * 10_000,
    ],
)
def test_nothing_else_is_found(registry, name):
    with pytest.raises(FileError):
        find_functor(name, {})


def test_functions_are_handed_over_by_whole_or_short_name(registry):
    assert find_functor("lab.functions:half", {"half": half}) is half
    assert find_functor("lab.functions:half", {"lab.functions:half": half, "half": _private}) is half
    assert find_functor("half", {"half": half}) is half
    with pytest.raises(FileError, match=r"lab:halve.*functors=\{'halve': function\}.*nearest valid: half"):
        find_functor("lab:halve", {"half": half})


def test_private_functions_are_never_found(registry):
    for name in ("_private", f"{__name__}:_private", f"{__name__}:_Hidden.public"):
        with pytest.raises(FileError, match="private"):
            find_functor(name, {name: _private, "_private": _private})
    with pytest.raises(ArgumentError, match="under this name"):
        register_functor(_private)
    with pytest.raises(ArgumentError, match="cannot be stored"):
        functor_name(_private, "node")


def test_registered_functions(registry):
    assert register_functor(half) is half
    assert functor_name(half, "node") == f"{__name__}:half" and find_functor(f"{__name__}:half", {}) is half

    @register_functor(name="third")
    def local(x):
        return x / 3

    assert functor_name(local, "node") == "third" and find_functor("third", {}) is local


@pytest.mark.parametrize("name", ["", "T:tanh", "T", "_x", "a:_x", 5])
def test_names_that_cannot_be_registered(registry, name):
    with pytest.raises(ArgumentError, match="under this name"):
        register_functor(half, name=name)
    with pytest.raises(ArgumentError, match="under this name"):
        register_functor(lambda x: x)


@pytest.mark.parametrize("functor", [3, "half", nm.Input])
def test_what_is_no_function_is_not_registered(registry, functor):
    with pytest.raises(InputTypeError, match="only a function"):
        register_functor(functor)


def test_models_with_functions_of_ones_own(registry, fresh_model, tmp_path):
    inp = nm.Input((1, 2), "b,f", name="raw", print_repr=False)
    nm.ApplyFunc(inp, half, name="halved")
    fresh_model.save(tmp_path / "model.h5")
    with pytest.raises(FileError, match=r"not known here.*functors=\{'half': function\}"):
        nm.modelload(tmp_path / "model.h5")
    for given in ({"half": half}, {f"{__name__}:half": half}):
        assert nm.modelload(tmp_path / "model.h5", functors=given)["halved"]([[2, 4]]).tolist() == [[1, 2]]
    with pytest.raises(FileError, match="not known here"):
        nm.modelload(tmp_path / "model.h5")  # functions passed once are not remembered
    register_functor(half)
    assert nm.modelload(tmp_path / "model.h5")["halved"]([[2, 4]]).tolist() == [[1, 2]]


@pytest.mark.parametrize("given", [[half], {"half": 3}, {3: half}, "half"])
def test_functions_must_come_by_name(tmp_path, given):
    with pytest.raises(InputTypeError, match="functors"):
        nm.modelload(tmp_path / "absent.h5", functors=given)


@pytest.mark.skipif(nm.engine.NAME != "pytensor", reason="functions are those of PyTensor")
def test_functions_of_the_engine_that_no_file_can_name_are_said_when_saving(fresh_model, tmp_path, registry):
    nm.ApplyFunc(nm.Input((2, 2), "b,f", name="x", print_repr=False), T.triu, name="upper")
    with pytest.warns(UserWarning, match=r"no file can name.*triu.*functors=\{") as caught:
        fresh_model.save(tmp_path / "m.h5")
    assert caught[0].filename == __file__
    with pytest.raises(FileError, match="triu"):
        nm.modelload(tmp_path / "m.h5")
    assert "upper" in nm.modelload(tmp_path / "m.h5", functors={"triu": T.triu})
