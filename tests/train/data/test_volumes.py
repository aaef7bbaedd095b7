"""Volumes in arrays and files, in any axis order, with labels anywhere; and their errors."""

from __future__ import annotations

import pickle
import sys

import h5py
import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import (
    ArgumentError,
    FileError,
    GraphError,
    InputTypeError,
    MissingDependencyError,
    ShapeError,
    UnknownNameError,
)
from neuromancer.train.data import LabelledVolume, PatchSampler
from neuromancer.volumes.objects import open_array
from tests.train.data.factories import chain, classifier, positions

zarr = pytest.importorskip("zarr", reason="zarr 3 needs a younger NumPy than Theano")

NET = [((2, 3, 3), (1, 2, 2), "valid")]


def as_is(block):
    return block


def sampler(volumes, node=None, **kwargs):
    node = chain(NET, (6, 16, 16)) if node is None else node
    return PatchSampler(node, volumes, ignore=None, scale=as_is, **kwargs)


def agree(batch, frame):
    raw, labels = batch
    grid = np.ix_(*(frame.offsets[k] + frame.strides[k] * np.arange(frame.counts[k]) for k in frame.own))
    np.testing.assert_array_equal(raw[(slice(None), 0, *grid)], labels[:, 0])


@pytest.fixture
def files(tmp_path):
    raw = positions((12, 30, 30)).astype("float32")
    labels = positions((12, 30, 30))[2:-2, 5:-5, 5:-5]
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file.create_dataset("cube/raw", data=raw, chunks=(4, 10, 10), compression="gzip")
        file["cube/labels"] = labels
    group = zarr.open_group(str(tmp_path / "data.zarr"), mode="w")
    for name, array in (("raw", raw), ("labels", labels)):
        made = group.create_array(name, shape=array.shape, dtype=array.dtype, chunks=(4, 10, 10))
        made[:] = array
    np.save(tmp_path / "raw.npy", raw)
    np.save(tmp_path / "labels.npy", labels)
    return tmp_path, raw, labels


def test_missing_and_damaged_parts_are_never_patches(files):
    folder, raw, labels = files
    layout = h5py.VirtualLayout(raw.shape, raw.dtype)
    layout[:6] = h5py.VirtualSource(folder / "gone.h5", "raw", shape=raw.shape)[:6]
    with h5py.File(folder / "virtual.h5", "w") as file:
        file.create_virtual_dataset("raw", layout)
    with h5py.File(folder / "virtual.h5") as file:
        for given in (f"{folder}/virtual.h5", file["raw"]):
            with pytest.raises(FileError, match=r"gone\.h5: no such file"):
                sampler((given, labels))
    memory = zarr.create_array({}, shape=raw.shape, chunks=(4, 10, 10), dtype=raw.dtype)
    memory[:] = raw
    (folder / "data.zarr/raw/c/1/1/1").write_bytes(b"short")
    zarr.core.sync.sync(memory.store.set("c/1/1/1", zarr.core.buffer.cpu.Buffer.from_bytes(b"short")))
    for given in (f"{folder}/data.zarr/raw", memory):
        made = sampler((given, labels))
        with pytest.raises(FileError, match=r"a block cannot be read.*chunk c/1/1/1"):
            for k in range(20):
                made.batch(k)


def test_files_hold_the_same_as_arrays(files):
    folder, raw, labels = files
    reference = sampler((raw, labels)).batch(3)
    with h5py.File(folder / "data.h5") as file:
        volumes = {
            "hdf5": (f"{folder}/data.h5:cube/raw", f"{folder}/data.h5:cube/labels"),
            "open hdf5": (file["cube/raw"], file["cube/labels"]),
            "zarr": (f"{folder}/data.zarr:raw", f"{folder}/data.zarr:labels"),
            "open zarr": (zarr.open(f"{folder}/data.zarr/raw", mode="r"), labels),
            "npy": (folder / "raw.npy", str(folder / "labels.npy")),
            "memory map": (np.load(folder / "raw.npy", mmap_mode="r"), labels),
            "lists": (raw.tolist(), labels.tolist()),
        }
        for name, volume in volumes.items():
            made = sampler(tuple(volume))
            agree(made.batch(0), made.frame)
            again = pickle.loads(pickle.dumps(made))
            for maker in (made, again):
                for a, b in zip(maker.batch(3), reference, strict=True):
                    np.testing.assert_array_equal(a, b, err_msg=name)
        large = pickle.dumps(open_array(np.load(folder / "raw.npy", mmap_mode="r"), "raw"))
        assert len(large) < 1000


