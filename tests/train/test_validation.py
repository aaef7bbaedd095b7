"""Validation: means over batches, metrics, inference mode, no effect on training."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import ArgumentError, GraphError, InputTypeError
from neuromancer.train.validation import Evaluation, Measurements, Validation, training_error, undisturbed
from tests.train.nets import Squares, classifier, line, parameters, points


class Chosen:
    """Two batches of other content and equal size."""

    def __init__(self):
        x, y = points(8)
        self.batches, self.asked = [(x[:4], y[:4]), (x[4:], y[4:])], []

    def batch(self, step):
        self.asked.append(step)
        return self.batches[step]


def bias(prediction, target):
    return np.mean(prediction - target)


def worst(prediction, target):
    return np.abs(prediction - target).max(keepdims=True)  # an array of one number is a number


def test_values_are_means_over_the_first_batches():
    model, data = line(), Chosen()
    validation = Validation(model, data, 2, {"bias": bias, "worst": worst})
    found = validation()
    assert list(found) == validation.names == ["val_loss", "val_bias", "val_worst"]
    want = []
    for x, y in data.batches:
        p = model["y"](x)
        want.append([model.loss(x, y), bias(p, y), worst(p, y).item()])
    np.testing.assert_allclose(list(found.values()), np.mean(want, axis=0), rtol=1e-5)
    assert validation() == found and data.asked == [0, 1, 0, 1]


def test_the_error_node_is_evaluated_too():
    model, data = classifier(), Squares(seed=5)
    found = Validation(model, data, 3, {})()
    errors = [np.mean(model["errors"](*data.batch(n))) for n in range(3)]
    assert found["val_error"] == pytest.approx(np.mean(errors), rel=1e-6)


def test_dropout_is_off_and_neither_random_numbers_nor_parameters_change():
    model, data = classifier(noise=0.5, normalise="train"), Squares()
    validation, before, batch = Validation(model, data, 2, {}), parameters(model), data.batch(9)
    with undisturbed(model):
        want = [model.loss(*batch) for _ in range(3)]
    assert len(set(want)) == 3
    got = []
    for _ in range(3):
        assert validation() == validation()
        got.append(model.loss(*batch))
    assert got == want
    for now, then in zip(parameters(model), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_random_streams_are_restored_even_after_an_error():
    model, data = classifier(noise=0.5), Squares().batch(0)
    first = model.loss(*data)
    with pytest.raises(RuntimeError, match="over"), undisturbed(model):
        inside = model.loss(*data)
        model.loss(*data)
        raise RuntimeError("over")
    assert model.loss(*data) == inside != first


@pytest.mark.parametrize(
    ("metrics", "error", "says"),
    [
        ({"m": 3}, InputTypeError, "metric m"),
        ([bias], InputTypeError, "metrics"),
        ({"loss": bias}, ArgumentError, "taken.*loss"),
        ({1: bias}, InputTypeError, "metrics"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_metrics_that_cannot_be(metrics, error, says):
    with pytest.raises(error, match=says):
        Validation(line(), Chosen(), 1, metrics)


def test_metrics_need_a_prediction():
    model = line()
    model.designate_nodes("x", "t", "loss")
    assert Validation(model, Chosen(), 1, {}).names == ["val_loss"]
    with pytest.raises(ArgumentError, match=r"prediction node.*\['bias'\]"):
        Validation(model, Chosen(), 1, {"bias": bias})


@pytest.mark.parametrize("value", ["0.5", None, np.zeros(2), 1j, []], ids=repr)
def test_a_metric_returns_one_number(value):
    with pytest.raises(ArgumentError, match=r"metric m.*number"):
        Validation(line(), Chosen(), 1, {"m": lambda p, t: value})()


def test_an_error_in_a_metric_names_it():
    with pytest.raises(ZeroDivisionError) as caught:
        Validation(line(), Chosen(), 1, {"m": lambda p, t: 1 / 0})()
    assert any("'m'" in note for note in caught.value.__notes__)


def test_nodes_of_other_data_cannot_be_evaluated():
    model = line()
    other = nm.Input((4, 1), "b,f", name="other", print_repr=False)
    with pytest.raises(GraphError, match=r"sources \['other'\]"):
        Evaluation(model, {"sum": nm.Add(model["y"], other, print_repr=False)})


def test_without_an_error_node_there_is_no_training_error():
    assert training_error(line()) is None
    model, batch = classifier(), Squares().batch(0)
    assert training_error(model)(batch)["train_error"] == pytest.approx(model["errors"](*batch))


def test_measurements_are_those_of_their_step_and_made_once():
    model, data = classifier(), Squares()
    measurements = Measurements(model, Validation(model, data, 1, {}))
    assert measurements.names == ["train_error", "val_loss", "val_error"] and measurements.values == {}
    assert measurements.step == -1
    found = measurements.measure(7, data.batch(1))
    assert list(found) == measurements.names and measurements.step == 7
    model.trainingstep(*data.batch(2))
    measurements.finish(7)
    assert measurements.values == found
    measurements.finish(8)
    assert list(measurements.values) == ["val_loss", "val_error"]
    assert measurements.values["val_loss"] != found["val_loss"]


def test_nothing_to_measure():
    measurements = Measurements(line(), None)
    assert measurements.names == [] and measurements.measure(1, Chosen().batch(0)) == {}
    measurements.finish(2)
    assert measurements.values == {}
