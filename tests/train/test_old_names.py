"""Names of the original library that its configurations use."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer import graphutils, train, utils
from neuromancer.errors import ArgumentError, InputTypeError, ShapeError, UnknownNameError
from neuromancer.model import rebuild_model
from neuromancer.optimiser import DecaySchedule, LinearSchedule, Schedule, StepSchedule
from tests.train.nets import classifier, line, points


def test_short_forms_of_schedules_are_those_of_dicts():
    model = line()
    model.lr = 0.8
    for options, kind, step, value in (
        ({"dec": 0.5}, DecaySchedule, 1000, 0.4),
        ({"lindec": [4000, 0.2]}, LinearSchedule, 1999, 0.15),
        ({"updates": [(3, 0.1)]}, StepSchedule, 3, 0.1),
    ):
        schedule = Schedule(**options)
        assert type(schedule) is kind
        assert schedule.bind(model, "lr", None if schedule.start is not None else 0.8).apply(step) == pytest.approx(
            value
        )
    with pytest.raises(TypeError):
        Schedule(permut=3)
    with pytest.raises(ArgumentError, match="lindec needs two numbers"):
        Schedule(lindec=3)
    assert Schedule(start=2.0).start == 2 and Schedule().start is None


def test_a_subclass_keeps_its_own_arguments():
    class Own(Schedule):
        def __init__(self, dec):
            super().__init__(1.0)
            self.dec = dec

    assert type(Own(dec=3)) is Own


def test_floatX():
    assert graphutils.floatX == nm.config.floatX
    with pytest.raises(AttributeError, match="floatY"):
        graphutils.floatY  # noqa: B018


def test_parameters_and_iterations_of_a_model():
    model = classifier("counted", noise=0.2)
    assert list(model.trainable_params) == list(model.loss_node.all_trainable_params)
    assert {"conv_dropout_rate", "loss_mixing_weights"} <= set(model.nontrainable_params)
    assert model.loss_node.mixing_weights is model.nontrainable_params["loss_mixing_weights"]
    batch = np.zeros((2, 1, 10, 10), "float32"), np.zeros((2, 1, 4, 4), "int16")
    assert model.iterations == 0
    model.trainingstep(*batch)
    model.trainingstep(*batch, optimiser="Adam")
    assert model.iterations == 2


def test_a_rebuilt_model_keeps_values_and_functions():
    model = nm.model_manager.newmodel("original")
    x = nm.Input((1, 1, 11), "b,f,x", name="x", print_repr=False)
    y = nm.Conv(nm.ApplyFunc(x, half), 4, (3,), (3,), name="y", print_repr=False)
    model.designate_nodes("x", prediction_node="y")
    copy = rebuild_model(model, imposed_patch_size=[14], name="copy")
    image = np.random.default_rng(0).random((1, 1, 14)).astype("float32")
    assert copy["y"].shape.spatial_shape == [4] and nm.model_manager.current is copy
    assert np.allclose(copy.predict(image)[..., :3], y(image[..., :11]), atol=1e-6)


def test_arrays_in_hdf5(tmp_path):
    path = tmp_path / "a.h5"
    utils.h5save(np.arange(4), path)
    assert utils.h5load(path).tolist() == utils.h5load(path, "data").tolist() == [0, 1, 2, 3]
    utils.h5save((np.arange(2), 7), path, compress=False)
    assert [a.tolist() for a in utils.h5load(path)] == [[0, 1], 7]
    with pytest.raises(UnknownNameError, match="data"):
        utils.h5load(path, "data")
    with pytest.raises(ArgumentError, match="one name per array"):
        utils.h5save([1, 2], path, ["a", "a"])
    for data, keys, kind in ((["a"], None, InputTypeError), (np.array([None]), None, InputTypeError),
                             ([1, 2], ["a", "a/b"], ArgumentError)):  # fmt: skip
        with pytest.raises(kind, match="h5save"):
            utils.h5save(data, path, keys)
    assert [a.tolist() for a in utils.h5load(path)] == [[0, 1], 7], "what was there is unchanged"
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]
    with pytest.raises(OSError, match="cannot be read"):
        utils.h5load(tmp_path / "none.h5")


def test_one_number_per_feature():
    image = nm.ValueNode((1, 3, 4, 4), "b,f,y,x", value=[1, 2, 3], print_repr=False)
    assert image.get_value()[0, :, 1, 2].tolist() == [1, 2, 3]
    assert nm.ValueNode((2, 3), "f,b", value=[1, 2], print_repr=False).get_value().tolist() == [[1] * 3, [2] * 3]
    assert nm.ValueNode((2, 3), "f,b", value=[1, 2, 3], print_repr=False).get_value().tolist() == [[1, 2, 3]] * 2
    with pytest.raises(ShapeError, match="does not fit"):
        nm.ValueNode((1, 3, 4, 4), "b,f,y,x", value=[1, 2], print_repr=False)


def half(x):
    return x / 2


@pytest.mark.parametrize("error_node", [None, "errors"])
def test_the_error_is_found_between_loss_and_prediction(error_node):
    model = classifier("triple")
    loss, errors, probs = model.loss_node, model.error_node, model.prediction_node
    model.designate_nodes("input", "target", loss, probs, [loss, errors, probs], error_node)
    assert model.error_node is errors
    model.designate_nodes("input", "target", loss, probs, [probs, errors, loss])
    assert model.error_node is None


def test_an_error_that_needs_more_than_the_loss_is_not_monitored():
    model = line()
    loss, y = model.loss_node, model.prediction_node
    other = nm.Input_like(y, name="other", print_repr=False)
    errors = nm.AbsLoss(y, other, print_repr=False)
    model.designate_nodes("x", "t", loss, y, [loss, errors, y])
    assert model.error_node is None
    train.Trainer(model, points(), n_steps=1).run()
