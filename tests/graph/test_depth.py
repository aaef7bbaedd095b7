"""Deep networks can be built, differentiated, trained, saved, loaded, plotted and predicted."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm


@pytest.mark.slow
def test_a_deep_network_trains_and_predicts(tmp_path):
    x = nm.Input((2, 2), "b,f", name="x", print_repr=False)
    y = nm.Perceptron(x, 2, activation_func="lin", name="first", print_repr=False)
    for _ in range(250):
        y = nm.ApplyFunc(y, nm.T.tanh, name="t")
    t = nm.Input_like(y, name="t_", print_repr=False)
    loss = nm.AggregateLoss([nm.SquaredLoss(y, t, print_repr=False)], name="loss", print_repr=False)
    model = nm.model_manager.current
    model.designate_nodes("x", t, loss, y)
    data = np.float32([[1, 2], [3, -4]])
    lin = data @ model["first"].params["w"].get_value() + model["first"].params["b"].get_value()
    for _ in range(250):
        lin = np.tanh(lin)
    np.testing.assert_allclose(model.predict(data), lin, rtol=1e-4, atol=1e-6)
    before = model["first"].params["w"].get_value()
    model.lr = 0.1
    assert np.isfinite(model.trainingstep(data, data)[0])
    assert not np.array_equal(model["first"].params["w"].get_value(), before)
    assert len(model.plot().html) > 1000
    model.save(tmp_path / "deep.h5")
    again = nm.modelload(tmp_path / "deep.h5")
    np.testing.assert_array_equal(again.predict(data), model.predict(data))


@pytest.mark.slow
def test_a_thousand_nodes():
    if nm.engine.NAME == "theano":
        pytest.skip("Theano's compiler recurses once per operation")
    x = nm.Input((1, 1), "b,f", name="x", print_repr=False)
    y = x
    for _ in range(1000):
        y = nm.ApplyFunc(y, nm.T.tanh, name="t")
    assert len(y.all_parents) == 1001
    assert len(x.all_children) == 1000
    assert y.input_nodes == [x]
    assert y.name == "t999"
    assert 0 < y(np.ones((1, 1), "float32")).item() < 0.06


def test_dense_prediction_of_a_deep_network():
    image = nm.Input((1, 1, 6, 6), "b,f,y,x", name="image", print_repr=False)
    y = nm.Conv(image, 1, (3, 3), activation_func="lin", name="first", print_repr=False)
    for _ in range(150):
        y = nm.ApplyFunc(y, nm.T.tanh, name="t")
    raw = np.random.default_rng(0).normal(size=(1, 6, 6)).astype("float32")
    np.testing.assert_allclose(y.predict_dense(raw), y(raw[None])[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("width", [1, 2])
def test_a_chain_of_layers_differentiates(width):
    x = nm.Input((2, width), "b,f", name="x", print_repr=False)
    y = x
    for _ in range(40):
        y = nm.Perceptron(y, width, activation_func="tanh", w=0.9 * np.eye(width), b=np.zeros(width), print_repr=False)
    t = nm.Input_like(y, name="t", print_repr=False)
    loss = nm.AggregateLoss([nm.SquaredLoss(y, t, print_repr=False)], name="loss", print_repr=False)
    model = nm.model_manager.current
    model.designate_nodes("x", t, loss, y)
    data = np.full((2, width), 0.5, "float32")
    gradients = model.gradients(data, data)
    assert len(gradients) == 80
    assert all(np.isfinite(g).all() and np.abs(g).max() > 0 for g in gradients)
