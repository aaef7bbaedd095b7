"""Configurations of the original library, run as they are but for the import line."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

import neuromancer as nm
from neuromancer.commands.train import main
from neuromancer.errors import ArgumentError
from neuromancer.train.config_file import load_config
from tests.train.nets import parameters
from tests.train.old_config.texts import CUBES, OWN, rows

LEGACY = Path(__file__).parents[2] / "reference" / "legacy" / "legacy_2d.mdl"


def test_cubes_train_with_validation_and_previews(config, data, capsys):
    assert main([str(config(CUBES))]) == 0
    folder = data / "out" / "cubes"
    out = capsys.readouterr().out
    assert "step 12/12" in out and "export_class" in out and "preview_every" in out
    assert [int(row["step"]) for row in rows(folder)] == [6, 12]
    assert all(float(row["val_error"]) <= 1 and float(row["val_loss"]) > 0 for row in rows(folder))
    with h5py.File(folder / "preview-12.h5") as file:
        assert file["raw"].shape == (1, 5, 32, 32) and file["prediction"].shape == (2, 5, 32, 32)
    assert (folder / "cubes-final.h5").exists() and (folder / "old_style.py").exists()


def test_what_the_trainer_gets(config):
    settings = load_config(path := config(CUBES)).settings
    assert settings["minutes"] == 24 * 60 and settings["workers"] == 2
    assert settings["history_every"] == settings["validate_every"] == 6
    configured = load_config(path, {"n_steps": 2, "workers": 1, "max_runtime": 120})
    assert configured.settings["minutes"] == 2 and configured.settings["workers"] == 1
    trainer = configured.trainer(path.parent / "a", resume=False)
    sampler, held_out = trainer.source, trainer.validation.source
    assert trainer.n_steps == 2 and trainer.validation.n_batches == 3 and sampler.batch_size == 2
    assert len(sampler.volumes) == len(held_out.volumes) == 1 and sampler.volumes[0].weight == 1
    assert len(sampler._geometric) == 2 and not held_out._geometric and not held_out._functions
    warp = sampler._geometric[0]
    assert warp.p == 0.5 and warp.spacing == (2, 1, 1) and set(warp.rotation) == {"xy", "zx"}
    assert trainer.model.error_node is trainer.model.prediction_ext[1]


def test_an_interrupted_run_continues_exactly(config, data):
    path = config(CUBES)
    arguments = [str(path), "--quiet", "--set", "n_steps=7"]
    assert main([*arguments, "--set", "background_processes=False"]) == 0
    assert main([str(path), "--quiet"]) == 1  # the folder holds a training run
    config(CUBES)
    assert main([str(path), "--quiet", "--resume"]) == 0
    resumed = parameters(nm.modelload(data / "out" / "cubes" / "cubes-final.h5"))
    shutil.rmtree(data / "out")
    config(CUBES)
    assert main([str(path), "--quiet"]) == 0
    whole = parameters(nm.modelload(data / "out" / "cubes" / "cubes-final.h5"))
    assert all(np.array_equal(a, b) for a, b in zip(whole, resumed, strict=True))


def test_an_own_data_class_trains_and_resumes(config, data):
    path = config(OWN)
    folder = data / "out" / "own"
    assert main([str(path), "--quiet", "--steps", "6"]) == 0
    config(OWN)
    assert main([str(path), "--quiet", "--resume"]) == 0
    resumed = nm.modelload(folder / "own-final.h5")
    assert (folder / "own-5.h5").exists() and [int(r["step"]) for r in rows(folder)] == [5, 10]
    assert resumed["nll"].class_weights.get_value().tolist() == [1, 3] and resumed.mom == pytest.approx(0.8)
    shutil.rmtree(folder)
    config(OWN)
    assert main([str(path), "--quiet"]) == 0
    whole = nm.modelload(folder / "own-final.h5")
    assert all(np.array_equal(a, b) for a, b in zip(parameters(whole), parameters(resumed), strict=True))


def test_a_model_of_the_original_library_is_trained_on(config, data):
    text = f"""
from neuromancer import model_manager
import numpy as np

model_load_path = {str(LEGACY)!r}
model_load_args = {{'imposed_batch_size': 1}}
n_steps = 2
history_freq = 1


class Noise:
    def __init__(self, input_node, target_node):
        self.nodes = input_node, target_node

    def getbatch(self, batch_size):
        shapes = [[n or batch_size for n in node.shape.shape] for node in self.nodes]
        return [np.random.rand(*shapes[0]).astype("float32"), np.zeros(shapes[1], "float32")]


