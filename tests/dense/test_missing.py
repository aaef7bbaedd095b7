"""Images with missing parts: refused before anything is created, or filled with a warning."""

from __future__ import annotations

import multiprocessing
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest

import neuromancer as nm
from neuromancer.dense import Threads
from neuromancer.dense.tile_evaluator import TileEvaluator
from neuromancer.errors import ArgumentError, FileError, IncompleteWarning
from neuromancer.volumes import open_source
from tests.dense.nets import image, volume_net
from tests.dense.stores import NpySource

zarr = pytest.importorskip("zarr", reason="zarr is an extra")

RAW = image(12, 20, 18) | np.uint8(1)
TILE = (4, 8, 8)


@pytest.fixture
def net(fresh_model):
    return volume_net()


def virtual(folder, lost=()):
    """Virtual data set over one file per plane, some of which are missing."""
    layout = h5py.VirtualLayout(RAW.shape, "uint8")
    for k, plane in enumerate(RAW):
        with h5py.File(folder / f"s{k}.h5", "w") as file:
            file["d"] = plane
        layout[k] = h5py.VirtualSource(f"s{k}.h5", "d", shape=plane.shape)
    with h5py.File(folder / "raw.h5", "w") as file:
        file.create_virtual_dataset("em", layout, fillvalue=7)
    for k in lost:
        (folder / f"s{k}.h5").unlink()
    return f"{folder}/raw.h5:/em"


def chunked(folder, damaged=()):
    """Zarr array with some truncated chunks."""
    made = zarr.create_array(folder / "raw.zarr", shape=RAW.shape, chunks=(4, 8, 8), dtype="uint8", fill_value=7)
    made[:] = RAW
    for key in damaged:
        (folder / "raw.zarr/c" / key).write_bytes(b"short")
    return str(folder / "raw.zarr")


def with_fill(*regions):
    array = RAW.copy()
    for region in regions:
        array[region] = 7
    return array


def warned(make):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made = make()
    return made, [str(w.message) for w in caught if issubclass(w.category, IncompleteWarning)]


def test_refused_before_anything_is_made(net, tmp_path):
    raw = virtual(tmp_path, lost=[3, 5])
    before = sorted(p.name for p in tmp_path.iterdir())
    for options in ({"out": tmp_path / "out.zarr"}, {"out": tmp_path / "out.npy"}, {}, {"roi": ((0, 1), None, None)}):
        with pytest.raises(FileError, match=r"raw\.h5:em.*s3\.h5: no such file.*s5\.h5: no such file"):
            net.predict_dense(raw, **options)
    with pytest.raises(FileError, match=r"s3\.h5"):
        net.predict_dense(RAW[None], mask=raw)
    with pytest.raises(FileError, match=r"s3\.h5"):
        net.plan_dense(raw)
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_filled_with_one_warning(net, tmp_path):
    raw = virtual(tmp_path, lost=[3, 5])
    wanted = net.predict_dense(with_fill(3, 5)[None])
    for options in ({}, {"tile": TILE}, {"out": tmp_path / "out.npy"}):
        found, said = warned(lambda options=options: net.predict_dense(raw, on_missing="fill", **options))
        found = np.load(found) if isinstance(found, Path) else found
        np.testing.assert_allclose(found, wanted, atol=1e-6)
        assert len(said) == 1 and "2 parts" in said[0] and "s3.h5" in said[0] and "s5.h5" in said[0]
    assert net.plan_dense(raw, on_missing="fill").raw_shape == (1, *RAW.shape)


def test_the_warning_points_to_the_caller(net, tmp_path):
    raw = virtual(tmp_path, lost=[3])
    with pytest.warns(IncompleteWarning, match=r"s3\.h5") as caught:
        net.predict_dense(raw, on_missing="fill")
    assert caught[0].filename == __file__


def test_no_warning_where_nothing_missing_is_needed(net, tmp_path):
    raw = virtual(tmp_path, lost=[11])
    found, said = warned(lambda: net.predict_dense(raw, on_missing="fill", roi=((0, 4), None, None)))
    np.testing.assert_allclose(found, net.predict_dense(RAW[None])[:, :4], atol=1e-6)
    assert not said


def test_damage_that_shows_when_it_is_read(net, tmp_path):
    raw = chunked(tmp_path, ["1/1/1", "2/0/0"])
    with pytest.raises(FileError, match=r"raw\.zarr.*in tile 0.*chunk c/1/1/1"):
        net.predict_dense(raw, tile=TILE)
    part = slice(4, 8), slice(8, 16), slice(8, 16)
    wanted = net.predict_dense(with_fill(part, (slice(8, 12), slice(0, 8), slice(0, 8)))[None])
    found, said = warned(lambda: net.predict_dense(raw, tile=TILE, on_missing="fill"))
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert len(said) == 1 and "chunk c/1/1/1" in said[0] and "chunk c/2/0/0" in said[0]


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_whoever_does_the_tiles(net, tmp_path, kind):
    raw, out = chunked(tmp_path, ["1/1/1"]), tmp_path / "out.npy"
    part = slice(4, 8), slice(8, 16), slice(8, 16)
    wanted = net.predict_dense(with_fill(part)[None])
    spawn = multiprocessing.get_context("spawn")
    make = (lambda: ThreadPoolExecutor(2)) if kind == "threads" else (lambda: ProcessPoolExecutor(1, spawn))
    with make() as executor:
        with pytest.raises(FileError, match=r"raw\.zarr.*chunk c/1/1/1"):
            net.predict_dense(raw, out=tmp_path / "other.npy", tile=TILE, executor=executor)
        _, said = warned(lambda: net.predict_dense(raw, out=out, tile=TILE, executor=executor, on_missing="fill"))
    np.testing.assert_allclose(np.load(out), wanted, atol=1e-6)
    assert len(said) == 1 and "chunk c/1/1/1" in said[0]


