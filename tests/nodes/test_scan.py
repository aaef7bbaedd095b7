"""Recurrences: values against NumPy loops, gradients, several memories, errors; unrolled and as a loop."""

from __future__ import annotations

import re

import numpy as np
import pytest

import neuromancer as nm
from neuromancer import engine as E
from neuromancer.errors import ArgumentError, GraphError, InputTypeError, ShapeError
from neuromancer.graph.rebuild import rebuild
from neuromancer.graph.window import BuildMode
from tests.nodes.layers import check_gradients, random, randomise, registered, source
from tests.nodes.test_recurrent import CELLS, N

STEPS, BATCH, N_IN = 5, 3, 4
forms = pytest.mark.parametrize("unroll", [True, False], ids=["unrolled", "loop"])
cells = pytest.mark.parametrize("cls", CELLS)


def first_of(sequence):
    """Return the node of the first slice along axis r."""
    return nm.split(sequence, "r", index=1, strip_singleton_dims=True)[0]


def recurrent(cls, unroll, steps=STEPS, tags="r,b,f", batch=BATCH, **kwargs):
    """Return the recurrence and the step of a cell over a sequence."""
    sizes = {"r": steps, "b": batch, "f": N_IN}
    sequence = source([sizes[t] for t in tags.split(",")], tags, name="x")
    first = first_of(sequence)
    memory = nm.InitialState_like(first, CELLS[cls][1] * N, print_repr=False)
    step = cls(first, memory, N, name="step", print_repr=False)
    randomise(step, seed=1)
    return nm.Scan(
        step, memory, in_iterate=sequence, in_iterate_0=first, unroll_scan=unroll, print_repr=False, **kwargs
    ), step


def loop_of(cls, step, x):
    """Compute the states after every step over x (r, b, f) with NumPy."""
    params = step.all_params
    w, b = (next(p for n, p in params.items() if n == f"step_{k}").get_value() for k in "wb")
    start = next(p for n, p in params.items() if n.startswith("initial_state")).get_value()
    state, states = np.broadcast_to(start, (x.shape[1], len(start))), []
    for v in x:
        state = CELLS[cls][0](v, state, w, b)
        states.append(state)
    return np.stack(states)


def gradients(node, *arrays):
    """Return the gradients of a weighted sum of the node for all trainable parameters and inputs."""
    weights = np.random.default_rng(9).normal(size=node(*arrays).shape)
    wrt = [*node.all_trainable_params.values(), *node.input_tensors]
    return nm.make_func(node.input_tensors, E.grad((node.output * weights).sum(), wrt))(*arrays)


@forms
@cells
def test_values_shapes_and_gradients(cls, unroll):
    nm.config.floatX = "float64"
    node, step = recurrent(cls, unroll)
    x = random(STEPS, BATCH, N_IN)
    want = loop_of(cls, step, x)
    np.testing.assert_allclose(node(x), want, rtol=1e-10)
    assert node.shape.shape == list(want.shape) and list(node.shape.tags) == ["r", "b", "f"]
    assert node.name == "scan_out_step"
    assert node.parent.computational_cost == (STEPS - 1) * step.computational_cost
    check_gradients(node)


def test_both_forms_agree():
    nm.config.floatX = "float64"
    x = random(STEPS, BATCH, N_IN)
    for kwargs in ({"truncate_gradient": 2}, {"n_steps": 3, "last_only": True}):
        (a, _), (b, _) = (recurrent(nm.GRU, unroll, **kwargs) for unroll in (True, False))
        np.testing.assert_allclose(a(x), b(x), rtol=1e-12)
        for u, v in zip(gradients(a, x), gradients(b, x), strict=True):
            np.testing.assert_allclose(u, v, rtol=1e-9, atol=1e-12)
        nm.model_manager.newmodel(None)


@forms
def test_last_only(unroll):
    node, step = recurrent(nm.GRU, unroll, last_only=True)
    x = random(STEPS, BATCH, N_IN).astype("float32")
    np.testing.assert_allclose(node(x), loop_of(nm.GRU, step, x)[-1], rtol=1e-4, atol=1e-6)
    assert list(node.shape.tags) == ["b", "f"] and node.shape.shape == [BATCH, N]