data_class = "Noise"
"""
    path = config(text)
    if nm.modelload(LEGACY, name="seen").loss_node is None:
        pytest.skip("the file has no loss")
    assert main([str(path), "--quiet"]) == 0
    [final] = (data / "old_style").glob("*-final.h5")
    assert list(nm.modelload(final).nodes) == list(nm.modelload(LEGACY).nodes)
    start = nm.modelload(final)
    start.save(data / "start.h5")
    again = text.replace(repr(str(LEGACY)), "'start.h5'").replace("model_load_args", "model_load_kwargs")
    assert main([str(config(again)), "--quiet", "--overwrite"]) == 0


def test_old_and_new_settings_mix(config, data):
    text = CUBES.replace("max_runtime = 24 * 3600", "minutes = 3").replace("history_freq = 6", "validate_every = 4")
    text = text.replace("schedules = {'lr': {'dec': 0.995}}", "schedules = {'lr': nm.CosineSchedule(12)}")
    text = text.replace("preview_data_path", "_no_preview").replace("preview_kwargs = ", "PREVIEW = ")
    settings = load_config(config(text)).settings
    assert settings["minutes"] == 3 and "history_every" not in settings and settings["validate_every"] == 4
    assert main([str(config(text)), "--quiet", "--set", "n_steps=2"]) == 0


def test_a_data_class_in_another_file_and_a_linear_decay(config, data):
    head, _, tail = OWN.partition("class Squares")
    body, _, rest = tail.partition("data_class = Squares")
    (data / "own_data.py").write_text(f"import numpy as np\n\n\nclass Squares{body}")
    text = head + "data_class = ('own_data.py', 'Squares')" + rest
    text = text.replace("lr_schedule = {'dec': 0.5}", "lr_schedule = {'lr': {'lindec': [4000, 0.02]}}")
    configured = load_config(config(text))
    assert configured.settings["schedules"]["lr"] == {"lindec": [4000, 0.02]}
    assert "lr" not in configured.settings["optimiser_params"]
    assert main([str(config(text)), "--quiet", "--steps", "3"]) == 0
    assert nm.modelload(data / "out" / "own" / "own-final.h5").lr == pytest.approx(0.02)
    sys.modules.pop("own_data")


def test_digits_of_a_file(config, data):
    rng = np.random.default_rng(0)
    images, digits = rng.integers(0, 255, (30, 28, 28), "uint8"), rng.integers(0, 10, 30)
    np.savez(data / "mnist.npz", x_train=images, y_train=digits, x_test=images[:8], y_test=digits[:8])
    text = """
import neuromancer as nm

data_class = 'MNISTData'
data_init_kwargs = dict(path=DATA_PATH + '/mnist.npz', convert2image=True, shift_augment=False)
batch_size = 4
n_steps = 3
history_freq = 2
monitor_batch_size = 8


def create_model():
    inp = nm.Input((None, 1, 26, 26), 'b,f,y,x', name='raw')
    out = nm.Perceptron(inp, 10, activation_func='lin', flatten=True)
    probs = nm.Softmax(out)
    target = nm.Input_like(probs, override_f=1, name='target', dtype='int16')
    loss = nm.AggregateLoss(nm.MultinoulliNLL(probs, target, target_is_sparse=True), name='loss')
    model = nm.model_manager.getmodel()
    model.designate_nodes(inp, target, loss, probs)
    return model
"""
    assert main([str(config(text)), "--quiet"]) == 0
    assert [row["step"] for row in rows(data / "old_style")] == ["2"]


def test_class_weights_replace_those_of_the_loss(config, data):
    text = OWN.replace("target_is_sparse=True)\n    loss =", "target_is_sparse=True, class_weights=[5, 5])\n    loss =")
    model = load_config(config(text)).model()
    model["nll"].class_weights.set_value(np.array([9.0, 9.0], nm.config.floatX))
    assert load_config(config(text)).model()["nll"].class_weights.get_value().tolist() == [1, 3]


def test_class_weights_that_are_a_node_stay(config):
    text = OWN.replace(
        "target_is_sparse=True)\n    loss =",
        "target_is_sparse=True,\n        class_weights=ValueNode((2,), 'f', value=(1, 2)))\n    loss =",
    ).replace("Softmax, model_manager\n", "Softmax, ValueNode, model_manager\n")
    with pytest.raises(ArgumentError, match="given twice"):
        load_config(config(text)).model()
    trained = load_config(config(text.replace("class_weights = [", "CLASS_WEIGHTS = ["))).model()
    assert trained["nll"].class_weights.get_value().tolist() == [1, 2]
