"""Meta-parameters: defaults, limits, all or nothing."""

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


def test_every_instance_has_its_own():
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
        ("lr", 1e40),  # infinite in single precision, in which steps are computed
        ("wd", 2**200),
        ("mom", 1 - 1e-9),  # 1 in single precision
        ("beta2", np.float64(1 - 1e-12)),
        ("lr", 1j),
        ("lr", True),
    ],
)
def test_impossible_values_change_nothing(key, value):
    meta = MetaParams("model m")
    with pytest.raises(ArgumentError, match=rf"'model m': {key} cannot have this value"):
        meta.set({"lr": 0.3, key: value} if key != "lr" else {"mom": 0.3, key: value})
    assert (meta["lr"], meta["mom"]) == (1.0, pytest.approx(0.9))


def test_unknown_names_give_the_nearest():
    with pytest.raises(UnknownNameError, match=r"unknown meta-parameter; got beta; expected .*; nearest valid: beta2"):
        MetaParams().set({"beta": 0.9})
    with pytest.raises(UnknownNameError):
        MetaParams(rate=1)


def test_limits_are_off_at_zero_or_none():
    meta = MetaParams(clip_norm=2.0)
    assert meta.clipping == (False, True)
    meta.set({"clip_norm": None, "clip_value": 0.5})
    assert (meta["clip_norm"], meta["clip_value"], meta.clipping) == (0.0, 0.5, (True, False))


def test_what_an_optimiser_does_not_use_is_refused(fresh_model):
    for name, other in (("AdaGrad", "mom"), ("SGD", "beta2")):
        with pytest.raises(UnknownNameError, match=f"unknown meta-parameter; got {other}; expected one of .*lr"):
            fresh_model.set_opt_meta_params(name, {"lr": 0.5, other: 0.5})
    assert fresh_model.lr == 1.0
    fresh_model.set_opt_meta_params("AdaGrad", {"lr": 0.5, "wd": 0.1, "clip_norm": 1})
    assert fresh_model.lr == 0.5
