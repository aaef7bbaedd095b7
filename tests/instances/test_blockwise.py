"""Labels of blocks agree with those of the whole volume, whatever the blocks, the executor and restarts."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from neuromancer.affinities import neighbourhood, segmentation_from_affinities
from neuromancer.errors import ArgumentError, FileError, InputTypeError, PredictionError, ShapeError
from neuromancer.instances import label_blocks
from neuromancer.instances.records import Records
from neuromancer.volumes import create_sink, open_source
from tests.instances.segments import components, fragile

BLOCKS: dict[str, Any] = {"block_shape": (5, 8, 7), "halo": (1, 2, 1), "min_iou": 0}


def same_up_to_names(a: np.ndarray, b: np.ndarray) -> bool:
    """Return whether two segmentations have the same objects and the same background."""
    pairs = np.unique(np.stack([a.ravel(), b.ravel()]).astype(int), axis=1)
    one_to_one = all(len(np.unique(side)) == pairs.shape[1] for side in pairs)
    return one_to_one and all((side[0] == 0) == (side[1] == 0) for side in pairs.T)


@pytest.fixture(scope="module")
def mask() -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(3).normal(size=(9, 16, 14)), 0.8)
    return noise > 0.25


@pytest.fixture
def expected(mask: np.ndarray, tmp_path: Path) -> np.ndarray:
    label_blocks(mask, components, tmp_path / "expected.npy", **BLOCKS)
    labels = np.load(tmp_path / "expected.npy")
    assert labels.dtype == np.uint64 and labels.max() > 5
    assert same_up_to_names(labels, components(mask[None]))
    return labels


@st.composite
def volumes(draw) -> dict[str, Any]:
    ndim = draw(st.integers(2, 3))
    shape = [draw(st.integers(1, 14 if ndim == 2 else 8)) for _ in range(ndim)]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return {
        "image": rng.random(shape) < draw(st.sampled_from([0.2, 0.35, 0.5, 0.65])),
        "block_shape": [draw(st.integers(4, 9)) for _ in range(ndim)],
        "halo": [draw(st.integers(1, 3)) for _ in range(ndim)],
        "spatial": "zyx"[-ndim:],
        "connectivity": draw(st.integers(1, ndim)),
    }


@settings(max_examples=30, deadline=None)
@given(volumes())
def test_connected_components_are_those_of_the_whole_volume(volume: dict[str, Any]):
    segment = partial(components, connectivity=volume.pop("connectivity"))
    with TemporaryDirectory() as folder:
        count = label_blocks(**volume, segment=segment, out=f"{folder}/out.npy", min_iou=0)
        labels = np.load(f"{folder}/out.npy")
    assert set(np.unique(labels)) - {0} == set(range(1, count + 1))
    assert same_up_to_names(labels, segment(volume["image"][None]))


def test_affinities_of_neighbours(tmp_path: Path):
    affinities = np.random.default_rng(1).random((3, 6, 9, 10)).astype("float32")
    segment = partial(segmentation_from_affinities, nhood=neighbourhood(3), threshold=0.7, min_size=1)
    out = tmp_path / "out.npy"
    label_blocks(affinities, segment, out, block_shape=(6, 5, 4), halo=(1, 1, 1), min_iou=0, min_size=2)
    assert same_up_to_names(np.load(out), segmentation_from_affinities(affinities, neighbourhood(3), 0.7))


def test_objects_smaller_than_a_halo_are_those_of_any_algorithm(tmp_path: Path):
    """Seeds and a watershed: where a block sees all that matters, it decides as the whole volume."""
    skimage = pytest.importorskip("skimage.segmentation")
    centres = np.zeros((20, 40, 40), bool)
    centres[5::10, 4::8, 4::8] = True
    distance = ndimage.distance_transform_edt(~centres)

    def segment(block: np.ndarray) -> np.ndarray:
        seeds = ndimage.label(block[0] == 0)[0]
        return skimage.watershed(block[0], seeds, mask=block[0] < 3)

    out = tmp_path / "out.npy"
    count = label_blocks(distance, segment, out, block_shape=(10, 18, 20), halo=(6, 6, 6))
    assert count == centres.sum()
    assert same_up_to_names(np.load(out), segment(distance[None]))


def test_threads_give_the_same_bytes(mask: np.ndarray, expected: np.ndarray, tmp_path: Path):
    pytest.importorskip("zarr")
    with ThreadPoolExecutor(3) as pool:
        count = label_blocks(mask, components, tmp_path / "out.zarr", executor=pool, **BLOCKS)
    source = open_source(tmp_path / "out.zarr")
    assert source.chunks == (1, *BLOCKS["block_shape"]) and count == expected.max()
    assert (source[:, :, :, :][0] == expected).all()


def test_processes_give_the_same_bytes_also_after_one_is_lost(mask: np.ndarray, expected: np.ndarray, tmp_path: Path):
    pytest.importorskip("zarr")
    np.save(tmp_path / "mask.npy", mask)
    (tmp_path / "flag").touch()
    arguments = (tmp_path / "mask.npy", partial(fragile, flag=tmp_path / "flag"), tmp_path / "out.zarr")
    with (
        ProcessPoolExecutor(1, get_context("spawn")) as pool,
        pytest.raises(PredictionError, match=r"worker process has ended.*resume=True"),
    ):
        label_blocks(*arguments, executor=pool, **BLOCKS)
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        label_blocks(*arguments, executor=pool, resume=True, **BLOCKS)
    assert (open_source(tmp_path / "out.zarr")[:, :, :, :][0] == expected).all()


def test_dask_gives_the_same_bytes(mask: np.ndarray, expected: np.ndarray, tmp_path: Path):
    distributed = pytest.importorskip("distributed")
    np.save(tmp_path / "mask.npy", mask)
    with distributed.Client(
        processes=False, n_workers=1, threads_per_worker=2, dashboard_address="127.0.0.1:0"
    ) as client:
        label_blocks(tmp_path / "mask.npy", components, tmp_path / "out.npy", executor=client, **BLOCKS)
    assert (np.load(tmp_path / "out.npy") == expected).all()


def test_hdf5_is_written_by_one_process(mask: np.ndarray, expected: np.ndarray, tmp_path: Path):
    with ThreadPoolExecutor(3) as pool:
        label_blocks(mask, components, tmp_path / "out.h5:/a/labels", executor=pool, **BLOCKS)
    assert (open_source(tmp_path / "out.h5:/a/labels")[:, :, :, :][0] == expected).all()
    assert (tmp_path / "out.h5.a.labels.labelling").is_dir()


def test_only_missing_blocks_are_segmented_after_a_restart(mask, expected, tmp_path: Path, monkeypatch):
    """The run is stopped before every single record that it makes, and continued."""
    out, calls, left = tmp_path / "out.npy", [], [0]
    save = Records.save

    def limited(self: Records, name: str, **arrays: np.ndarray) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        save(self, name, **arrays)

    def segment(block: np.ndarray) -> np.ndarray:
        calls.append(block.shape)
        return components(block)

    monkeypatch.setattr(Records, "save", limited)
    runs = 0
    while True:
        left[0] = 3
        try:
            count = label_blocks(mask, segment, out, resume=True, **BLOCKS)
            break
        except KeyboardInterrupt:
            runs += 1
    assert runs == 5  # 8 blocks are segmented and written
    assert len(calls) == 8 + 2  # in 2 runs, a block was segmented and not recorded
    assert count == expected.max() and (np.load(out) == expected).all()
    assert [p.name for p in (tmp_path / "out.npy.labelling").iterdir()] == ["run.json"]

    seen = len(calls)
    assert label_blocks(mask, segment, out, resume=True, **BLOCKS) == count and len(calls) == seen


def test_no_more_than_a_block_with_its_halo_is_read(tmp_path: Path):
    mask, sizes = np.zeros((40, 40, 40), bool), set()

    class Watched:
        shape, dtype = mask.shape, mask.dtype

        def __getitem__(self, key: Any) -> np.ndarray:
            sizes.add(mask[key].shape)
            return mask[key]

    options = {"block_shape": (20, 20, 20), "halo": (1, 2, 3)}
    assert label_blocks(Watched(), components, tmp_path / "out.npy", **options) == 0
    samples = {(16, 16, 16)}  # of the fingerprint
    assert sizes - samples == {(21, 22, 23)}


def test_all_channels_and_the_place_of_the_image(tmp_path: Path):
    pytest.importorskip("zarr")
    image = create_sink(
        tmp_path / "image.h5:/a", (2, 4, 6, 8), "float32", voxel_size=(4, 2, 2), unit="nm", offset=(8, 0, 2)
    )
    image[:, :, :, :] = np.ones((2, 4, 6, 8), "float32")
    image.close()

    def segment(block: np.ndarray) -> np.ndarray:
        return ndimage.label(block.sum(axis=0) == 2)[0]

    label_blocks(tmp_path / "image.h5:/a", segment, tmp_path / "out.zarr", block_shape=(4, 4, 4), halo=(0, 1, 1))
    labels = open_source(tmp_path / "out.zarr")
    assert (labels[:, :, :, :] == 1).all()
    assert (labels.voxel_size, labels.unit, labels.offset) == ((4, 2, 2), "nanometer", (8, 0, 2))


def test_labels_may_have_any_values(mask: np.ndarray, expected: np.ndarray, tmp_path: Path):
    def segment(block: np.ndarray) -> np.ndarray:
        return components(block).astype(np.uint64) * 10**12

    label_blocks(mask, segment, tmp_path / "out.npy", **BLOCKS)
    assert (np.load(tmp_path / "out.npy") == expected).all()


def test_small_objects_become_background(mask: np.ndarray, expected: np.ndarray, tmp_path: Path):
    label_blocks(mask, components, tmp_path / "out.npy", min_size=20, **BLOCKS)
    sizes = np.bincount(expected.ravel().astype(int))
    assert ((np.load(tmp_path / "out.npy") > 0) == (expected > 0) & (sizes[expected.astype(int)] >= 20)).all()


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"block_shape": (4, 5)}, ArgumentError, "block_shape.*3 integers"),
        ({"block_shape": 4}, ArgumentError, "block_shape.*3 integers"),
        ({"halo": (1, 0, 1)}, ArgumentError, r"nearest valid: \(1, 1, 1\)"),
        ({"halo": (1, 1.5, 1)}, ArgumentError, "halo"),
        ({"min_iou": 1}, ArgumentError, "0 <= min_iou < 1"),
        ({"min_size": 0}, ArgumentError, "1 or more"),
        ({"segment": 3}, InputTypeError, "a callable"),
        ({"executor": 3}, ArgumentError, "Executor"),
        ({"out": np.zeros((9, 16, 14))}, InputTypeError, "is not a path"),
        ({"out": "out.nii.gz"}, ArgumentError, "out.nii.gz; expected an uncompressed file"),
    ],
)
def test_bad_arguments_leave_nothing(changed, error, message, mask, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = {"segment": components, "out": tmp_path / "out.npy", **BLOCKS, **changed}
    with pytest.raises(error, match=message):
        label_blocks(mask, **arguments)
    assert not list(tmp_path.iterdir())


def test_a_remote_output_needs_a_local_folder(mask: np.ndarray):
    pytest.importorskip("fsspec")
    pytest.importorskip("zarr")
    with pytest.raises(ArgumentError, match="a local folder"):
        label_blocks(mask, components, "s3://bucket/out.zarr", **BLOCKS)


def test_what_cannot_be_sent_to_processes(mask: np.ndarray, tmp_path: Path):
    np.save(tmp_path / "mask.npy", mask)
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        for image, segment, message in (
            (mask, components, "'image': is in memory.*a path"),
            (
                tmp_path / "mask.npy",
                lambda block: components(block),
                "'segment': cannot be sent.*a function of a module",
            ),
        ):
            with pytest.raises(InputTypeError, match=message):
                label_blocks(image, segment, tmp_path / "out.npy", executor=pool, **BLOCKS)
    assert [p.name for p in tmp_path.iterdir()] == ["mask.npy"]


def test_forked_workers_are_refused(mask: np.ndarray, tmp_path: Path):
    if os.name != "posix":
        pytest.skip("no fork here")
    with ProcessPoolExecutor(1, get_context("fork")) as pool, pytest.raises(ArgumentError, match="spawn"):
        label_blocks(mask, components, tmp_path / "out.npy", executor=pool, **BLOCKS)


@pytest.mark.parametrize(
    ("segment", "error", "message"),
    [
        (lambda block: components(block)[None], ShapeError, "without channels"),
        (lambda block: block[0], InputTypeError, "scipy.ndimage.label"),
        (lambda block: components(block) - 1, ArgumentError, "negative"),
        (lambda block: [[1], [1, 2]], InputTypeError, "not an array"),
        (lambda block: ndimage.label(block[0]), InputTypeError, r"block \[0:6, 0:10, 0:8\].*its first item"),
    ],
)
def test_what_is_no_labels(segment, error, message, mask: np.ndarray, tmp_path: Path):
    with pytest.raises(error, match=message):
        label_blocks(mask, segment, tmp_path / "out.npy", **BLOCKS)


def test_an_error_of_the_function_says_in_which_block(mask: np.ndarray, tmp_path: Path):
    def segment(block):
        raise KeyError("seeds")

    with pytest.raises(KeyError, match="seeds") as raised:
        label_blocks(mask, segment, tmp_path / "out.npy", **BLOCKS)
    assert "block [0:6, 0:10, 0:8] of <ArraySource image" in raised.value.__notes__[0]


def test_the_function_may_use_its_block_as_memory(mask: np.ndarray, expected: np.ndarray, tmp_path: Path):
    def segment(block):
        labels = components(block)
        block[...] = 0
        return labels

    image = mask.copy()
    label_blocks(image, segment, tmp_path / "out.npy", **BLOCKS)
    np.testing.assert_array_equal(image, mask)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), expected)


@pytest.mark.parametrize(
    ("name", "library"), [("a.nii", "nibabel"), ("a.nrrd", "nrrd"), ("a.precomputed", "tensorstore")]
)
def test_formats_with_an_order_of_axes(name, library, mask: np.ndarray, expected: np.ndarray, tmp_path: Path):
    pytest.importorskip(library)
    nibabel = pytest.importorskip("nibabel")
    turned = np.array([[0, -2.0, 0, 9], [2, 0, 0, -6], [0, 0, 3, 1], [0, 0, 0, 1]])
    image = nibabel.Nifti1Image(mask.T.astype("uint8"), turned)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, tmp_path / "mask.nii")
    label_blocks(tmp_path / "mask.nii", components, tmp_path / name, **BLOCKS)
    found, raw = open_source(tmp_path / name), open_source(tmp_path / "mask.nii")
    np.testing.assert_array_equal(found[:][0], expected)
    if name == "a.precomputed":
        assert found.voxel_size == tuple(1e6 * s for s in raw.voxel_size) and found.unit == "nanometer"
    else:
        assert found.voxel_size == raw.voxel_size
        np.testing.assert_allclose(found.orientation, raw.orientation, atol=1e-6)


def test_what_exists_is_kept(mask: np.ndarray, tmp_path: Path):
    out = tmp_path / "out.npy"
    np.save(out, np.ones((9, 16, 14), np.uint64))
    for resume in (False, True):
        with pytest.raises(FileError, match="exists and is not overwritten"):
            label_blocks(mask, components, out, resume=resume, **BLOCKS)
    assert (np.load(out) == 1).all() and [p.name for p in tmp_path.iterdir()] == ["out.npy"]


def test_another_process_may_be_at_work(mask: np.ndarray, tmp_path: Path):
    pytest.importorskip("fcntl")
    with Records(tmp_path / "out.npy.labelling").held():  # as another process does
        for resume in (False, True):
            with pytest.raises(FileError, match=r"out.npy.labelling': another process works on this labelling"):
                label_blocks(mask, components, tmp_path / "out.npy", resume=resume, **BLOCKS)
    assert not list(tmp_path.iterdir())
    assert label_blocks(mask, components, tmp_path / "out.npy", resume=True, **BLOCKS) > 5


def test_a_folder_with_other_files_is_left_alone(mask: np.ndarray, tmp_path: Path):
    folder = tmp_path / "folder"
    (folder / "blocks").mkdir(parents=True)
    with pytest.raises(FileError, match=r"holds other files.*'?blocks"):
        label_blocks(mask, components, tmp_path / "out.npy", folder=folder, **BLOCKS)
    assert (folder / "blocks").is_dir() and not (tmp_path / "out.npy").exists()
    (folder / "blocks").rmdir()
    (folder / ".run.json.1f.tmp").touch()  # of a killed process
    assert label_blocks(mask, components, tmp_path / "out.npy", folder=folder, **BLOCKS) > 5


def test_an_output_that_cannot_be_created_leaves_nothing(mask: np.ndarray, tmp_path: Path, monkeypatch):
    def full(*args: Any) -> None:
        raise FileError("no space left")

    monkeypatch.setattr("neuromancer.volumes.flat.create", full)
    with pytest.raises(FileError, match="no space left"):
        label_blocks(mask, components, tmp_path / "out.npy", **BLOCKS)
    assert not list(tmp_path.iterdir())


def test_other_arguments_do_not_continue_a_labelling(mask: np.ndarray, tmp_path: Path):
    out = tmp_path / "out.npy"
    label_blocks(mask, components, out, **BLOCKS)
    with pytest.raises(FileError, match=r"a labelling already.*resume=True"):
        label_blocks(mask, components, out, **BLOCKS)
    for key, changed in (
        ("min_size", {"min_size": 7}),
        ("segment", {"segment": partial(components, connectivity=2)}),
        ("image", {"image": ~mask}),
    ):
        with pytest.raises(FileError, match=f"another {key}.*remove this folder"):
            label_blocks(**{"image": mask, "segment": components, "out": out, "resume": True, **BLOCKS, **changed})


def test_an_output_that_was_removed_or_replaced(mask: np.ndarray, tmp_path: Path):
    pytest.importorskip("zarr")
    out = tmp_path / "out.zarr"
    label_blocks(mask, components, out, **BLOCKS)
    out.rename(tmp_path / "moved.zarr")
    with pytest.raises(FileError, match="no such output"):
        label_blocks(mask, components, out, resume=True, **BLOCKS)
    create_sink(out, (1, *mask.shape), "uint64", axes="zyx").close()
    with pytest.raises(FileError, match="not the output of this labelling"):
        label_blocks(mask, components, out, resume=True, **BLOCKS)


def test_a_damaged_record_is_named(mask: np.ndarray, expected: np.ndarray, tmp_path: Path, monkeypatch):
    out = tmp_path / "out.npy"
    monkeypatch.setattr("neuromancer.instances.blockwise.agreed", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        label_blocks(mask, components, out, **BLOCKS)
    monkeypatch.undo()
    record = tmp_path / "out.npy.labelling" / "blocks" / "3.npz"
    record.write_bytes(record.read_bytes()[:-30])
    with pytest.raises(FileError, match=r"3\.npz.*without this file, resume=True"):
        label_blocks(mask, components, out, resume=True, **BLOCKS)
    record.unlink()
    assert label_blocks(mask, components, out, resume=True, **BLOCKS) == expected.max()