@forms
def test_axis_r_may_stand_anywhere_and_be_divided(unroll):
    node, step = recurrent(nm.GRU, unroll, tags="b,r,f")
    x = random(BATCH, STEPS, N_IN).astype("float32")
    want = loop_of(nm.GRU, step, np.swapaxes(x, 0, 1))
    np.testing.assert_allclose(node(x), want, rtol=1e-4, atol=1e-6)
    head, tail = nm.split(node, "r", index=2)
    assert (head.shape["r"], tail.shape["r"]) == (2, STEPS - 2)
    np.testing.assert_allclose(tail(x), want[2:], rtol=1e-4, atol=1e-6)
    parts = nm.split(node, "r", n_out=STEPS, strip_singleton_dims=True)
    np.testing.assert_allclose(parts[-1](x), want[-1], rtol=1e-4, atol=1e-6)


@forms
def test_batch_and_length_of_any_size(unroll):
    sequence = source((None, None, N_IN), "r,b,f", name="x")
    first = first_of(sequence)
    memory = nm.InitialState_like(first, N, print_repr=False)
    step = nm.GRU(first, memory, N, name="step", print_repr=False)
    if unroll:
        with pytest.raises(ArgumentError, match=r"number of steps is not known.*unroll_scan=False"):
            nm.Scan(step, memory, in_iterate=sequence, in_iterate_0=first)
    node = nm.Scan(
        step, memory, None, sequence, first, n_steps=4 if unroll else None, unroll_scan=unroll, print_repr=False
    )
    assert node.shape.shape == [4 if unroll else None, None, N]
    for length, batch in ((4, 2), (6, 1)):
        x = random(length, batch, N_IN).astype("float32")
        want = loop_of(nm.GRU, step, x)[: 4 if unroll else length]
        np.testing.assert_allclose(node(x), want, rtol=1e-4, atol=1e-6)


def test_a_loop_over_one_element():
    sequence = source((None, 2, N_IN), "r,b,f", name="x")
    first = first_of(sequence)
    memory = nm.InitialState_like(first, N, print_repr=False)
    step = nm.GRU(first, memory, N, name="step", print_repr=False)
    x = random(1, 2, N_IN).astype("float32")
    for last in (False, True):
        node = nm.Scan(step, memory, None, sequence, first, unroll_scan=False, last_only=last, print_repr=False)
        want = loop_of(nm.GRU, step, x)
        np.testing.assert_allclose(node(x), want[-1] if last else want, rtol=1e-4, atol=1e-6)
        assert all(np.isfinite(g).all() for g in gradients(node, x))


@forms
def test_several_memories_and_results_in_any_order(unroll):
    nm.config.floatX = "float64"
    a0, b0 = source((2, N), "b,f", name="a0"), source((2, N), "b,f", name="b0")
    u, v = (source((STEPS, 2, N), "r,b,f", name=k) for k in "uv")
    u0, v0 = first_of(u), first_of(v)
    a = nm.Add(nm.MultMerge(a0, b0, print_repr=False), u0, name="a", print_repr=False)
    b = nm.Add(nm.ApplyFunc(a0, nm.T.tanh, print_repr=False), v0, name="b", print_repr=False)
    c = nm.MultMerge(a, v0, name="c", print_repr=False)
    nodes = nm.Scan([c, b], [b0, a0], [b, a], [v, u], [v0, u0], unroll_scan=unroll, print_repr=False)
    assert [n.name for n in nodes] == ["scan_out_c", "scan_out_b"]
    assert nodes[0].input_nodes == nodes[1].input_nodes
    arrays = {n: random(*n.shape.shape, seed=i) for i, n in enumerate(nodes[0].input_nodes)}
    fed = {n.name: x for n, x in arrays.items()}
    state, want = (fed["a0"], fed["b0"]), []
    for t in range(STEPS):
        state = state[0] * state[1] + fed["u"][t], np.tanh(state[0]) + fed["v"][t]
        want.append((state[0] * fed["v"][t], state[1]))
    for k in range(2):
        np.testing.assert_allclose(nodes[k](*arrays.values()), np.stack([w[k] for w in want]), rtol=1e-10)
        check_gradients(nodes[k])
    model = nm.model_manager.current
    model.designate_nodes(None, prediction_ext=list(nodes))
    np.testing.assert_allclose(model.predict_ext(*arrays.values())[1], np.stack([w[1] for w in want]), rtol=1e-10)


