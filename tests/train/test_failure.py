"""What is said and restored after a loss that is not finite."""

from __future__ import annotations

import numpy as np
import pytest

from neuromancer.errors import TrainingError
from neuromancer.train.failure import is_finite, undo
from tests.train.nets import line, points

X, Y = (a[:4] for a in points(4))
BAD = np.array([[np.nan], [np.inf], [1], [2]], "float32")


def exploded(steps=4):
    """A model whose last step made its parameters NaN, and its finite parameters of two steps before that."""
    model, past = line(), []
    model.lr = 0.01
    for _ in range(steps):
        past.append(model["y"].get_param_values())
        model.trainingstep(X, Y)
    past.append(model["y"].get_param_values())
    model.trainingstep(BAD, Y)
    return model, past


def test_parameters_of_the_kept_steps_come_back_and_the_error_names_the_facts():
    model, past = exploded()
    error = undo(model, "SGD", 4, float("nan"), (BAD, Y), None)
    assert isinstance(error, TrainingError)
    for key, value in past[-3].items():
        np.testing.assert_array_equal(model["y"].get_param_values()[key], value)
    text = str(error)
    for fact in (
        "nan at step 4",
        "x from 1 to 2, 2 values not finite",
        f"t from {Y.min():g} to {Y.max():g}",
        "lr 0.01",
    ):
        assert fact in text
    assert "y_w" in text and "after 2 steps" in text and "checkpoint" not in text


def test_parameters_of_the_checkpoint_come_back_if_those_kept_are_not_finite(tmp_path):
    model = line()
    model.save(tmp_path / "last.nm")
    good = model["y"].get_param_values()
    for _ in range(4):
        model.trainingstep(BAD, Y)
    error = undo(model, "SGD", 4, float("inf"), (BAD, Y), tmp_path / "last.nm")
    for key, value in good.items():
        np.testing.assert_array_equal(model["y"].get_param_values()[key], value)
    assert "inf at step 4" in str(error) and str(tmp_path / "last.nm") in str(error)


def test_a_batch_without_a_finite_value():
    model, _ = exploded()
    nothing = np.full((4, 1), np.nan, "float32")
    assert "x nothing finite, 4 values not finite" in str(undo(model, "SGD", 4, float("nan"), (nothing, Y), None))


@pytest.mark.parametrize(
    ("batch", "finite"),
    [
        ((X, Y), True),
        ((X, BAD), False),
        ((BAD, Y), False),
        ((np.arange(3), [1, 2]), True),
        ((), True),
        (([np.inf],), False),
    ],
)
def test_only_floats_can_be_the_cause(batch, finite):
    assert is_finite(batch) is finite
