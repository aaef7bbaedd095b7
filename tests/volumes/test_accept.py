"""Accepted images and masks give correct results; everything else is refused by an error of the package."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import FileError, InputTypeError, NeuromancerError, ShapeError
from tests.volumes.factories import Sliced, zarr

import dask  # isort: skip
import dask.array as da  # isort: skip
import pandas  # isort: skip
import tensorstore  # isort: skip
import xarray  # isort: skip

from neuromancer.volumes import create_sink, open_source  # isort: skip

VALUES = np.random.default_rng(0).integers(0, 256, (7, 12, 11), "uint8")


class Subclass(np.ndarray):
    pass


class Declares(Sliced):
    """Declares attributes that contradict its data."""

    def __init__(self, array, **says):
        super().__init__(array)
        vars(self).update(says)


class Foreign(Sliced):
    """Array of another library, with a dtype that NumPy does not know."""

    def __init__(self, array):
        super().__init__(array)
        self.dtype = "other.uint8"

    def __array__(self, dtype=None, copy=None):
        return self.array


TAKEN = {
    "torch": lambda: pytest.importorskip("torch").from_numpy(VALUES.copy()),
    "read-only": lambda: np.broadcast_to(VALUES, (1, *VALUES.shape)),
    "byte order": lambda: VALUES.astype(">u2"),
    "Fortran order": lambda: np.asfortranarray(VALUES),
    "subclass": lambda: VALUES.view(Subclass),
    "half": lambda: VALUES.astype("float16"),
    "longdouble": lambda: VALUES.astype(np.longdouble),
    "bool": lambda: VALUES > 100,
    "memoryview": lambda: memoryview(VALUES),
    "lists": lambda: VALUES.tolist(),
    "foreign": lambda: Foreign(VALUES),
    "one-voxel chunks": lambda: da.from_array(VALUES[:3, :4, :4], chunks=1),
    "uneven chunks": lambda: da.from_array(VALUES, chunks=((1, 4, 2), (10, 2), (11,))),
    "enumeration": lambda: np.asarray(VALUES % 2, h5py.enum_dtype({"A": 0, "B": 1}, "u1")),
}


@pytest.mark.parametrize("kind", TAKEN)
def test_taken(kind):
    value = TAKEN[kind]()
    source = open_source(value)
    wanted = np.asarray(value).reshape(source.shape)
    assert source.dtype.newbyteorder("=") == wanted.dtype.newbyteorder("=")
    np.testing.assert_array_equal(source[:], wanted)
    np.testing.assert_array_equal(source[0:1, 1:3, 1:4, 2:3], wanted[0:1, 1:3, 1:4, 2:3])


def test_tables_are_images_too():
    frame = pandas.DataFrame(VALUES[0])
    np.testing.assert_array_equal(open_source(frame, spatial="yx")[:][0], VALUES[0])
    np.testing.assert_array_equal(open_source(np.matrix(VALUES[0]), spatial="yx")[:][0], VALUES[0])


REFUSED = {
    "None": (lambda: None, InputTypeError, "is not an array; got None"),
    "bytes": (lambda: b"raw", InputTypeError, "is not an array; got bytes"),
    "empty text": (lambda: "", FileError, "an empty path"),
    "generator": (lambda: (i for i in range(3)), InputTypeError, "is not an array; got generator"),
    "class": (lambda: np.ndarray, InputTypeError, "is not an array; got type"),
    "dict": (lambda: {"raw": VALUES}, InputTypeError, r"which; got dict; expected one of \['raw'\]"),
    "ragged": (lambda: [[1, 2], [3]], InputTypeError, "is not an array; got list"),
    "scalar": (lambda: np.float32(3), ShapeError, "wrong number of axes"),
    "object": (lambda: VALUES.astype(object), InputTypeError, "numeric dtype; got object"),
    "complex": (lambda: VALUES * 1j, InputTypeError, "numeric dtype; got complex128"),
    "text": (lambda: np.full((3, 4, 5), "a"), InputTypeError, "numeric dtype; got <U1"),
    "dates": (lambda: np.zeros((3, 4, 5), "M8[s]"), InputTypeError, "numeric dtype; got datetime64"),
    "fields": (lambda: np.zeros((3, 4, 5), [("a", "u1")]), InputTypeError, "numeric dtype"),
    "nothing": (lambda: np.zeros((3, 0, 5)), ShapeError, "is empty"),
    "null": (lambda: h5py.Empty("f4"), InputTypeError, "is not an array; got Empty"),
    "Dataset": (lambda: xarray.Dataset({"raw": ("x", [1])}), InputTypeError, r"which; got Dataset.*nearest.*raw"),
    "delayed": (lambda: dask.delayed(VALUES), ShapeError, "shape is unknown"),
    "unknown sizes": (
        lambda: (lambda a: a[a[:, 0, 0] > 5])(da.from_array(VALUES, chunks=3)),
        ShapeError,
        r"shape is unknown.*nearest valid: array\.compute_chunk_sizes\(\)",
    ),
    "promise": (lambda: tensorstore.open(MEMORY, create=True), InputTypeError, "is not an array; got Future"),
    "JSON": (lambda: tensorstore.open({"driver": "json", "kvstore": "memory://a"}).result(), InputTypeError, "numeric"),
    "meta": (lambda: pytest.importorskip("torch").empty(3, 4, 5, device="meta"), InputTypeError, "has no values"),
}
MEMORY = {"driver": "zarr3", "kvstore": "memory://b", "metadata": {"shape": [3, 4, 5], "data_type": "uint8"}}


@pytest.mark.parametrize("kind", REFUSED)
def test_refused(kind):
    make, error, says = REFUSED[kind]
    with pytest.raises(error, match=says) as caught:
        open_source(make(), label="the image")
    assert "the image" in str(caught.value) and isinstance(caught.value, NeuromancerError)


@pytest.fixture
def contents(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["group/raw"], file["scalar"], file["null"] = VALUES, 3, h5py.Empty("u1")
        file["text"] = "abc"
        file.create_dataset("vlen", (2,), h5py.vlen_dtype("f4"))
        file["named"] = np.dtype("f4")
    return tmp_path / "a.h5"


@pytest.mark.parametrize("name", ["null", "scalar", "text", "vlen", "named", "group", "group/nothing", "nothing"])
def test_data_sets_that_hold_no_image(contents, name):
    with pytest.raises(NeuromancerError, match=r"a\.h5"):
        open_source(f"{contents}:/{name}")
    with h5py.File(contents) as file:
        if name in file:
            with pytest.raises(NeuromancerError, match="'raw'"):
                open_source(file[name])


def test_files_and_groups_and_what_is_closed(contents, tmp_path):
    file = h5py.File(contents)
    data, source = file["group/raw"], open_source(Sliced(file["group/raw"]))
    with pytest.raises(InputTypeError, match="which; got File; expected one of"):
        open_source(file)
    file.close()
    with pytest.raises(FileError, match="'raw': a block cannot be read"):
        source[:]
    for closed in (data, file):
        with pytest.raises(FileError, match="'raw': is closed"):
            open_source(closed)
        with pytest.raises(FileError, match="'out': is closed"):
            create_sink(closed, (1, *VALUES.shape), "uint8")
    group = zarr.open_group(tmp_path / "g.zarr", mode="w")
    group.create_array("text", shape=(3, 4, 5), dtype="<U4")
    with pytest.raises(InputTypeError, match=r"which; got Group; expected one of \['text'\]"):
        open_source(group)
    with pytest.raises(InputTypeError, match="numeric"):
        open_source(tmp_path / "g.zarr")


@pytest.mark.parametrize(
    ("array", "error", "says"),
    [
        (lambda: Declares(VALUES, dtype=np.dtype("float32")), InputTypeError, "another dtype than the array;"),
        (lambda: Declares(VALUES, shape=(9, 12, 11)), ShapeError, "another shape than requested"),
        (
            lambda: da.from_array(VALUES, chunks=-1).map_blocks(lambda b: b * 1j, dtype="u1"),
            InputTypeError,
            "another dtype",
        ),
        (lambda: da.from_array(VALUES, chunks=-1).map_blocks(_lost, dtype="u1"), FileError, "worker lost"),
    ],
)
def test_blocks_are_what_the_array_says(array, error, says):
    with pytest.raises(error, match=says):
        open_source(array())[:]


def _lost(block):
    raise RuntimeError("worker lost")


def test_prediction_names_who_is_wrong(fresh_model):
    raw = nm.Input((None, 1, 3, 5, 5), "b,f,z,y,x", name="raw", print_repr=False)
    node = nm.Conv(raw, 1, (2, 3, 3), name="conv", print_repr=False)
    wanted = node.predict_dense(VALUES[None])
    np.testing.assert_array_equal(node.predict_dense(TAKEN["torch"]()), wanted)
    broken = da.from_array(VALUES, chunks=-1).map_blocks(_lost, dtype="u1")
    with pytest.raises(FileError, match=r"'raw': .*worker lost"):
        node.predict_dense(broken)
    for mask in (broken, np.full(VALUES.shape, "a"), VALUES.astype(object), {"a": 1}, VALUES * 1j, 3):
        with pytest.raises(NeuromancerError, match="'mask': "):
            node.predict_dense(VALUES[None], mask=mask)
