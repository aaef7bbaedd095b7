"""Data of configurations of the original library."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from neuromancer.commands.train import main
from neuromancer.errors import ArgumentError
from neuromancer.train.config_file import load_config
from neuromancer.train.data import GreyValues
from neuromancer.train.old_config.cubes import OnChannels
from tests.train.old_config.texts import CUBES, FLAT, MODEL, OWN, changed, problems


def test_batches_of_an_own_class_depend_on_the_step_alone(config, data):
    configured = load_config(config(OWN))
    trainer = configured.trainer(data / "x", resume=False)
    assert trainer.loading["workers"] == 1 and "beta2" in " ".join(configured.remarks)
    source, validation = trainer.source, trainer.validation.source
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    third = source.batch(3)
    source.batch(0)
    assert all(np.array_equal(a, b) for a, b in zip(third, source.batch(3), strict=True))
    assert not np.array_equal(third[0], source.batch(4)[0])
    assert not np.array_equal(third[0], validation.batch(3)[0])
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_cubes_in_memory_with_another_axis_order(config, data):
    with h5py.File(data / "raw_0.h5") as raw, h5py.File(data / "lab_0.h5") as labels:
        arrays = raw["raw"][()], labels["lab"][()]
    with h5py.File(data / "turned.h5", "w") as file:
        for name, array in zip(("raw", "lab"), arrays, strict=True):
            file[name] = array.transpose(1, 2, 0)  # (x, y, z)
    text = changed(CUBES, data_init_kwargs="dict(data_init_kwargs, valid_cubes=[], h5stream=False)")
    text = changed(text, data_init_kwargs="dict(data_init_kwargs, cube_prios=None, border_mode='mirror')")
    text = changed(text, data_batch_args="{}", monitor_batch_size="None")
    plain = text + "data_init_kwargs.update(d_files=[('raw_0.h5', 'raw')], l_files=[('lab_0.h5', 'lab')])\n"
    turned = (
        text + "data_init_kwargs.update(d_files=[('turned.h5', 'raw')], l_files=[('turned.h5', 'lab')], zxy=False)\n"
    )
    batches = []
    for source in (plain, turned):
        configured = load_config(config(source))
        model = configured.model()
        sampler, validation = configured.data(model)
        assert validation is None and sampler.pad_raw
        assert isinstance(sampler.volumes[0].raw.array, np.ndarray)
        batches.append(sampler.batch(3))
    assert all(np.array_equal(a, b) for a, b in zip(*batches, strict=True))


def test_dense_targets_need_a_dense_network(config, data):
    configured = load_config(config(changed(CUBES, data_batch_args="{'force_dense': True}")))
    with pytest.raises(ArgumentError, match=r"force_dense.*False"):
        configured.trainer(data / "x", resume=False)
    configured = load_config(
        config(changed(CUBES, data_batch_args="{'force_dense': True}").replace("(1, 2, 2)", "None"))
    )
    assert configured.trainer(data / "x", resume=False).source.batch(0)[1].shape == (2, 1, 3, 12, 12)


def test_settings_with_new_data(config, data):
    text = """
from tests.train import nets

max_runtime = 600
n_steps = 4
history_freq = 2
monitor_batch_size = 6
data_class = None


def create_model():
    return nets.classifier("mixed")


def create_data(model):
    return nets.Squares(), nets.Squares(1)
"""
    trainer = load_config(path := config(text)).trainer(data / "x", resume=False)
    assert trainer.validation.n_batches == 3 and trainer.minutes == 10
    assert main([str(path), "--quiet", "--overwrite"]) == 0
    twice = text.replace("data_class = None", "data_class = nets.Squares")
    assert any("create_data()" in line for line in problems(config(twice)))


def test_no_validation_where_there_is_none(config, data):
    text = (
        changed(OWN, class_weights="None")
        .replace(", source='train'", "")
        .replace("assert source", "assert 1 or source")
    )
    configured = load_config(config(text))
    trainer = configured.trainer(data / "x", resume=False)
    assert trainer.validation is None and any("no validation data" in line for line in configured.remarks)
    unwanted = load_config(config(changed(OWN, validation="None")))
    assert unwanted.trainer(data / "x", resume=False).validation is None


@pytest.mark.parametrize("zxy", [True, False])
def test_a_flat_network_is_trained_on_slices(config, data, zxy):
    if not zxy:
        for path, key in ((data / "raw_0.h5", "raw"), (data / "lab_0.h5", "lab")):
            with h5py.File(path, "a") as file:
                array = file[key][()]
                del file[key]
                file[key] = array.transpose(1, 2, 0)
    text = changed(CUBES.replace(MODEL, FLAT), preview_data_path="None")
    text += f"data_init_kwargs.update(valid_cubes=[], cube_prios=None, zxy={zxy})\n"
    text += "data_init_kwargs['d_files'], data_init_kwargs['l_files'] = [('raw_0.h5', 'raw')], [('lab_0.h5', 'lab')]\n"
    configured = load_config(config(text))
    sampler, _ = configured.data(configured.model())
    assert sampler.volumes[0].sizes == (16, 32, 32) and sampler.batch(0)[0].shape == (2, 1, 14, 14)


def test_grey_values_change_in_channels_that_exist(config, data):
    configured = load_config(config(changed(CUBES, data_batch_args="{'grey_augment_channels': [1]}")))
    with pytest.raises(ArgumentError, match=r"grey_augment_channels.*0 to 0"):
        configured.trainer(data / "x", resume=False)
    raw = np.random.default_rng(0).random((3, 4, 4)).astype("float32")
    result, labels = OnChannels(GreyValues(), (0, 2))(raw, None, np.random.default_rng(1))
    assert np.array_equal(result[1], raw[1]) and labels is None
    assert not np.isclose(result[[0, 2]], raw[[0, 2]]).all(axis=(1, 2)).any()
