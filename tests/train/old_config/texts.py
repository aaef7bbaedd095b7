"""Configuration files of the original library, and what tests do with them."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from neuromancer.errors import ArgumentError
from neuromancer.train.config_file import load_config

MODEL = """
def create_model():
    from neuromancer import AggregateLoss, Conv, Errors, Input, Input_like, MultinoulliNLL, Softmax, model_manager

    inp = Input((None, 1, 5, 14, 14), 'b,f,z,x,y', name='raw')
    out = Conv(inp, 4, (1, 3, 3), (1, 2, 2))
    out = Conv(out, 2, (3, 1, 1), activation_func='lin')
    probs = Softmax(out)
    target = Input_like(probs, override_f=1, name='target')
    loss_pix = MultinoulliNLL(probs, target, target_is_sparse=True)
    loss = AggregateLoss(loss_pix, name='loss')
    errors = Errors(probs, target, target_is_sparse=True)
    model = model_manager.getmodel()
    model.designate_nodes(input_node=inp, target_node=target, loss_node=loss, prediction_node=probs,
                          prediction_ext=[loss, errors, probs])
    return model
"""

CUBES = (
    """
import os
import neuromancer as nm

T = nm.T
save_path = SAVE_PATH
save_name = "cubes"
preview_data_path = os.path.join(DATA_PATH, "raw_1.h5")
preview_kwargs = dict(export_class=1, max_z_pred=3)
initial_prev_h = 0.5
prev_save_h = 1.0
data_class = 'BatchCreatorImage'
background_processes = 2
data_init_kwargs = {
    'd_path': DATA_PATH,
    'l_path': DATA_PATH,
    'd_files': [('raw_%i.h5' % i, 'raw') for i in range(2)],
    'l_files': [('lab_%i.h5' % i, 'lab') for i in range(2)],
    'aniso_factor': 2,
    'valid_cubes': [1],
    'cube_prios': [1],
    'h5stream': True,
    'target_discrete_ix': [0],
}
data_batch_args = {
    'grey_augment_channels': [0],
    'warp': 0.5,
    'warp_args': {'sample_aniso': True, 'perspective': False, 'lock_z': False},
    'ignore_thresh': False,
}
n_steps = 12
max_runtime = 24 * 3600
history_freq = 6
monitor_batch_size = 5
optimiser = 'Adam'
optimiser_params = {'lr': 0.01, 'mom': 0.9, 'beta2': 0.999, 'wd': 0.5e-4}
schedules = {'lr': {'dec': 0.995}}
batch_size = 2
"""
    + MODEL
)

OWN = (
    """
from neuromancer import model_manager
import numpy as np

save_path = SAVE_PATH
save_name = "own"


class Squares(object):
    def __init__(self, input_node, target_node, noise=0.1):
        self.shape, self.out = input_node.shape.spatial_shape, target_node.shape.spatial_shape
        self.rng = np.random.RandomState(int(1e6 * np.random.rand()))
        self.noise = noise

    def getbatch(self, batch_size, source='train', bright=1.0):
        assert source in ('train', 'valid')
        labels = self.rng.randint(0, 2, (batch_size, 1, 1, 1, 1))
        raw = bright * labels + self.noise * np.random.randn(batch_size, 1, *self.shape)
        target = np.broadcast_to(labels, (batch_size, 1, *self.out))
        return raw.astype(np.float32), target.astype(np.float32)


data_class = Squares
data_init_kwargs = {'noise': 0.2}
data_batch_args = {'bright': 0.8}
background_processes = True
n_steps = 10
history_freq = 5
monitor_batch_size = 4
optimiser = 'SGD'
optimiser_params = {'lr': 0.01, 'mom': 0.9, 'beta2': 0.99}
lr_schedule = {'dec': 0.5}
schedules = {'mom': {'updates': [(4, 0.8)]}}
batch_size = 2
print_status = False
plot_on = False
device = 0
param_save_h = 0.5
param_save_it = 5
class_weights = [1.0, 3.0]
"""
    + MODEL
)

FLAT = """
def create_model():
    import neuromancer

    inp = neuromancer.Input((None, 1, 14, 14), 'b,f,x,y', name='raw')
    probs = neuromancer.Softmax(neuromancer.Conv(inp, 2, (3, 3), (2, 2), activation_func='lin'))
    target = neuromancer.Input_like(probs, override_f=1, name='target')
    loss = neuromancer.AggregateLoss(neuromancer.MultinoulliNLL(probs, target, target_is_sparse=True), name='loss')
    model = neuromancer.model_manager.getmodel()
    model.designate_nodes(inp, target, loss, probs)
    return model
"""


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "history.csv").open() as file:
        return list(csv.DictReader(file))


def problems(path: Path) -> list[str]:
    """Return the notes of the one error about a file."""
    with pytest.raises(ArgumentError) as caught:
        load_config(path)
    return caught.value.__notes__


def changed(text: str, **changes: str) -> str:
    """Append assignments to a configuration, in the order given."""
    return text + "\n" + "\n".join(f"{name} = {value}" for name, value in changes.items()) + "\n"
