"""Optimisers: comparison with NumPy and torch, meta-parameters, state, repair, weight decay."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer import engine as E
from neuromancer.errors import ArgumentError, ShapeError, UnknownNameError
from neuromancer.optim.meta import MetaParams
from neuromancer.optim.optimisers import OPTIMISERS
from neuromancer.optimiser import SGD, AdaDelta, AdaGrad, Adam
from neuromancer.variables import VariableParam
from tests.train.nets import line, points

EPS = 1e-5
RNG = np.random.default_rng(0)
CURVATURE = np.array([1.0, 3.0, 0.2])
START = np.array([1.0, -2.0, 0.5])


@pytest.fixture
def compilations(monkeypatch):
    """List of the names of all functions compiled during the test."""
    seen = []
    compile_function = E.function

    def counted(*args, **kwargs):
        seen.append(kwargs.get("name"))
        return compile_function(*args, **kwargs)

    monkeypatch.setattr(E, "function", counted)
    return seen


def problem(cls, regularised=(True, False), **kwargs):
    """Build a quadratic loss with a linear term fed as input; return (optimiser, parameters)."""
    params = [VariableParam(START, name=f"p{i}", apply_reg=reg) for i, reg in enumerate(regularised)]
    slope = E.tensor("slope", (3,), "float64")
    loss = sum((0.5 * CURVATURE * p**2 + slope * p).sum() for p in params)
    return cls([slope], loss, E.grad(loss, params), params, **kwargs), params


class Reference:
    """The documented formulas for one parameter, in NumPy."""

    def __init__(self, kind, a):
        self.kind, self.a = kind, a
        self.p, self.t = START.copy(), 0
        self.d, self.s = np.zeros(3), np.zeros(3)

    def step(self, slope, lr, mom, wd, beta2):
        g = CURVATURE * self.p + slope
        decay = wd * self.a * self.p
        self.t += 1
        if self.kind == "SGD":
            self.d = g + mom * self.d
            self.p = self.p - lr * (self.d + decay)
        elif self.kind == "AdaGrad":
            self.s = self.s + g**2 * (2 if self.t == 1 else 1)
            self.p = self.p - lr / np.sqrt(self.s) * (g + decay)
        elif self.kind == "AdaDelta":
            step = g * np.sqrt(self.d + EPS) / np.sqrt(self.s + EPS)
            self.s = mom * self.s + (1 - mom) * g**2
            self.d = mom * self.d + (1 - mom) * step**2
            self.p = self.p - lr * (step + decay)
        else:
            self.d = mom * self.d + (1 - mom) * g
            self.s = beta2 * self.s + (1 - beta2) * g**2
            low, high = 1 - mom**self.t, 1 - beta2**self.t
            if self.kind == "Adam":
                step = np.sqrt(high) / low * self.d / np.sqrt(self.s + EPS)
            else:
                step = self.d / low / (np.sqrt(self.s / high) + 1e-8)
            self.p = self.p - lr * (step + decay)


@pytest.mark.parametrize("kind", list(OPTIMISERS))
def test_formula_with_meta_parameters_changed_between_steps(kind, compilations):
    meta = MetaParams()
    optimiser, params = problem(OPTIMISERS[kind], regularised=(True, False, 3.0), meta=meta)
    references = [Reference(kind, float(p.apply_reg)) for p in params]
    for values in (dict(lr=0.1, mom=0.5, wd=0.01, beta2=0.9), dict(lr=0.03, mom=0.8, wd=0.1, beta2=0.99)):
        meta.set(values)
        live = {key: meta[key] for key in values}  # as rounded to floatX
        for _ in range(3):
            slope = RNG.normal(size=3)
            expected = sum((0.5 * CURVATURE * p.get_value() ** 2 + slope * p.get_value()).sum() for p in params)
            assert float(optimiser(slope)[0]) == pytest.approx(expected)  # before the update
            for p, reference in zip(params, references, strict=True):
                reference.step(slope, **live)
                # The factors of Adam's bias correction are computed in floatX.
                np.testing.assert_allclose(p.get_value(), reference.p, rtol=2e-4 if kind.startswith("Adam") else 1e-6)
    assert len(compilations) == 1


def test_adagrad_leaves_parameters_without_gradient_alone():
    p = VariableParam(START, name="p")
    factor = np.array([0.0, 1.0, 0.0])
    loss = (factor * p).sum()
    step = AdaGrad([], loss, E.grad(loss, [p]), [p], MetaParams(lr=0.1, wd=0.25))
    for _ in range(2):
        step()
    assert np.isfinite(p.get_value()).all()
    np.testing.assert_array_equal(p.get_value()[[0, 2]], START[[0, 2]])
    assert p.get_value()[1] != START[1]


@pytest.mark.parametrize("kind", list(OPTIMISERS))
def test_a_zero_gradient_never_gives_nan(kind):
    p = VariableParam(START, name="p", apply_reg=False)
    loss = (p * 0).sum()
    step = OPTIMISERS[kind]([], loss, E.grad(loss, [p]), [p])
    for _ in range(3):
        step()
    np.testing.assert_array_equal(p.get_value(), START)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", list(OPTIMISERS))
def test_parameters_keep_their_precision(kind, dtype):
    p = VariableParam(START.astype(dtype), name="p")
    loss = (p**2).sum()
    step = OPTIMISERS[kind]([], loss, E.grad(loss, [p]), [p], MetaParams(lr=0.01))
    for _ in range(20):
        step()
    assert p.get_value().dtype == dtype
    assert (p.get_value() ** 2).sum() < (START**2).sum()


def test_nothing_is_allocated_or_compiled_before_the_first_step(compilations):
    optimiser, _ = problem(Adam)
    assert (optimiser.state, compilations) == ({}, [])
    optimiser(np.zeros(3))
    assert sorted(optimiser.state) == ["0_mean", "0_squares", "1_mean", "1_squares", "steps"]


def test_extra_updates_and_debug_outputs():
    mean = VariableParam(0.0, name="mean", apply_train=False, apply_reg=False, dtype="float64")
    p = VariableParam(START, name="p")
    loss = (p**2).sum()
    optimiser = SGD([], loss, E.grad(loss, [p]), [p], extra_updates=[(mean, 0.5 * mean + 1)], debug_outputs=[p * 2])
    value, debug = optimiser()
    assert float(value) == pytest.approx((START**2).sum())
    np.testing.assert_allclose(debug, START * 2)
    assert float(mean.get_value()) == 1.0


@pytest.mark.parametrize("kind", list(OPTIMISERS))
def test_state_can_be_saved_and_restored(kind):
    slopes = RNG.normal(size=(4, 3))
    uninterrupted, params = problem(OPTIMISERS[kind], meta=MetaParams(lr=0.1))
    for slope in slopes:
        uninterrupted(slope)
    first, half_way = problem(OPTIMISERS[kind], meta=MetaParams(lr=0.1))
    for slope in slopes[:2]:
        first(slope)
    second, resumed = problem(OPTIMISERS[kind], meta=MetaParams(lr=0.1))
    for new, old in zip(resumed, half_way, strict=True):
        new.set_value(old.get_value())
    second.set_state(first.get_state())
    for slope in slopes[2:]:
        second(slope)
    for a, b in zip(params, resumed, strict=True):
        np.testing.assert_array_equal(a.get_value(), b.get_value())


def test_foreign_state_is_refused():
    optimiser, _ = problem(SGD)
    with pytest.raises(UnknownNameError, match="the state does not belong to this optimiser"):
        optimiser.set_state({"steps": 1})
    with pytest.raises(ShapeError, match="state '0_direction' has the wrong shape"):
        optimiser.set_state({"0_direction": np.zeros(2), "1_direction": np.zeros(3)})


@pytest.mark.parametrize("kind", list(OPTIMISERS))
def test_repair_restores_parameters_and_resets_moments(kind):
    optimiser, params = problem(OPTIMISERS[kind], history=3, meta=MetaParams(lr=0.1))
    past = []
    for _ in range(5):
        past.append([p.get_value() for p in params])
        optimiser(RNG.normal(size=3))
    optimiser.repair()
    for p, old in zip(params, past[-3], strict=True):
        np.testing.assert_array_equal(p.get_value(), old)
    assert not any(np.any(v) for v in optimiser.get_state().values())
    fresh, fresh_params = problem(OPTIMISERS[kind], meta=MetaParams(lr=0.1))
    for p, old in zip(fresh_params, past[-3], strict=True):
        p.set_value(old)
    slope = RNG.normal(size=3)
    optimiser(slope)
    fresh(slope)
    for a, b in zip(params, fresh_params, strict=True):
        np.testing.assert_array_equal(a.get_value(), b.get_value())


def test_history_is_not_part_of_the_step():
    """A compiler that compares all pairs of outputs would be slowed down by it."""
    plain, repairable = (problem(SGD, history=n)[0] for n in (0, 3))
    plain(RNG.normal(size=3))
    repairable(RNG.normal(size=3))
    assert len(plain.step.updates) == len(repairable.step.updates)


def scalar_operations(optimiser):
    """Count the scalar operations in the updates, excluding the gradients."""
    open_, seen, count = [new for _, new in optimiser.step.updates], set(optimiser.grads), 0
    while open_:
        variable = open_.pop()
        if variable not in seen and variable.owner is not None:
            count += variable.ndim == 0
            open_ += variable.owner.inputs
        seen.add(variable)
    return count


@pytest.mark.parametrize("kind", list(OPTIMISERS))
def test_scalars_are_computed_once_for_all_parameters(kind):
    few, many = (problem(OPTIMISERS[kind], (True,) * n, meta=MetaParams(wd=0.1))[0] for n in (2, 12))
    assert 0 < scalar_operations(few) == scalar_operations(many)


def test_repair_can_be_repeated():
    optimiser, params = problem(SGD, history=3, meta=MetaParams(lr=0.1))
    first = params[0].get_value()
    for _ in range(2):
        optimiser(RNG.normal(size=3))
    for _ in range(2):
        optimiser.repair()
        np.testing.assert_array_equal(params[0].get_value(), first)
    optimiser(RNG.normal(size=3))
    assert not np.array_equal(params[0].get_value(), first)
    optimiser.repair()
    np.testing.assert_array_equal(params[0].get_value(), first)


def test_repair_needs_a_history():
    optimiser, _ = problem(SGD)
    with pytest.raises(ArgumentError, match="there are no earlier parameters to restore; got history=0"):
        optimiser.repair()


def test_meta_parameters_by_name():
    optimiser, _ = problem(AdaDelta)
    optimiser.setlr(0.5)
    optimiser.setmom(0.25)
    optimiser.setwd(0.125)
    assert repr(optimiser) == "AdaDelta(lr=0.5, mom=0.25, wd=0.125)"
    with pytest.raises(UnknownNameError, match=r"got beta2; expected one of \['lr', 'mom', 'wd', "):
        optimiser.set_opt_meta_params({"beta2": 0.9})


def test_every_parameter_needs_a_gradient():
    with pytest.raises(ArgumentError, match="0 gradients, 1 parameters"):
        SGD([], None, [], [VariableParam(1.0, name="p")])


@pytest.mark.parametrize("clip", [{}, {"clip_norm": 0.7}, {"clip_value": 0.4}, {"clip_norm": 0.7, "clip_value": 0.4}])
@pytest.mark.parametrize("kind", ["AdamW", "SGD"])
def test_same_values_as_torch(kind, clip):
    """AdamW with decoupled decay, and SGD, with joint gradient clipping of two parameters."""
    torch = pytest.importorskip("torch", reason="torch is not installed together with Theano")
    nm.config.floatX = "float64"
    meta = MetaParams(lr=0.05, mom=0.8, wd=0.1 if kind == "AdamW" else 0.0, beta2=0.95, **clip)
    optimiser, params = problem(OPTIMISERS[kind], regularised=(True, True), meta=meta)
    twins = [torch.nn.Parameter(torch.tensor(START)) for _ in params]
    other = (
        torch.optim.AdamW(twins, lr=0.05, betas=(0.8, 0.95), weight_decay=0.1)
        if kind == "AdamW"
        else torch.optim.SGD(twins, lr=0.05, momentum=0.8)
    )
    for _ in range(6):
        slope = RNG.normal(size=3)
        other.zero_grad()
        loss = sum((torch.tensor(0.5 * CURVATURE) * p**2 + torch.tensor(slope) * p).sum() for p in twins)
        loss.backward()
        if "clip_value" in clip:
            torch.nn.utils.clip_grad_value_(twins, clip["clip_value"])
        if "clip_norm" in clip:
            torch.nn.utils.clip_grad_norm_(twins, clip["clip_norm"])
        other.step()
        # torch adds 1e-6 to the norm.
        rtol = 1e-4 if "clip_norm" in clip else 1e-9
        assert float(optimiser(slope)[0]) == pytest.approx(float(loss.detach()), rel=rtol)
        for p, twin in zip(params, twins, strict=True):
            np.testing.assert_allclose(p.get_value(), twin.detach().numpy(), rtol=rtol)


def test_limits_can_be_changed_and_cost_nothing_when_inactive(compilations):
    optimiser, params = problem(SGD, regularised=(False,), meta=MetaParams(lr=1.0, mom=0.0), history=2)

    def moved():
        before = params[0].get_value()
        optimiser(np.array([10.0, 0.0, 0.0]))
        return np.linalg.norm(params[0].get_value() - before)

    assert moved() > 1
    operations = E.dot_text(optimiser.step.func).lower()
    assert not any(word in operations for word in ("clip", "sqrt", "maximum"))
    for limit in (0.5, 0.25):
        optimiser.set_opt_meta_params({"clip_norm": limit})
        assert moved() == pytest.approx(limit, rel=1e-5)
    optimiser.repair()
    assert len(compilations) == 2
    optimiser.set_opt_meta_params({"clip_norm": None})
    assert moved() > 1 and len(compilations) == 2


def test_a_gradient_within_the_limits_is_unchanged():
    plain, p = problem(SGD, meta=MetaParams(lr=0.1))
    clipped, q = problem(SGD, meta=MetaParams(lr=0.1, clip_norm=1e3, clip_value=1e3))
    for _ in range(3):
        slope = RNG.normal(size=3)
        plain(slope)
        clipped(slope)
    for a, b in zip(p, q, strict=True):
        np.testing.assert_array_equal(a.get_value(), b.get_value())


def net_of_all_kinds():
    """Build a model with weights, biases, prelu slopes, gamma, and a trainable ValueNode."""
    nm.seed(5)
    model = nm.model_manager.newmodel(None)
    x = nm.Input((6, 2), "b,f", name="x", print_repr=False)
    hidden = nm.Perceptron(x, 3, "prelu", batch_normalisation="train", name="hidden", print_repr=False)
    y = nm.Perceptron(hidden, 2, "lin", name="y", print_repr=False)
    value = nm.ValueNode((6, 2), "b,f", apply_train=True, value=0.5, name="value", print_repr=False)
    total = nm.Add(y, value, name="total", print_repr=False)
    t = nm.Input_like(total, name="t", print_repr=False)
    loss = nm.AggregateLoss(nm.SquaredLoss(total, t, print_repr=False), name="loss", print_repr=False)
    model.designate_nodes("x", t, loss, total)
    return model


DECAY = {"hidden_w": 1, "hidden_b": 0, "hidden_gamma": 3, "y_w": 1, "y_b": 0, "value_value": 0}
"""Factor of the weight decay, as documented in docs/training.md."""


@pytest.mark.parametrize("kind", list(OPTIMISERS))
def test_weight_decay_of_every_kind_of_parameter(kind):
    lr, wd, data = 0.125, 0.25, (RNG.normal(size=(6, 2)).astype("f4"), RNG.normal(size=(6, 2)).astype("f4"))
    model = net_of_all_kinds()
    params = model.loss_node.all_trainable_params
    assert set(params) == set(DECAY)
    before, grads = (
        {name: p.get_value() for name, p in params.items()},
        dict(zip(params, model.gradients(*data), strict=True)),
    )
    model.set_opt_meta_params(kind, {"lr": lr, "wd": wd})
    model.trainingstep(*data, optimiser=kind)
    for name, p in params.items():
        g, decay = grads[name].astype("float64"), wd * DECAY[name] * before[name].astype("float64")
        step = {
            "SGD": g,
            "AdaGrad": np.sign(g) / np.sqrt(2),
            "AdaDelta": g,
            "Adam": np.sqrt(1 - 0.999) * g / np.sqrt((1 - 0.999) * g**2 + EPS),
            "AdamW": np.sign(g),
        }[kind]
        if kind == "AdaGrad":
            decay = np.divide(decay, np.sqrt(2) * abs(g), out=np.zeros_like(g), where=g != 0)
        np.testing.assert_allclose(p.get_value(), before[name] - lr * (step + decay), rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("kind", list(OPTIMISERS))
def test_the_default_learning_rate_of_a_trainer_trains(kind):
    model = line()
    assert model.lr == 1.0
    trainer = nm.Trainer(model, points(), optimiser=kind, n_steps=300)
    assert model.lr == pytest.approx(OPTIMISERS[kind].default_lr) and trainer.default_lr
    before = model.loss(*(a[:4] for a in points()))
    trainer.run()
    assert model.loss(*(a[:4] for a in points())) < 0.9 * before


def test_a_trainer_keeps_an_explicit_learning_rate():
    model = line()
    model.lr = 1.0
    assert not nm.Trainer(model, points()).default_lr and model.lr == 1.0


def test_the_default_learning_rate_depends_on_the_optimiser_also_after_loading(tmp_path):
    model = line()
    model.save(tmp_path / "a.h5")
    for other in (model, nm.modelload(tmp_path / "a.h5")):
        for kind in OPTIMISERS:
            nm.Trainer(other, points(), optimiser=kind)
            assert other.lr == pytest.approx(OPTIMISERS[kind].default_lr)
    model.lr = 0.5
    model.save(tmp_path / "a.h5")
    loaded = nm.modelload(tmp_path / "a.h5")
    nm.Trainer(loaded, points())
    assert loaded.lr == 0.5
