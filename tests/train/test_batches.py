"""Batches that do not fit: the error names array, sizes and step, and the state before is saved."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer import errors
from neuromancer.train import Trainer
from tests.train.nets import classifier

RAW, LABELS = (2, 1, 10, 10), (2, 1, 4, 4)
BAD_AT = 2


@pytest.fixture(scope="module")
def open_sizes():
    """A classifier that leaves the sizes of images and batches open; it goes on learning."""
    nm.seed(0)
    model = nm.model_manager.newmodel(None)
    inp = nm.Input((None, 1, None, None), "b,f,y,x", name="input", print_repr=False)
    out = nm.Conv(inp, 2, (3, 3), (2, 2), activation_func="lin", print_repr=False)
    probs = nm.Softmax(out, name="probs", print_repr=False)
    target = nm.Input_like(probs, override_f=1, dtype="int16", name="target", print_repr=False)
    nll = nm.MultinoulliNLL(probs, target, target_is_sparse=True, print_repr=False)
    loss = nm.AggregateLoss([nll], name="loss", print_repr=False)
    model.designate_nodes("input", target, loss, probs)
    return model


@pytest.fixture(scope="module")
def fixed_sizes():
    return classifier("fixed sizes")


def batch(raw=RAW, labels=LABELS):
    return np.ones(raw, "float32"), np.zeros(labels, "int16")


class Changing:
    """Ones and zeros, with another batch at one step."""

    def __init__(self, bad):
        self.bad = bad

    def batch(self, step):
        return self.bad if step == BAD_AT else batch()


RAGGED = ([np.ones((1, 10, 10)), np.ones((1, 12, 10))], np.zeros(LABELS, "int16"))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (batch((1, *RAW[1:])), r"number of samples; got \{'input': 1, 'target': 2\}"),
        (batch(labels=(2, 1, 3, 4)), r"'target' does not have the size.*got \[3, 4\]; expected \[4, 4\].*'probs'"),
        (batch((2, 1, 14, 10)), r"'target' does not have the size.*got \[4, 4\]; expected \[6, 4\].*\[14, 10\]"),
        (batch(labels=(2, 1, 4, 1)), r"'target' does not have the size"),
        (batch((2, 2, 10, 10)), r"'input' has the wrong size; got \(2, 2, 10, 10\); expected \[\(None,b\), \(1,f\)"),
        (batch((2, 10, 10)), r"'input' has the wrong size; got \(2, 10, 10\)"),
        (RAGGED, r"samples for 'input' differ in size; got \[\(1, 10, 10\), \(1, 12, 10\)\]"),
        (batch()[:1], r"wrong number of arrays in a batch; got 1; expected 2.*\['input', 'target'\]"),
        (batch()[0], r"must be a tuple of arrays; got ndarray"),
    ],
)
def test_sizes_that_do_not_fit(open_sizes, tmp_path, bad, message):
    trainer = Trainer(open_sizes, Changing(bad), n_steps=5, folder=tmp_path, name="net", plots=False)
    with pytest.raises((errors.ShapeError, errors.InputTypeError), match=rf"training data.*{message}") as caught:
        trainer.run()
    assert "in the batch of step 2" in caught.value.__notes__
    assert nm.modelload(tmp_path / "net-last.h5").training_state["step"] == BAD_AT


def test_declared_sizes_do_not_change(fixed_sizes):
    with pytest.raises(errors.ShapeError, match=r"'input' has the wrong size; got \(2, 1, 12, 10\).*\(10,y\)"):
        Trainer(fixed_sizes, Changing(batch((2, 1, 12, 10))), n_steps=5).run()


def test_open_sizes_may_change_together(open_sizes):
    assert Trainer(open_sizes, Changing(batch((3, 1, 14, 10), (3, 1, 6, 4))), n_steps=5).run().steps == 5


def test_the_first_batch_and_validation_are_checked(open_sizes):
    class Wrong:
        def batch(self, step):
            return batch((3, *RAW[1:]))

    with pytest.raises(errors.ShapeError, match=r"training data.*number of samples") as caught:
        Trainer(open_sizes, Wrong(), n_steps=5)
    assert "in the batch of step 0" in caught.value.__notes__
    trainer = Trainer(
        open_sizes, Changing(batch()), validation=Changing(batch(labels=(2, 1, 4, 3))), validate_every=2, n_steps=5
    )
    with pytest.raises(errors.ShapeError, match=r"validation data.*'target' does not have the size"):
        trainer.run()
