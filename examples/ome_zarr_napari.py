"""Write raw data and prediction as multiscale OME-Zarr images with voxel sizes, for viewers such as napari.

``python examples/ome_zarr_napari.py`` briefly trains the demo's network, or loads ``--model MODEL.h5``, and writes
``examples/output/nuclei.ome.zarr`` with the images ``raw`` and ``probability`` (OME-Zarr 0.5). To view them:
``pip install 'napari[all]' napari-ome-zarr``, then ``napari --plugin napari-ome-zarr .../probability``. Both images
were tested with the package ome-zarr (0.18), which that plugin uses as reader.
"""

from __future__ import annotations

import argparse
import shutil
from itertools import count
from pathlib import Path

import demo_nuclei
import h5py
import helpers
import numpy as np

import neuromancer as nm
from neuromancer.train import BackgroundLoader, Flip, PatchSampler, Rotate90
from neuromancer.volumes import create_sink, open_source, write_pyramid

VOXEL = (0.5, 0.25, 0.25)  # made up: the stack has no voxel size
UNIT = "micrometer"


def trained(image: np.ndarray, labels: np.ndarray, minutes: float) -> nm.Model:
    """Train the demo's network on the upper part of the stack."""
    nm.seed(1)
    model = demo_nuclei.build()
    part = np.s_[:, : demo_nuclei.SPLIT]
    pairs = (image[part], (labels[part] > 0).astype("int16"))
    patches = PatchSampler(model, pairs, axes="zyx", batch_size=2, balance=0.5, augment=[Flip(), Rotate90("yx")])
    with BackgroundLoader(patches) as loader:
        helpers.train_for(model, map(loader.batch, count()), minutes)
    return model


def describe(path: str) -> list[str]:
    """Describe a level of an image: shape, dtype, voxel size, position."""
    source = open_source(path)
    size, offset = (
        tuple(None if v is None else round(v, 4) for v in values) for values in (source.voxel_size or (), source.offset)
    )
    return [str(source.shape), str(source.dtype), f"voxels of {size} {source.unit}", f"the first at {offset}"]


def main(argv: list[str] | None = None) -> Path:
    """Write both images; return the folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--minutes", type=float, default=0.4, help="training time, without that of compilation (default: %(default)s)"
    )
    parser.add_argument("--model", type=Path, help="a trained model for the demo's data, instead of training one")
    parser.add_argument("--out", type=Path, default=helpers.OUTPUT / "nuclei.ome.zarr", help="output folder; replaced")
    args = parser.parse_args(argv)
    with h5py.File(demo_nuclei.DATA, "r") as file:
        stack, labels = file["raw"][()], file["label"][()]
    image = helpers.Scaling(stack[:, : demo_nuclei.SPLIT])(stack)[0]
    model = trained(image, labels, args.minutes) if args.model is None else nm.modelload(args.model)

    args.out.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(args.out, ignore_errors=True)
    shutil.rmtree(f"{args.out}.probability.progress", ignore_errors=True)
    store = {"multiscale": True, "axes": "zyx", "chunks": (1, 16, 64, 64), "voxel_size": VOXEL, "unit": UNIT}
    sink = create_sink(args.out / "raw", (1, *image.shape), "float32", **store)  # type: ignore[arg-type]
    sink[:, :, :, :] = image[None]
    sink.close()
    # The result is smaller than the image; viewers align the two by its offset.
    probability = args.out / "probability"
    model.predict_dense(args.out / "raw", out=probability, reduce=[1, "uint8"], memory="200MB", store=store)
    for name in ("raw", "probability"):
        for level in write_pyramid(args.out / name, levels=2):
            print(f"{name}/{level}: {', '.join(describe(f'{args.out}/{name}/{level}'))}")
    return args.out


if __name__ == "__main__":
    main()
