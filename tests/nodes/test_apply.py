"""ApplyFunc and FromTensor."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer import T
from neuromancer import engine as E
from neuromancer.errors import ArgumentError, InputTypeError, ShapeError
from neuromancer.nodes import functors

X = np.random.default_rng(0).random((2, 3)).astype("float32")


def source():
    return nm.Input((2, 3), "b,f", print_repr=False)


def test_functor_with_arguments():
    def clipped(x, low, high):
        return T.clip(x, low, high)

    node = nm.ApplyFunc(source(), clipped, args=(0.2,), kwargs={"high": 0.5})
    np.testing.assert_allclose(node(X), np.clip(X, 0.2, 0.5))
    assert node.shape.shape == [2, 3]
    assert node.computational_cost == 6


def test_lambdas_compute_but_cannot_be_stored():
    node = nm.ApplyFunc(source(), lambda x: x + 1)
    np.testing.assert_allclose(node(X), X + 1)
    with pytest.raises(ArgumentError, match="ApplyFunc 'apply': the functor cannot be stored by name"):
        _ = node.functor_path


def test_importable_functors_have_a_path():
    assert nm.ApplyFunc(source(), T.tanh).functor_path.endswith(":tanh")


@pytest.mark.parametrize("functor", [None, "tanh", lambda x: 3.0])
def test_bad_functors(functor):
    with pytest.raises(InputTypeError, match="ApplyFunc 'apply': the functor must"):
        nm.ApplyFunc(source(), functor)


def test_from_tensor_and_its_rebuilt_form():
    inp = source()
    node = nm.FromTensor(inp.output * 2 + 1, inp.shape, inp)
    np.testing.assert_allclose(node(X), X * 2 + 1)
    np.testing.assert_allclose(nm.ApplyFunc(node, T.sqr).infer(X), (X * 2 + 1) ** 2, rtol=1e-6)


def test_from_tensor_checks_its_arguments():
    inp = source()
    with pytest.raises(InputTypeError, match="tensor must be a symbolic variable"):
        nm.FromTensor(X, inp.shape, inp)
    with pytest.raises(InputTypeError, match="tensor_shape must be a TaggedShape"):
        nm.FromTensor(inp.output, (2, 3), inp)
    with pytest.raises(ShapeError, match="differ in rank"):
        nm.FromTensor(inp.output.sum(), inp.shape, inp)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: "a file name", "tensor function must return a symbolic variable; got str"),
        (lambda x: None, "must return a symbolic variable"),
        (lambda x: X, "must return a symbolic variable; got ndarray"),
    ],
)
def test_from_tensor_refuses_what_is_not_symbolic(function, message):
    inp = source()
    with pytest.raises(InputTypeError, match=f"FromTensor 'from_tensor': .*{message}"):
        _ = nm.FromTensor(function, inp.shape, inp).output
    with pytest.raises(ShapeError, match="differ in rank; got 0 axes"):
        _ = nm.FromTensor(lambda x: x.sum(), inp.shape, inp).output


def old_layer(x, slope=0.1):
    """A layer as it was written for Theano."""
    blurred = T.nnet.conv2d(x, np.full((1, 1, 3, 3), 1 / 9, "float32"), filter_shape=(1, 1, 3, 3), border_mode="half")
    rows = T.nnet.softmax(T.flatten(blurred, outdim=2)).reshape(x.shape)
    return T.nnet.relu(x, slope) * T.nnet.sigmoid(blurred) + T.abs_(rows) + T.inv(T.nnet.softplus(x)) + T.nnet.elu(x)


def test_functions_of_theano_are_stored_and_differentiated(tmp_path, monkeypatch):
    monkeypatch.setattr(functors, "_registered", {})
    nm.register_functor(old_layer, name="old layer")
    image = np.random.default_rng(0).standard_normal((1, 1, 4, 5)).astype("float32")
    model = nm.model_manager.newmodel("old")
    node = nm.ApplyFunc(nm.Input((1, 1, 4, 5), "b,f,y,x", name="x"), old_layer, kwargs={"slope": 0.2}, name="layer")
    model.save(tmp_path / "old.h5")
    same = nm.modelload(tmp_path / "old.h5")
    np.testing.assert_array_equal(same["layer"](image), node(image))

    source = same["x"].output
    (gradient,) = E.grad(same["layer"].output.sum(), [source])
    found = E.function([source], gradient)(image)
    step = np.zeros_like(image)
    step[0, 0, 1, 2] = 1e-2
    slope = (node(image + step).sum(dtype="f8") - node(image - step).sum(dtype="f8")) / 2e-2
    np.testing.assert_allclose(found[0, 0, 1, 2], slope, rtol=1e-3)


@pytest.mark.parametrize("name", ["elu", "hard_sigmoid", "relu", "selu", "sigmoid", "softmax", "softplus", "softsign"])
def test_activations_of_theano_are_stored_by_name(name, tmp_path):
    model = nm.model_manager.newmodel(f"activation {name}")
    node = nm.ApplyFunc(nm.Input((2, 3), "b,f", name="x"), getattr(T.nnet, name), name="activation")
    assert node.functor_path.startswith("T:")
    model.save(tmp_path / "activation.h5")
    np.testing.assert_array_equal(nm.modelload(tmp_path / "activation.h5")["activation"](X - 0.5), node(X - 0.5))