def test_without_zarr_installed(files, monkeypatch):
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(MissingDependencyError, match="pip install zarr"):
        sampler((f"{files[0]}/data.zarr:raw", files[2]))


def test_a_single_dataset_needs_no_name(tmp_path):
    with h5py.File(tmp_path / "one.h5", "w") as file:
        file["only"] = np.arange(4)
    assert open_array(tmp_path / "one.h5", "raw")[1:3].tolist() == [1, 2]
    zarr.save(str(tmp_path / "one.zarr"), np.arange(4))
    assert open_array(tmp_path / "one.zarr", "raw")[1:3].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("path", "error", "says"),
    [
        ("nowhere.h5:raw", FileError, "no such file"),
        ("data.h5:cube/row", UnknownNameError, "nearest valid: cube/raw"),
        ("data.h5", UnknownNameError, "several arrays"),
        ("data.zarr:labls", UnknownNameError, "nearest valid: labels"),
        ("data.png", FileError, "unknown file format"),
        ("broken.h5:raw", FileError, "cannot be read"),
        ("broken.npy", FileError, "cannot be read"),
    ],
)
def test_bad_paths(files, path, error, says):
    folder, raw, _ = files
    for name in ("broken.h5", "broken.npy"):
        (folder / name).write_bytes(b"no data")
    with pytest.raises(error, match=says):
        sampler([(raw, f"{folder}/{path}")])


@pytest.mark.parametrize(("tags", "axes"), [("z,x,y", None), ("z,x,y", "zyx"), ("z,y,x", "xyz"), ("x,y,z", "zxy")])
def test_axis_orders(tags, axes):
    own = tags.replace(",", "")
    size = {"z": 6, "y": 16, "x": 18}
    full = {"z": 11, "y": 30, "x": 34}
    kernel = {"z": 2, "y": 3, "x": 3}
    inp = nm.Input((2, 1, *(size[t] for t in own)), f"b,f,{tags}", print_repr=False)
    node = nm.Conv(inp, 1, tuple(kernel[t] for t in own), print_repr=False)
    order = axes or own
    raw = positions([full[t] for t in order])
    offset = [{"z": 1, "y": 2, "x": 3}[t] for t in order]
    labels = raw[tuple(slice(o, None) for o in offset)]
    made = sampler([LabelledVolume(raw, labels, axes=axes, label_offset=offset)], node)
    raws, _ = made.batch(0)
    assert raws.shape == (2, 1, *(size[t] for t in own))
    agree(made.batch(0), made.frame)
    # A step along an axis of the network is one along the same axis of the volume.
    step = positions([2 if t == own[0] else 1 for t in order]).ravel()[1]
    assert raws[0, 0, 1, 0, 0] - raws[0, 0, 0, 0, 0] == step


def test_a_2d_network_takes_images_and_stacks():
    node = chain([((3, 2), (2, 1), "valid")], (14, 9), "b,f,y,x")
    stack = positions((7, 30, 20))
    volumes = [LabelledVolume(stack[None], stack), LabelledVolume(stack, stack[:, 4:-4, 1:-1], axes="zyx")]
    volumes += [(positions((30, 20)), positions((30, 20))), (stack[:1], stack[0])]
    for volume in volumes:
        made = sampler([volume], node)
        assert [a.shape for a in made.batch(0)] == [(2, 1, 14, 9), (2, 1, 6, 8)]
        agree(made.batch(0), made.frame)
    sections = {
        int(label) // 64**2 for step in range(20) for label in sampler(volumes[:1], node).batch(step)[1][:, 0, 0, 0]
    }
    assert sections == set(range(7))


def test_channels_of_raw_and_labels():
    inp = nm.Input((1, 2, 8, 8), "b,f,y,x", print_repr=False)
    node = nm.Conv(inp, 2, (1, 1), print_repr=False)
    raw = np.random.default_rng(0).random((2, 20, 20))
    raws, labels = PatchSampler(
        node, (raw, np.stack([raw[0], raw[1]])), target=nm.Input_like(node, print_repr=False)
    ).batch(0)
    np.testing.assert_array_equal(raws, labels)


