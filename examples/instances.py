"""From a prediction to objects, block by block: labels that agree across blocks, scored against the ground truth.

``python examples/instances.py nuclei`` takes the prediction of ``make demo``, ``python examples/instances.py neurons``
that of ``make demo-em``, or simple filters of the raw data where these have not been run. Each method segments the
volume at once, and in blocks by worker processes, from file to file. A run that was interrupted continues.
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import bioimage_cpp.segmentation as bic
import h5py
import numpy as np
import segmentation
from scipy import ndimage
from skimage.filters import threshold_otsu

from neuromancer.instances import label_blocks
from neuromancer.volumes import open_source

FOLDER = Path(__file__).parent / "output" / "instances"
Segment = partial[np.ndarray]

OFFSETS = np.array(
    [[-1, 0, 0], [0, -1, 0], [0, 0, -1], [-3, 0, 0], [0, -5, 0], [0, 0, -5], [-4, -4, 0], [-4, 0, -4], [0, -4, -4]]
)
"""Affinities between neighbours, which join, and at longer distances, which separate."""


# ---- segmentation of one block (f, z, y, x)
def components(block: np.ndarray, threshold: float) -> np.ndarray:
    """Connected components of voxels whose boundary probability is below a threshold."""
    return ndimage.label(block[0] < threshold)[0]


def seeded(block: np.ndarray, threshold: float, depth: float) -> np.ndarray:
    """Watershed of a boundary map, from seeds deeper than `depth` voxels."""
    seeds, _ = ndimage.label(ndimage.distance_transform_edt(block[0] < threshold) > depth)
    return bic.watershed(block[0].astype("float32"), seeds.astype("uint32"))


def mutex(block: np.ndarray, threshold: float, stride: int, min_size: int) -> np.ndarray:
    """Mutex watershed (Wolf et al. 2018) of affinities that follow from a boundary map.

    Long edges separate if the boundary probability on their way is above the threshold, else short edges join.
    Fragments of fewer than `min_size` voxels, most of them inside boundaries, go to their neighbours by a watershed.
    """
    boundary = block[0].astype("float32")
    affinities = affinities_of(np.minimum(boundary / (2 * threshold), 1), OFFSETS)
    affinities[3:] = 1 - affinities[3:]  # how much both ends of a long edge are to be separated
    labels = bic.mutex_watershed(affinities, OFFSETS.tolist(), 3, strides=[stride] * 3)
    labels[np.bincount(labels.ravel())[labels] < min_size] = 0
    return bic.watershed(boundary, labels)


def nuclei(block: np.ndarray, depth: float) -> np.ndarray:
    """Divide foreground at its necks."""
    return segmentation.split(block[0], depth=depth)


def affinities_of(boundary: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Return the affinities (n_edges, z, y, x): 1 minus the largest boundary probability on the way to a neighbour."""
    result = []
    for offset in offsets:
        steps = int(abs(offset).max())
        way = [ndimage.shift(boundary, -offset * k / steps, order=0, mode="nearest") for k in range(steps + 1)]
        result.append(1 - np.max(way, axis=0))
    return np.array(result, "float32")


METHODS: dict[str, dict[str, Segment]] = {
    "nuclei": {"watershed of distances": partial(nuclei, depth=6.0)},
    "neurons": {
        "connected components": partial(components, threshold=0.05),
        "seeded watershed": partial(seeded, threshold=0.2, depth=2.0),
        "mutex watershed": partial(mutex, threshold=0.3, stride=2, min_size=500),
    },
}
BLOCKS = {"nuclei": (24, 44, 64), "neurons": (26, 50, 50)}


def in_blocks(image: Path, out: Path, segment: Segment, block: tuple[int, ...], halo: int, workers: int) -> np.ndarray:
    """Segment a volume in blocks into a zarr store, and read the result."""
    min_iou = 0 if segment.func is components else 0.5
    with ProcessPoolExecutor(workers, get_context("spawn")) if workers else nullcontext() as pool:
        label_blocks(
            image, segment, out, block_shape=block, halo=(halo,) * 3, min_iou=min_iou, executor=pool, resume=True
        )
    return open_source(out)[:, :, :, :][0].astype("int64")


# ---- data; the processes need none of these imports
def prediction_of(what: str) -> tuple[np.ndarray, np.ndarray, str] | None:
    """Return the prediction (z, y, x), the true objects, and where the prediction comes from; None without data."""
    import demo_nuclei
    import helpers
    import membrane_em

    names = ("probability", "label") if what == "nuclei" else ("boundary", "neurons")
    path = helpers.OUTPUT / ("nuclei.h5" if what == "nuclei" else "membrane_em/test.h5")
    if path.exists():
        with h5py.File(path) as file:
            return file[names[0]][()], file[names[1]][()].astype("int64"), f"prediction in {path}"
    if what == "nuclei":
        with h5py.File(demo_nuclei.DATA) as file:
            raw, truth = (file[name][:, demo_nuclei.SPLIT :] for name in ("raw", "label"))
        smooth = ndimage.gaussian_filter(raw.astype("float32"), 1)
        return np.minimum(smooth / (2 * threshold_otsu(smooth)), 1), truth.astype("int64"), "smoothed intensity"
    if not membrane_em.DATA.is_dir():
        print(f"no data in {membrane_em.DATA}: set NEUROMANCER_EM_DATA to the folder with the data")
        return None
    raw, truth = membrane_em.load("test")
    return ndimage.gaussian_filter(1 - raw.astype("float32") / 255, 1), truth.astype("int64"), "smoothed darkness"


def main(argv: list[str] | None = None) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Segment at once and in blocks, and print scores; return both results per method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=list(METHODS))
    parser.add_argument("--halo", type=int, default=12, help="voxels around each block (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes; 0 for none (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="output folder (default: %(default)s)")
    args = parser.parse_args(argv)
    found, results = prediction_of(args.what), dict[str, tuple[np.ndarray, np.ndarray]]()
    if found is None:
        return results
    prediction, truth, origin = found
    print(f"{args.what}, {origin}: {prediction.shape} in blocks of {BLOCKS[args.what]} with a halo of {args.halo}")
    args.folder.mkdir(parents=True, exist_ok=True)
    image = args.folder / f"{args.what}.npy"
    np.save(image, prediction)
    for name, segment in METHODS[args.what].items():
        start = time.perf_counter()
        whole = segment(prediction[None]).astype("int64")
        between = time.perf_counter()
        out = args.folder / f"{args.what}, {name}, halo {args.halo}.zarr"
        blocks = in_blocks(image, out, segment, BLOCKS[args.what], args.halo, args.workers)
        end = time.perf_counter()
        print(f"\n{name}: {between - start:.1f} s at once, {end - between:.1f} s in blocks")
        print(f"  at once:   {segmentation.summary(whole, truth)}")
        print(f"  in blocks: {segmentation.summary(blocks, truth)}")
        print(f"  in blocks, as if that at once were true: {segmentation.summary(blocks, whole)}")
        results[name] = whole, blocks
    return results


if __name__ == "__main__":
    main()
