"""Factories of the same volume in every kind of store."""

from __future__ import annotations

import weakref

import h5py
import numpy as np
import pytest

zarr = pytest.importorskip("zarr", reason="zarr 3 needs a younger NumPy than Theano")

import dask.array  # noqa: E402
import tensorstore  # noqa: E402
import tifffile  # noqa: E402
import xarray  # noqa: E402


def numbered(shape, dtype="uint16"):
    """Return a volume of distinct voxel values, as far as the dtype allows."""
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


class Sliced:
    """Minimal array interface that counts the voxels read."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.read = array, array.shape, array.dtype, 0

    def __getitem__(self, key):
        block = self.array[key]
        self.read += block.size
        return block

    def __setitem__(self, key, values):
        self.array[key] = values


def _numpy(array, folder):
    return array


def _memmap(array, folder):
    np.save(folder / "mapped.npy", array)
    return np.load(folder / "mapped.npy", mmap_mode="r")


def _npy(array, folder):
    np.save(folder / "a.npy", array)
    return folder / "a.npy"


def _hdf5(array, folder):
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("in/raw", data=array, chunks=tuple(min(4, n) for n in array.shape), compression="gzip")
        file["other"] = 1
    return f"{folder}/a.h5:/in/raw"


def _open_hdf5(array, folder):
    return h5py.File(_hdf5(array, folder).split(":")[0], "r")["in/raw"]


def _zarr(array, folder, name="a.zarr", **options):
    made = zarr.create_array(
        folder / name, shape=array.shape, dtype=array.dtype, chunks=tuple(min(4, n) for n in array.shape), **options
    )
    made[...] = array
    return folder / name


def _zarr_sharded(array, folder):
    return _zarr(array, folder, "s.zarr", shards=tuple(8 if n >= 4 else n for n in array.shape))


def _zarr_2(array, folder):
    return str(_zarr(array, folder, "two.zarr", zarr_format=2))


def _zarr_in_group(array, folder):
    group = zarr.open_group(folder / "g.zarr", mode="w")
    group.create_array("other", shape=(1,), dtype="uint8")
    group.create_array("in/raw", shape=array.shape, dtype=array.dtype, chunks=array.shape)[...] = array
    return f"{folder}/g.zarr/in/raw"


def _open_zarr(array, folder):
    return zarr.open_array(_zarr(array, folder, "o.zarr"), mode="r")


def _dask(array, folder):
    return dask.array.from_array(array, chunks=3)


def _tensorstore(array, folder):
    spec = {
        "driver": "zarr3",
        "kvstore": {"driver": "file", "path": f"{folder}/ts"},
        "metadata": {"shape": array.shape, "data_type": str(array.dtype)},
    }
    made = tensorstore.open(spec, create=True).result()
    made[...] = array
    return made


def _n5(array, folder):
    turned = array.transpose()
    spec = {
        "driver": "n5",
        "kvstore": {"driver": "file", "path": f"{folder}/a.n5/raw"},
        "metadata": {"dimensions": turned.shape, "blockSize": [4] * array.ndim, "dataType": str(array.dtype)},
    }
    tensorstore.open(spec, create=True).result()[...] = turned
    return f"{folder}/a.n5/raw"


def _tif(array, folder):
    tifffile.imwrite(folder / "a.tif", array, photometric="minisblack")
    return folder / "a.tif"


def _tif_compressed(array, folder):
    tifffile.imwrite(folder / "c.tiff", array, compression="zlib", photometric="minisblack", byteorder=">")
    return folder / "c.tiff"


def _tif_view(array, folder):
    file = tifffile.TiffFile(_tif_compressed(array, folder))
    view = zarr.open_array(file.series[0].aszarr(), mode="r")
    weakref.finalize(view, file.close)
    return view


def _nifti(array, folder, name="a.nii"):
    nibabel = pytest.importorskip("nibabel")
    nibabel.Nifti1Image(array, np.eye(4)).to_filename(folder / name)
    return folder / name


def _nifti_compressed(array, folder):
    return _nifti(array, folder, "c.nii.gz")


def _mrc(array, folder, name="a.mrc", **options):
    pytest.importorskip("mrcfile").new(folder / name, array, **options).close()
    return folder / name


def _mrc_compressed(array, folder):
    return _mrc(array, folder, "c.map.bz2", compression="bzip2")


def _nrrd(array, folder, name="a.nrrd", encoding="raw", **options):
    pytest.importorskip("nrrd").write(f"{folder}/{name}", array, {"encoding": encoding}, **options)
    return folder / name


def _nrrd_compressed(array, folder):
    return _nrrd(array, folder, "c.nrrd", "gzip")


def _nrrd_detached(array, folder):
    return _nrrd(array, folder, "d.nhdr", detached_header=True)


def _xarray(array, folder):
    return xarray.DataArray(array)


def _sliced(array, folder):
    return Sliced(array)


STORES = {
    name[1:]: made for name, made in list(globals().items()) if name[0] == "_" and name[1] != "_" and callable(made)
}
