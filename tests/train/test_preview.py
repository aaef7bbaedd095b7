"""A preview that cannot be made fails before the first step."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer import errors
from neuromancer.train import Trainer
from neuromancer.train import preview as module
from neuromancer.train.preview import Preview
from tests.train.nets import Squares, classifier


@pytest.fixture(scope="module")
def model():
    return classifier("previewed")


def test_a_wrong_preview_fails_before_training(model, tmp_path, monkeypatch):
    def fails(*args, **options):
        raise RuntimeError("no memory for that")

    trainer = Trainer(model, Squares(), n_steps=3, folder=tmp_path, preview=np.zeros((1, 30, 30), "float32"))
    monkeypatch.setattr(model, "predict_dense", fails)
    with pytest.raises(RuntimeError, match="no memory") as caught:
        trainer.run()
    assert caught.value.__notes__ == ["in a trial of the preview 'preview' before the first step"]
    assert trainer.step == 0 and not (tmp_path / "previewed-last.h5").exists()


def test_a_trial_predicts_no_more_than_a_patch_and_draws(model, monkeypatch):
    seen = []
    predict = model.predict_dense
    monkeypatch.setattr(model, "predict_dense", lambda raw, **o: (seen.append(raw.shape), predict(raw, **o))[1])
    raw = np.zeros((1, 500, 7), "float32")
    Preview(model, {"long": (raw, np.zeros((500, 7), int)), "stack": np.zeros((1, 9, 40, 50), "float32")}, True).trial()
    assert seen == [(1, 10, 7), (1, 1, 10, 10)]


def test_networks_of_open_size_and_those_that_take_only_whole_volumes(monkeypatch):
    model = nm.model_manager.newmodel(None)
    inp = nm.Input((1, 1, None, None), "b,f,y,x", name="raw", print_repr=False)
    out = nm.Conv(inp, 2, (5, 3), (2, 2), name="out", print_repr=False)
    model.designate_nodes("raw", prediction_node=out)
    preview = Preview(model, np.zeros((1, 40, 40), "float32"), False)
    fov = out.shape.fov
    assert preview._part(np.zeros((1, 40, 40), "float32")).shape == (1, 2 * fov[0], 2 * fov[1])

    def refuses(node, raw, **options):
        raise errors.ShapeError("too small")

    monkeypatch.setattr(module, "plan_dense", refuses)
    assert preview._part(np.zeros((1, 40, 40), "float32")).shape == (1, 40, 40)