def test_integers_are_scaled_as_in_dense_prediction():
    node = chain(NET, (6, 16, 16))
    for dtype, scale in (("uint8", 255), ("uint16", 65535), ("float32", 1)):
        raw = np.full((8, 20, 20), 200, dtype)
        assert np.allclose(PatchSampler(node, (raw, raw.astype("int16"))).batch(0)[0], 200 / scale)
    assert np.allclose(PatchSampler(node, (raw, raw.astype("int16")), scale=(100, 50)).batch(0)[0], 2)
    with pytest.raises(InputTypeError, match=r"volume 0.*natural scale"):
        PatchSampler(node, (raw.astype("int32") * 1000, raw.astype("int16"))).batch(0)
    with pytest.raises(ShapeError, match="scale changed the shape"):
        PatchSampler(node, (raw, raw.astype("int16")), scale=lambda r: r[0]).batch(0)
    for bad in ((1,), (0, 0), "x", (0, np.nan)):
        with pytest.raises(ArgumentError, match="not a scaling"):
            PatchSampler(node, (raw, raw), scale=bad)


def test_every_labelled_voxel_can_be_a_target_with_mirrored_raw():
    node = chain([((1, 3, 4), None, "valid")], (1, 6, 7))
    labels = np.arange(4 * 8 * 9).reshape(4, 8, 9)
    seen, inner = set(), set()
    made, plain = sampler((labels, labels), node, pad_raw=True), sampler((labels, labels), node)
    for step in range(400):
        seen.update(made.batch(step)[1].ravel().tolist())
        inner.update(plain.batch(step)[1].ravel().tolist())
    assert seen == set(labels.ravel().tolist()) and len(inner) == 4 * 6 * 6
    assert made.n_positions == [4 * (8 - 4 + 1) * (9 - 4 + 1)]


def zeros(*sizes, dtype="int16"):
    return np.zeros(sizes, dtype)


CUBE = zeros(8, 20, 20)


@pytest.mark.parametrize(
    ("volumes", "error", "says"),
    [
        ([], InputTypeError, "no volumes"),
        (3, InputTypeError, "no volumes"),
        ([zeros(3)], InputTypeError, "volume 0.*not a pair"),
        ((CUBE, zeros(0, 20, 20)), ShapeError, "labels is empty"),
        ((zeros(8, 0, 20), CUBE), ShapeError, "raw is empty"),
        ((zeros(20, 20), zeros(20, 20)), ShapeError, "raw data has the wrong number of axes"),
        ((CUBE, zeros(20, 20)), ShapeError, "labels has the wrong number of axes"),
        ((zeros(2, 8, 20, 20), CUBE), ShapeError, "wrong number of channels"),
        ((CUBE, zeros(9, 20, 20)), ShapeError, "labels are larger"),
        ((CUBE, zeros(7, 20, 20)), ShapeError, r"odd number.*label_offset=\(0, 0, 0\) or \(1, 0, 0\)"),
        (LabelledVolume(CUBE, zeros(6, 20, 20), label_offset=(3, 0, 0)), ShapeError, r"nearest valid: \(2, 0, 0\)"),
        (LabelledVolume(CUBE, zeros(6, 20, 20), label_offset=(3, 0)), ShapeError, "not an offset"),
        (LabelledVolume(CUBE, CUBE, axes="zyq"), ArgumentError, "nearest valid: zyx"),
        (LabelledVolume(CUBE, CUBE, mask=zeros(7, 20, 20)), ShapeError, "mask must be as large"),
        (LabelledVolume(CUBE, CUBE, weight=-1), ArgumentError, "weight"),
        (LabelledVolume(CUBE, CUBE, weight=0), ArgumentError, "all weights are 0"),
        ([(CUBE, CUBE), LabelledVolume(CUBE, CUBE, weight=1)], ArgumentError, "some volumes"),
        ((np.array(["a"]), CUBE), InputTypeError, "numeric dtype"),
        (([[1], [2, 3]], CUBE), InputTypeError, "not an array"),
        ((CUBE, np.full((8, 20, 20), 0.5)), InputTypeError, "floats"),
        ((zeros(5, 20, 20), zeros(5, 20, 20)), ShapeError, r"volume 0.*no position.*pad_raw=True.*\(6, 20, 20\)"),
        ((CUBE, zeros(4, 20, 20)), ShapeError, r"too few labels.*labels of at least \(5, 13, 13\)"),
    ],
)  # fmt: skip
def test_bad_volumes(volumes, error, says):
    model = classifier(chain(NET, (6, 16, 16)))
    with pytest.raises(error, match=says):
        PatchSampler(model, volumes)


