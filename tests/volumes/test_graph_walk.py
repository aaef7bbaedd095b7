"""The walk through lazy arrays finds every array and file behind them, for overlaps, fingerprints and damage alike."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import pytest

from neuromancer.errors import FileError, IncompleteWarning
from neuromancer.volumes import open_source
from neuromancer.volumes.behind import arrays_behind
from neuromancer.volumes.graph_walk import MOST_EACH, sources_behind
from neuromancer.volumes.held import fingerprint, overlap
from tests.volumes.factories import Sliced, numbered, zarr

dask = pytest.importorskip("dask", reason="dask is an extra")
da = pytest.importorskip("dask.array", reason="dask is an extra")

WHOLE = numbered((6, 8, 10), "uint8") + np.uint8(1)
ZEROS = da.zeros((6, 8, 10), dtype="uint8", chunks=4)


class Wrapper(Sliced):
    """Foreign array, as dask takes it."""

    @property
    def ndim(self):
        return len(self.shape)


def added(block, other=None):
    return block + np.max(other[...])


def stored(path):
    made = zarr.create_array(path, shape=WHOLE.shape, chunks=(3, 4, 5), dtype="uint8", fill_value=0)
    made[:] = WHOLE
    return zarr.open_array(path, mode="r")


def damaged(path):
    array = stored(path)
    (path / "c/1/1/0").unlink()
    (path / "c/1/1/0").symlink_to("nowhere")
    return array


LAZY = {
    "keyword": lambda array: da.map_blocks(added, ZEROS, other=array),
    "partial": lambda array: da.map_blocks(partial(added, other=array), ZEROS),
    "partial of a partial": lambda array: da.map_blocks(partial(partial(added, other=array)), ZEROS),
    "wrapper": lambda array: da.from_array(Wrapper(array), chunks=4),
    "wrapper of a wrapper": lambda array: da.from_array(Wrapper(Wrapper(array)), chunks=4),
    "delayed": lambda array: da.from_delayed(dask.delayed(np.asarray)(array), WHOLE.shape, "uint8"),
    "optimised": lambda array: dask.optimize(da.from_array(Wrapper(array), chunks=4, inline_array=True) + 1)[0],
}


@pytest.mark.parametrize("kind", LAZY)
def test_the_same_arrays_for_all_purposes(tmp_path, kind):
    memory, file = WHOLE.copy(), stored(tmp_path / "a.zarr")
    assert overlap(LAZY[kind](memory), memory[2:]) and not overlap(LAZY[kind](memory), WHOLE)
    assert overlap(LAZY[kind](file), zarr.open_array(tmp_path / "a.zarr"))
    with pytest.raises(FileError, match=r"missing or damaged.*chunk c/1/1/0 of .*leads nowhere"):
        open_source(LAZY[kind](damaged(tmp_path / "b.zarr")))


@pytest.mark.parametrize("kind", ["keyword", "partial", "wrapper", "wrapper of a wrapper", "optimised"])
def test_fingerprints_follow_every_voxel_in_memory(kind):
    memory = np.zeros((40, 40, 40), "uint8")
    lazy = {
        "keyword": lambda: da.map_blocks(added, da.zeros(memory.shape, dtype="uint8", chunks=20), other=memory),
        "partial": lambda: da.map_blocks(partial(added, other=memory), da.zeros(memory.shape, dtype="uint8")),
    }.get(kind, lambda: LAZY[kind](memory))
    before = fingerprint(open_source(lazy()))
    assert fingerprint(open_source(lazy())) == before
    memory[1, 2, 3] = 1
    assert fingerprint(open_source(lazy())) != before


def test_every_array_once():
    array = numbered((4, 5))
    lazy = da.concatenate([da.from_delayed(dask.delayed(np.asarray)(array), array.shape, array.dtype)] * 50)
    assert [found is array for found in sources_behind([lazy, {"again": (array, Sliced(array))}, {"x"}])] == [True]


@pytest.mark.parametrize("own", [True, False])
def test_delayed_objects_which_claim_every_attribute(own):
    array = numbered((4, 5))
    assert [found is array for found in sources_behind([dask.delayed(np.asarray)(array)], own=own)] == [True]


def test_only_damage_has_a_limit():
    tall = da.from_array(np.zeros((MOST_EACH + 50, 1), "uint8"), chunks=1)
    assert len(list(sources_behind(tall))) == MOST_EACH + 50
    assert 0 < len(list(sources_behind(tall, most=10 * MOST_EACH))) <= MOST_EACH
    assert list(sources_behind(tall, most=2)) == []


def test_volumes_of_this_package_report_their_own_damage(tmp_path):
    damaged(tmp_path / "a.zarr")
    filled = open_source(tmp_path / "a.zarr", on_missing="fill")
    lazy = da.from_array(filled, chunks=4)
    assert arrays_behind(lazy) == []
    with pytest.warns(IncompleteWarning, match="c/1/1/0"):
        open_source(lazy, spatial="zyx")[:]
    assert overlap(lazy, zarr.open_array(tmp_path / "a.zarr"))


class Endless:
    """Creates another object of its class at every access."""

    @property
    def array(self):
        return Endless()


class Lazy(Mapping):
    """Values are read on access, like those of a mapping of remote files."""

    def __getitem__(self, key):
        raise AssertionError("read")

    def __iter__(self):
        return iter(["a"])

    def __len__(self):
        return 1


@pytest.mark.parametrize("value", [Endless(), Lazy(), None, "text", np.zeros, np.ndarray])
def test_objects_without_arrays(value):
    assert list(sources_behind([value])) == []