@forms
def test_without_a_sequence_and_with_something_fixed(unroll):
    nm.config.floatX = "float64"
    start, shift = source((2, 3), "b,f", name="start"), source((2, 3), "b,f", name="shift")
    deep = nm.Perceptron(shift, 3, name="deep", print_repr=False)
    step = nm.Perceptron(nm.Add(start, deep, print_repr=False), 3, "tanh", name="step", print_repr=False)
    node = nm.Scan(step, start, n_steps=4, unroll_scan=unroll, print_repr=False)
    randomise(node)
    x, y = random(2, 3), random(2, 3, seed=1)
    w, b = step.params["w"].get_value(), step.params["b"].get_value()
    fixed, want = deep(y), []
    for _ in range(4):
        x = np.tanh((x + fixed) @ w + b)
        want.append(x)
    assert [n.name for n in node.input_nodes] == ["start", "shift"]
    np.testing.assert_allclose(node(random(2, 3), y), np.stack(want), rtol=1e-10)
    check_gradients(node, tolerance=1e-5)


@forms
@pytest.mark.parametrize("cut", [1, 2, 3, STEPS, STEPS + 3])
def test_truncated_gradient_of_the_last_step(unroll, cut):
    """h_t = w h_{t-1} + x_t: the gradient of the last h reaches back `cut` steps."""
    nm.config.floatX = "float64"
    sequence = source((STEPS, 1, 1), "r,b,f", name="x")
    first = first_of(sequence)
    memory = source((1, 1), "b,f", name="h")
    w = nm.ValueNode((1, 1), "b,f", value=0.5, apply_train=True, print_repr=False)
    step = nm.Add(nm.MultMerge(memory, w, print_repr=False), first, name="step", print_repr=False)
    node = nm.Scan(
        step, memory, None, sequence, first, unroll_scan=unroll, last_only=True, print_repr=False, truncate_gradient=cut
    )
    arrays = [random(*n.shape.shape) for n in node.input_nodes]
    by_name = dict(zip([n.name for n in node.input_nodes], gradients(node, *arrays)[1:], strict=True))
    weight = np.random.default_rng(9).normal(size=(1, 1)).item()
    want = [weight * 0.5 ** (STEPS - 1 - t) if t >= STEPS - cut else 0 for t in range(STEPS)]
    np.testing.assert_allclose(by_name["x"].ravel(), want, rtol=1e-12)
    np.testing.assert_allclose(by_name["h"].ravel(), weight * 0.5**STEPS if cut >= STEPS else 0, rtol=1e-12)


@forms
def test_noise_is_fresh_for_every_call_and_the_same_in_all_steps(unroll):
    memory = source((2, 50), "b,f", name="h")
    noise = nm.Perceptron(memory, 50, "lin", dropout_rate=0.5, name="noise", print_repr=False)
    noise.set_param_values({"w": np.eye(50, dtype="float32"), "b": np.zeros(50, "float32")})
    node = nm.Scan(noise, memory, n_steps=4, unroll_scan=unroll, print_repr=False)
    a, b = node(np.ones((2, 50), "float32")), node(np.ones((2, 50), "float32"))
    assert np.array_equal(a[0] > 0, a[-1] > 0) and not np.array_equal(a, b)
    np.testing.assert_allclose(node.infer(np.ones((2, 50), "float32")), 1, rtol=1e-5)


@forms
def test_rebuilt_with_open_sizes(unroll):
    node, step = recurrent(nm.LSTM, unroll)
    twin = rebuild([node], BuildMode(inference=True), free_sizes=True)[node]
    x = random(STEPS, 7, N_IN).astype("float32")
    got = nm.make_func(twin.input_tensors, twin.output)(x)
    np.testing.assert_allclose(got, loop_of(nm.LSTM, step, x), rtol=1e-4, atol=1e-6)