@pytest.mark.parametrize(
    ("kwargs", "error", "says"),
    [
        (dict(batch_size=3), ShapeError, "batch size"),
        (dict(patch_size=(6, 16, 17)), ShapeError, "another patch size"),
        (dict(seed=-1), ArgumentError, "seed"),
        (dict(augment=[1]), InputTypeError, "augmentations"),
        (dict(augment=3), InputTypeError, "augmentations"),
        (dict(target="targett"), UnknownNameError, "target"),
        (dict(target="probs"), InputTypeError, "must be a source"),
        (dict(balance=1.5), ArgumentError, "not a balance"),
        (dict(balance={0: 0.7, 1: 0.6}), ArgumentError, "not a balance"),
        (dict(balance={"x": 0.7}), ArgumentError, "not a balance"),
        (dict(balance={}), ArgumentError, "not a balance"),
        (dict(balance=0.5, balance_voxels=0), ArgumentError, "balance_voxels"),
        (dict(balance={1: 0.5}), ArgumentError, r"no voxel of class 1.*classes \[0\]"),
    ],
)
def test_bad_arguments(kwargs, error, says):
    model = classifier(chain(NET, (6, 16, 16)))
    with pytest.raises(error, match=says):
        PatchSampler(model, (zeros(8, 20, 20), zeros(8, 20, 20)), **kwargs)
    with pytest.raises(ArgumentError, match="not a step"):
        PatchSampler(model, (zeros(8, 20, 20), zeros(8, 20, 20))).batch(-1)


def test_open_sizes():
    node = chain(NET, (None, None, None), batch=None)
    volume = (zeros(8, 20, 20), zeros(8, 20, 20))
    with pytest.raises(ShapeError, match="size of the patches is unknown"):
        PatchSampler(node, volume)
    with pytest.raises(ShapeError, match="nearest valid: z: 6; y: 16; x: 14 or 16"):
        PatchSampler(node, volume, patch_size=(6, 16, 15))
    with pytest.raises(ArgumentError, match="batch size is open"):
        PatchSampler(node, volume, patch_size=(6, 16, 16))
    assert PatchSampler(node, volume, patch_size=(6, 16, 16), batch_size=3).batch(0)[0].shape == (3, 1, 6, 16, 16)


def test_networks_whose_voxels_are_unknown():
    inp = nm.Input((1, 1, 8, 8), "b,f,y,x", print_repr=False)
    volume = (zeros(20, 20), zeros(20, 20))
    with pytest.raises(GraphError, match="finer than the raw data"):
        PatchSampler(nm.UpConv(inp, 1, (2, 2), print_repr=False), volume)
    with pytest.raises(GraphError, match="spatial axes"):
        PatchSampler(nm.Perceptron(inp, 2, flatten=True, print_repr=False), volume)
    with pytest.raises(InputTypeError, match="no node predicts"):
        PatchSampler(nm.model_manager.current, volume)
    other = nm.Input((1, 1, 8, 8), "b,f,y,x", print_repr=False)
    with pytest.raises(GraphError, match="depends on the image alone"):
        PatchSampler(nm.Add(inp, other, print_repr=False), volume)
    wide = nm.Input((1, 1, 8, 8), "b,f,y,x", print_repr=False)
    fragments = nm.Conv(wide, 1, (2, 2), (2, 2), mfp=True, print_repr=False)
    with pytest.raises(GraphError, match="FragmentsToDense"):
        PatchSampler(fragments, volume)
    whole = positions((20, 20))
    made = sampler((whole, whole), nm.FragmentsToDense(fragments, print_repr=False))
    agree(made.batch(0), made.frame)