@pytest.mark.parametrize("choices", [("error", "fill"), ("fill", "error")])
def test_a_restart_keeps_to_the_choice(net, tmp_path, choices):
    raw, out = chunked(tmp_path), tmp_path / "out.npy"
    first, other = choices
    net.predict_dense(raw, out=out, tile=TILE, shard=(0, 2), on_missing=first)
    with pytest.raises(FileError, match="another options"):
        net.predict_dense(raw, out=out, tile=TILE, resume=True, on_missing=other)
    net.predict_dense(raw, out=out, tile=TILE, resume=True, on_missing=first)
    np.testing.assert_allclose(np.load(out), net.predict_dense(RAW[None]), atol=1e-6)


def test_a_restart_fills_as_before(net, tmp_path):
    raw, out = chunked(tmp_path, ["2/0/0"]), tmp_path / "out.npy"
    options = {"out": out, "tile": TILE, "on_missing": "fill"}
    warned(lambda: net.predict_dense(raw, shard=(0, 2), **options))
    warned(lambda: net.predict_dense(raw, resume=True, **options))
    wanted = net.predict_dense(with_fill((slice(8, 12), slice(0, 8), slice(0, 8)))[None])
    np.testing.assert_allclose(np.load(out), wanted, atol=1e-6)


@pytest.mark.parametrize("made", [chunked, virtual])
def test_what_was_filled_before_an_interruption_is_said_in_the_end(net, tmp_path, monkeypatch, made):
    raw, out = made(tmp_path, ["0/0/0"] if made is chunked else [0]), tmp_path / "out.npy"
    options = {"out": out, "tile": TILE, "on_missing": "fill", "threads": Threads(0, 0, 1, 1)}
    begun = TileEvaluator.begin

    def stop(self, fetched):
        if fetched.tile.start[0] >= 4:
            raise KeyboardInterrupt
        return begun(self, fetched)

    with monkeypatch.context() as patch:
        patch.setattr(TileEvaluator, "begin", stop)
        with pytest.raises(KeyboardInterrupt):
            net.predict_dense(raw, **options)
    for _ in range(2):  # the result stays the same
        _, said = warned(lambda: net.predict_dense(raw, resume=True, **options))
        assert len(said) == 1 and ("[0:4, 0:8, 0:8]" if made is chunked else "s0.h5") in said[0]


def test_sources_that_are_open_already(net, tmp_path):
    raw = chunked(tmp_path, ["1/1/1"])
    part = slice(4, 8), slice(8, 16), slice(8, 16)
    wanted = net.predict_dense(with_fill(part)[None])
    given = open_source(raw, on_missing="fill")
    for source, options in ((given, {}), (open_source(raw), {"on_missing": "fill"}), (given, {"on_missing": "fill"})):
        found, said = warned(lambda source=source, options=options: net.predict_dense(source, **options))
        np.testing.assert_allclose(found, wanted, atol=1e-6)
        assert len(said) == 1
    assert not given.filled.parts  # each prediction records its own filled parts
    np.save(tmp_path / "own.npy", RAW[None])
    with pytest.raises(ArgumentError, match="no effect on a user-defined source"):
        net.predict_dense(NpySource(tmp_path / "own.npy"), on_missing="fill")


def test_a_mask_with_missing_parts(net, tmp_path):
    mask = virtual(tmp_path, lost=[0, 1, 2, 3, 4, 5])
    with h5py.File(tmp_path / "raw.h5", "a") as file:
        fill = file["em"].fillvalue
    assert fill == 7  # not 0, so these voxels are predicted
    found, said = warned(lambda: net.predict_dense(RAW[None], mask=mask, on_missing="fill"))
    np.testing.assert_allclose(found, net.predict_dense(RAW[None]), atol=1e-6)
    assert len(said) == 1 and "s2.h5" in said[0]


def test_an_image_into_which_nothing_was_written(net, tmp_path):
    zarr.create_array(tmp_path / "raw.zarr", shape=RAW.shape, chunks=(4, 8, 8), dtype="uint8", fill_value=7)
    found, said = warned(lambda: net.predict_dense(str(tmp_path / "raw.zarr")))
    np.testing.assert_allclose(found, net.predict_dense(np.full((1, *RAW.shape), 7, "uint8")), atol=1e-6)
    assert len(said) == 1 and "nothing was ever written" in said[0]


def test_other_choices(net):
    for call in (net.predict_dense, net.plan_dense):
        with pytest.raises(ArgumentError, match=r"on_missing.*nearest valid: fill"):
            call(RAW[None], on_missing="filled")
    np.testing.assert_array_equal(
        net.predict_dense(RAW[None], on_missing="fill"), nm.predict_dense(net, RAW[None])
    )  # an array in memory has no missing parts


def test_a_mask_into_which_nothing_was_written(net, tmp_path):
    zarr.create_array(tmp_path / "mask.zarr", shape=RAW.shape, chunks=(4, 8, 8), dtype="uint8", fill_value=0)
    found, said = warned(lambda: net.predict_dense(RAW[None], mask=tmp_path / "mask.zarr", fill=7))
    assert (found == 7).all()
    assert len(said) == 1 and "the whole mask: nothing was ever written" in said[0]
