"""Class shares, volumes drawn by size or weight, and bounded reads of large data."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import ArgumentError
from neuromancer.train.data import Flip, LabelledVolume, PatchSampler, Warp
from neuromancer.train.data import balance as balance_module
from tests.train.data.factories import chain, classifier

NET = [((2, 3), (2, 1), "valid")]


def model(n_class=4):
    return classifier(chain(NET, (9, 10), "b,f,y,x", batch=20), n_class=n_class)


def world():
    labels = np.zeros((80, 90), "int16")
    labels[:, 30:33], labels[:, 60:61] = 1, 2
    labels[40, 80] = 3
    return labels


def middles(sampler, steps):
    return np.concatenate([sampler.batch(step)[1][:, 0, 2, 4] for step in range(steps)])


@pytest.mark.parametrize("augment", [(), (Flip(),), (Warp(rotation=20, elastic=1),)])
def test_shares_are_those_asked_for(augment):
    labels = world()
    shares = {0: 0.1, 1: 0.2, 2: 0.3, 3: 0.3}
    found = middles(PatchSampler(model(), (labels, labels), balance=shares, augment=augment), 25)
    anywhere = 0.1 * np.bincount(labels.ravel(), minlength=4) / labels.size
    for c, share in shares.items():
        assert abs((found == c).mean() - share - anywhere[c]) < 0.07


def test_one_share_is_for_the_foreground():
    labels = world()
    found = middles(PatchSampler(model(), (labels, labels), balance=0.8), 50)
    assert abs((found > 0).mean() - (0.8 + 0.2 * (labels > 0).mean())) < 0.05
    # All foreground voxels are equally likely.
    assert abs((found == 1).sum() / (found > 0).sum() - 3 / 4) < 0.05


def test_a_share_of_one_is_always_there():
    labels = world()
    assert (middles(PatchSampler(model(), (labels, labels), balance={3: 1.0}), 5) == 3).all()


def test_volumes_are_drawn_by_positions_or_by_weight():
    small, large = np.zeros((20, 20), "int16"), np.ones((29, 38), "int16")
    sampler = PatchSampler(model(), [(small, small), (large, large)])
    assert sampler.n_positions == [12 * 11, 21 * 29]
    expected = 21 * 29 / (12 * 11 + 21 * 29)
    assert abs(middles(sampler, 30).mean() - expected) < 0.06
    weighted = [LabelledVolume(small, small, weight=3), LabelledVolume(large, large, weight=1)]
    assert abs(middles(PatchSampler(model(), weighted), 30).mean() - 0.25) < 0.06


def test_index_of_large_data_is_made_from_a_part(monkeypatch):
    monkeypatch.setattr(balance_module, "BLOCK_VOXELS", 100)
    labels = world()
    found = middles(PatchSampler(model(), (labels, labels), balance={1: 0.5}, balance_voxels=3000), 20)
    assert abs((found == 1).mean() - 0.5) < 0.1
    with pytest.raises(ArgumentError, match=r"class 3.*larger balance_voxels"):
        PatchSampler(model(), (labels, labels), balance={3: 0.5}, balance_voxels=300)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint32", "float32"])
def test_labels_of_any_dtype(dtype):
    labels = (world() > 0).astype(dtype)
    parent = chain(NET, (9, 10), "b,f,y,x", batch=20)
    target = nm.Input_like(parent, "float32", name="target", print_repr=False)
    sampler = PatchSampler(parent, (world(), labels), target=target, balance={1: 1.0})
    assert (middles(sampler, 3) == 1).all() and set(np.unique(sampler.batch(0)[1])) == {0, 1}


def test_objects_with_large_numbers():
    labels = np.where(world() > 0, 10**9, 5)
    parent = chain(NET, (9, 10), "b,f,y,x", batch=20)
    assert (middles(PatchSampler(parent, (world(), labels), balance={10**9: 1.0}), 3) == 10**9).all()


class Counted:
    """Array-like that counts the bytes that are read."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.read = array, array.shape, array.dtype, 0

    def __getitem__(self, key):
        block = self.array[key]
        self.read += block.nbytes
        return block


def test_little_of_a_huge_file_is_read(tmp_path):
    with h5py.File(tmp_path / "huge.h5", "w") as file:
        sizes = 1 << 17, 1 << 17  # 16 GiB of raw data and 32 GiB of labels, of which almost nothing is stored
        raw = file.create_dataset("raw", sizes, "uint8", chunks=(256, 256))
        labels = file.create_dataset("labels", sizes, "int16", chunks=(256, 256))
        labels[5000:5100, 7000:7100] = 1
        counted = Counted(raw), Counted(labels)
        sampler = PatchSampler(model(), [counted], balance={0: 0.5}, balance_voxels=1 << 20)
        assert counted[0].read == 0 and counted[1].read <= 2 * (1 << 20) + 2 * (1 << 18)
        counted[1].read = 0
        for step in range(3):
            sampler.batch(step)
        assert counted[0].read == 3 * 20 * 90 and counted[1].read <= 3 * 20 * 90 * 2
