"""Models, nodes and functions in several threads and in forked child processes."""

from __future__ import annotations

import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import neuromancer as nm
from neuromancer import engine as E
from neuromancer.errors import ArgumentError
from neuromancer.graph.registry import ModelRegistry


def concurrently(work, n):
    """Return the results of ``work(k)`` in `n` threads that start simultaneously."""
    barrier = threading.Barrier(n)

    def run(k):
        barrier.wait(30)
        return work(k)

    with ThreadPoolExecutor(n) as pool:
        return [future.result(60) for future in [pool.submit(run, k) for k in range(n)]]


def chain(n, width=3):
    out = nm.Input((2, 3), "b,f", name="x", print_repr=False)
    for i in range(n):
        out = nm.Perceptron(out, width, name=f"p{i}", print_repr=False)
    return out


def learner():
    """Build a trainable model in the current model of the thread."""
    x = nm.Input((None, 3), "b,f", name="x", print_repr=False)
    y = nm.Perceptron(x, 2, activation_func="lin", name="y", print_repr=False)
    t = nm.Input_like(y, name="t", print_repr=False)
    loss = nm.AggregateLoss([nm.SquaredLoss(y, t, print_repr=False)], name="loss", print_repr=False)
    model = nm.model_manager.current
    model.designate_nodes("x", t, loss, y)
    return model


def test_every_thread_adds_to_its_own_model():
    def build(k):
        model = nm.model_manager.newmodel(None)
        nm.split(chain(5), n_out=3)
        return model, nm.model_manager.current

    mine = nm.model_manager.current
    for model, current in concurrently(build, 4):
        assert current is model
        assert len(model.nodes) == 9
    assert nm.model_manager.current is mine
    assert not mine.nodes


def test_a_thread_without_a_model_gets_a_default_one():
    def build(k):
        assert nm.model_manager.current is None
        assert nm.model_manager.last is None
        chain(2)
        return nm.model_manager.current

    models = concurrently(build, 3)
    assert len({model.name for model in models}) == 3
    for model in models:
        assert model.name.startswith("default of ThreadPoolExecutor")
        assert list(model.nodes) == ["x", "p0", "p1"]
        nm.model_manager.delmodel(model.name)


def test_threads_can_add_to_the_same_model():
    shared = nm.model_manager.current
    x = nm.Input((1, 2), "b,f", name="x", print_repr=False)

    def build(k):
        nm.model_manager.getmodel(shared.name)
        for _ in range(10):
            nm.ApplyFunc(x, nm.T.tanh, name="t")
            with pytest.raises(ZeroDivisionError), nm.model_manager.all_or_nothing():
                nm.ApplyFunc(x, nm.T.tanh, name="gone")
                _ = 1 / 0

    concurrently(build, 3)
    assert sorted(shared.nodes) == sorted(["x", "t", *(f"t{k}" for k in range(1, 30))])
    assert set(x.children) == set(shared.nodes) - {"x"}


def test_only_one_thread_can_take_a_name():
    container = ModelRegistry()

    def make(k):
        try:
            return container.newmodel("wanted")
        except ArgumentError as error:
            return str(error)

    results = concurrently(make, 4)
    assert [r for r in results if not isinstance(r, str)] == [container["wanted"]]
    assert all("a model of this name already exists" in r for r in results if isinstance(r, str))


def test_a_deleted_model_is_not_current_in_any_thread():
    container = ModelRegistry()
    model, deleted = container.newmodel("gone"), threading.Event()
    chosen = threading.Event()
    seen = []

    def choose():
        container.newmodel("before")
        container.getmodel("gone")
        chosen.set()
        deleted.wait(30)
        seen.append(container.current.name)

    thread = threading.Thread(target=choose)
    thread.start()
    chosen.wait(30)
    assert container.current is model
    container.delmodel("gone")
    deleted.set()
    thread.join()
    assert container.current is None
    assert seen == ["before"]


def test_the_first_call_from_many_threads_compiles_once(monkeypatch):
    compiled = []
    make = E.function
    monkeypatch.setattr(E, "function", lambda *args, **kwargs: compiled.append(kwargs["name"]) or make(*args, **kwargs))
    model = learner()
    y = model.prediction_node
    data = [np.random.default_rng(k).normal(size=(1 + k, 3)).astype("float32") for k in range(5)]
    expected = [x @ y.params["w"].get_value() + y.params["b"].get_value() for x in data]
    for results in (concurrently(lambda k: model.predict(data[k]), 5), concurrently(lambda k: y(data[k]), 5)):
        for a, b in zip(results, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert sorted(compiled) == ["y", "y_inference"]


def test_dense_prediction_from_many_threads():
    image = nm.Input((1, 1, 8, 8), "b,f,y,x", name="image", print_repr=False)
    node = nm.Conv(image, 2, (3, 3), print_repr=False)
    raw = np.random.default_rng(0).normal(size=(1, 12, 13)).astype("float32")
    first, *others = concurrently(lambda k: node.predict_dense(raw), 4)
    assert first.shape == (2, 10, 11)
    for other in others:
        np.testing.assert_array_equal(first, other)


def test_threads_that_train_one_model_take_turns():
    model = learner()
    data = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    target = data[:, :2]
    model.lr = 0.01
    start = model.get_param_values()
    concurrently(lambda k: [model.trainingstep(data, target, optimiser="Adam") for _ in range(5)], 3)
    assert list(model.optimisers) == ["Adam"]
    assert model.optimiser("Adam").get_state()["steps"] == 15
    # The same number of steps in one thread gives the same parameters.
    nm.model_manager.newmodel(None)
    alone = learner()
    alone.lr = 0.01
    alone.set_param_values(start)
    for _ in range(15):
        alone.trainingstep(data, target, optimiser="Adam")
    for a, b in zip(model.get_param_values(as_list=True), alone.get_param_values(as_list=True), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_engine_settings_are_restored():
    x = nm.Input((1, 2), "b,f", name="x", print_repr=False)

    def make(k):
        nm.model_manager.newmodel(None)
        for _ in range(20):
            nm.ApplyFunc(x, lambda v: v * 0.1)
        return chain(1)(np.ones((2, 3), "float32")).dtype

    assert set(concurrently(make, 4)) == {np.dtype("float32")}
    if E.NAME == "pytensor":
        import pytensor

        assert pytensor.config.mode != "FAST_COMPILE"


def test_a_forked_child_predicts_and_builds():
    model = learner()
    data = np.ones((2, 3), "float32")
    expected = model.predict(data)
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()

    def child():
        same = np.array_equal(model.predict(data), expected)
        nm.model_manager.newmodel("of the child")
        queue.put((same, float(learner().trainingstep(data, data[:, :2])[0])))

    process = context.Process(target=child)
    process.start()
    process.join(60)
    assert process.exitcode == 0
    same, loss = queue.get()
    assert same
    assert np.isfinite(loss)
    assert "of the child" not in nm.model_manager.models
