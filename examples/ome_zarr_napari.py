"""A prediction as an OME-Zarr image that napari, Fiji and Neuroglancer open, at the right place and in the right size.

``python examples/ome_zarr_napari.py`` trains a network for cell nuclei for half a minute, puts the stack and its
prediction into ``examples/output/nuclei.ome.zarr`` and says how to look at them.
"""

from __future__ import annotations

import argparse
import shutil
from contextlib import closing
from itertools import count
from pathlib import Path

import demo_nuclei
import h5py
import helpers
import numpy as np

import neuromancer as nm
from neuromancer.train import Flip, PatchSampler, Rotate90
from neuromancer.volumes import create_sink, open_source, write_pyramid

VOXEL = (0.5, 0.25, 0.25)
"""Micrometres along z, y, x; made up, as the stack does not say it."""


def write_image(path: Path, values: np.ndarray) -> None:
    """Write an array (z, y, x) as an OME-Zarr image with coarser levels."""
    options = {"multiscale": True, "voxel_size": VOXEL, "unit": "micrometer", "chunks": (1, 16, 64, 64)}
    with closing(create_sink(path, (1, *values.shape), values.dtype, **options)) as sink:
        sink[:] = values[None]
    write_pyramid(path, levels=2)


def main(argv: list[str] | None = None) -> Path:
    """Run the example; returns the folder of the images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=0.5, help="training time (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=helpers.OUTPUT / "nuclei.ome.zarr", help="folder to write")
    args = parser.parse_args(argv)
    if args.out.exists():
        shutil.rmtree(args.out)

    with h5py.File(demo_nuclei.DATA) as file:
        raw, truth = file["raw"][()], file["label"][()] > 0
    top = np.percentile(raw[:, : demo_nuclei.SPLIT], 99.9)
    image = (np.minimum(raw / top, 1) * 255).astype("uint8")
    write_image(args.out / "raw", image)

    nm.seed(1)
    model = demo_nuclei.build()
    train = np.s_[:, : demo_nuclei.SPLIT]
    labelled = ((image[train] / np.float32(255))[None], truth[train].astype("int16"))
    patches = PatchSampler(model, labelled, batch_size=2, balance=0.5, augment=[Flip(), Rotate90("yx")])
    helpers.train_for(model, map(patches.batch, count()), args.minutes)

    # Without mirrored borders the result is smaller than the image; its metadata says where it lies.
    store = {"multiscale": True, "chunks": (1, 16, 64, 64)}
    model["probs"].predict_dense(args.out / "raw", out=args.out / "nuclei", reduce=[1, "uint8"], store=store)
    write_pyramid(args.out / "nuclei", levels=2)
    found = open_source(args.out / "nuclei")
    print(f"image {image.shape}, result {found.shape[1:]}, beginning at {found.offset} {found.unit}")
    print(f"look at it: napari --plugin napari-ome-zarr {args.out / 'raw'} {args.out / 'nuclei'}")
    return args.out


if __name__ == "__main__":
    main()