@forms
def test_spatial_axes(unroll):
    nm.config.floatX = "float64"
    sequence = source((3, 1, 2, 4, 5), "r,b,f,y,x", name="x")
    first = first_of(sequence)
    memory = nm.InitialState_like(first, N, print_repr=False)
    node = nm.Scan(
        nm.GRU(first, memory, N, print_repr=False), memory, None, sequence, first, unroll_scan=unroll, print_repr=False
    )
    assert node.shape.shape == [3, 1, N, 4, 5] and node.shape.fov == [1, 1]
    check_gradients(node, tolerance=1e-5)
    state = source((1, 2, 4, 5), "b,f,y,x", name="state")
    wide = nm.Conv(state, 2, (3, 3), conv_mode="same", print_repr=False)
    assert nm.Scan(wide, state, n_steps=3, unroll_scan=unroll, print_repr=False).shape.fov == [-1, -1]


@forms
def test_learns_to_remember_the_first_of_a_sequence(unroll):
    node, _ = recurrent(nm.GRU, unroll, last_only=True, batch=16)
    scores = nm.Perceptron(node, 2, "lin", name="scores", print_repr=False)
    probs = nm.Softmax(scores, print_repr=False)
    target = nm.Input_like(probs, "int16", override_f=1, name="target", print_repr=False)
    nll = nm.MultinoulliNLL(probs, target, target_is_sparse=True, print_repr=False)
    loss = nm.AggregateLoss([nll], name="loss", print_repr=False)
    model = nm.model_manager.current
    model.designate_nodes("x", target, loss, probs)
    model.set_opt_meta_params("Adam", {"lr": 0.05})
    rng, losses = np.random.default_rng(0), []
    for _ in range(150):
        x = rng.normal(size=(STEPS, 16, N_IN)).astype("float32")
        losses.append(model.trainingstep(x, (x[0, :, :1] > 0).astype("int16"), optimiser="Adam")[0])
    assert np.mean(losses[-20:]) < 0.4 * np.mean(losses[:5])


def test_many_unrolled_steps():
    node, step = recurrent(nm.GRU, True, steps=60)
    x = random(60, BATCH, N_IN).astype("float32")
    np.testing.assert_allclose(node(x), loop_of(nm.GRU, step, x), rtol=1e-3, atol=1e-5)


def parts():
    """Return valid arguments of Scan."""
    sequence = source((4, 2, 3), "r,b,f", name="x")
    first = first_of(sequence)
    memory = nm.InitialState_like(first, N, print_repr=False)
    step = nm.GRU(first, memory, N, name="step", print_repr=False)
    return {"step_result": step, "in_memory": memory, "in_iterate": sequence, "in_iterate_0": first}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"step_result": 3}, InputTypeError, r"ScanN 'scan': a step_result must be a node"),
        ({"step_result": []}, ArgumentError, r"needs at least one step_result"),
        ({"in_iterate_0": None}, ArgumentError, r"first slice.*nearest valid: the first part of split"),
        ({"n_steps": 9}, ArgumentError, r"n_steps exceeds.*got n_steps=9; expected at most 4; nearest valid: 4"),
        ({"n_steps": 0}, ArgumentError, r"n_steps must be a positive integer"),
        ({"truncate_gradient": -1}, ArgumentError, r"truncate_gradient must be a positive integer"),
        ({"in_iterate": None, "in_iterate_0": None}, ArgumentError, r"number of steps is not known"),
        ({"in_iterate": "in_iterate_0"}, ShapeError, r"needs an axis r"),
        ({"out_memory": "in_iterate_0"}, ShapeError, r"cannot be fed back into the memory 'initial_state'"),
        ({"in_memory": ["in_memory", "other"]}, ArgumentError, r"every in_memory needs.*or out_memory="),
        ({"in_memory": "other"}, GraphError, r"no result of the step depends on.*got \['other'\]"),
        ({"in_memory": ["in_memory", "in_memory"], "out_memory": ["step_result"] * 2}, ArgumentError, r"given twice"),
    ],
)
def test_errors_leave_nothing_behind(change, error, message):
    known = parts()
    known["other"] = source((2, N), "b,f", name="other")
    arguments = {k: v for k, v in known.items() if k != "other"}
    for key, value in change.items():
        if isinstance(value, list):
            value = [known[v] for v in value]
        arguments[key] = known.get(value, value) if isinstance(value, str) else value
    before = registered()
    with pytest.raises(error, match=re.compile(message, re.DOTALL)):
        nm.Scan(print_repr=False, **arguments)
    assert registered() == before
