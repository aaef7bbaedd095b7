"""Meta-parameters: defaults, valid ranges, atomic changes."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import ArgumentError, UnknownNameError
from neuromancer.optim.meta import MetaParams


def test_defaults_and_precision():
    nm.config.floatX = "float64"
    meta = MetaParams()
    assert {key: meta[key] for key in meta.params} == {
        "lr": 1.0,
        "mom": 0.9,
        "wd": 0.0,
        "beta2": 0.999,
        "clip_value": 0.0,
        "clip_norm": 0.0,
    }
    assert meta.params["lr"].dtype == "float64"


def test_instances_are_independent():
    a, b = MetaParams(lr=0.5), MetaParams()
    assert (a["lr"], b["lr"]) == (0.5, 1.0)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("lr", np.nan),
        ("lr", -1),
        ("lr", "fast"),
        ("lr", [1, 2]),
        ("mom", 1.0),
        ("beta2", 1.5),
        ("wd", np.inf),
        ("lr", None),
        ("clip_norm", -1),
        ("clip_value", np.inf),
        ("lr", 1e40),  # infinite in single precision, which steps are computed in
        ("wd", 2**200),
        ("mom", 1 - 1e-9),  # 1 in single precision
        ("beta2", np.float64(1 - 1e-12)),
        ("lr", 1e-50),  # 0 in single precision
        ("wd", 1e-46),
        ("mom", np.float64(1e-50)),
        ("clip_norm", 1e-50),  # 0 would mean no limit
        ("lr", 1j),
        ("lr", True),
    ],
)
def test_invalid_values_change_nothing(key, value):
    meta = MetaParams("model m")
    with pytest.raises(ArgumentError, match=rf"'model m': {key} cannot have this value"):
        meta.set({"lr": 0.3, key: value} if key != "lr" else {"mom": 0.3, key: value})
    assert (meta["lr"], meta["mom"]) == (1.0, pytest.approx(0.9))


def test_unknown_names_give_the_nearest():
    with pytest.raises(UnknownNameError, match=r"unknown meta-parameter; got beta; expected .*; nearest valid: beta2"):
        MetaParams().set({"beta": 0.9})
    with pytest.raises(UnknownNameError):
        MetaParams(rate=1)


def test_small_values_do_not_underflow():
    assert MetaParams(lr=1e-45, clip_norm=1e-40)["lr"] > 0
    assert MetaParams(clip_norm=1e-40).clipping == (False, True)
    nm.config.floatX = "float64"
    assert MetaParams(lr=1e-50)["lr"] == 1e-50


def test_a_schedule_can_decay_the_learning_rate_to_zero_but_not_a_limit(fresh_model):
    fresh_model.lr = fresh_model.clip_norm = 1.0
    nm.DecaySchedule(0.5, every=1).bind(fresh_model, "lr").apply(400)
    assert fresh_model.lr == 0
    with pytest.raises(ArgumentError, match="clip_norm cannot have this value"):
        nm.DecaySchedule(0.5, every=1).bind(fresh_model, "clip_norm").apply(400)


def test_restoring_which_values_were_set_explicitly():
    meta = MetaParams()
    meta.restore({"lr": 1.0, "mom": 0.5}, ["lr"])
    assert meta.given == {"lr"}
    meta = MetaParams()
    meta.restore({"lr": 1.0, "mom": 0.5})
    assert meta.given == {"mom"}
    with pytest.raises(UnknownNameError):
        meta.restore({"lr": 1.0}, ["rate"])


def test_zero_or_none_disables_a_limit():
    meta = MetaParams(clip_norm=2.0)
    assert meta.clipping == (False, True)
    meta.set({"clip_norm": None, "clip_value": 0.5})
    assert (meta["clip_norm"], meta["clip_value"], meta.clipping) == (0.0, 0.5, (True, False))


def test_unused_meta_parameters_are_refused(fresh_model):
    for name, other in (("AdaGrad", "mom"), ("SGD", "beta2")):
        with pytest.raises(UnknownNameError, match=f"unknown meta-parameter; got {other}; expected one of .*lr"):
            fresh_model.set_opt_meta_params(name, {"lr": 0.5, other: 0.5})
    assert fresh_model.lr == 1.0
    fresh_model.set_opt_meta_params("AdaGrad", {"lr": 0.5, "wd": 0.1, "clip_norm": 1})
    assert fresh_model.lr == 0.5
