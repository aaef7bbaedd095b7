"""Instance segmentation of a volume of any size: every block by itself, then one numbering for all of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from neuromancer.errors import ArgumentError, FileError, InputTypeError
from neuromancer.executors import AtOnce
from neuromancer.instances.agreement import Match, agreed, matching
from neuromancer.instances.arguments import check_limits, checked_labels, described, grid_of
from neuromancer.instances.grid import BlockGrid, within
from neuromancer.instances.pool import check_sendable, each, executor_of
from neuromancer.instances.records import Records
from neuromancer.places import is_address, local_file
from neuromancer.progress import counted
from neuromancer.volumes import ArraySource, Output, open_sink, open_source, output_at
from neuromancer.volumes.chunks import CHUNK_BYTES
from neuromancer.volumes.missing import shown
from neuromancer.volumes.options import ORDERS
from neuromancer.volumes.packed import is_packed
from neuromancer.volumes.paths import split_path

DTYPE = np.dtype(np.uint64)
PLACE = ("voxel_size", "unit", "offset", "direction", "orientation", "spatial")


def label_blocks(
    image: Any,
    segment: Callable[[np.ndarray], Any],
    out: str | os.PathLike[str],
    *,
    block_shape: Sequence[int],
    halo: Sequence[int],
    min_iou: float = 0.5,
    min_size: int = 1,
    axes: str | None = None,
    spatial: str = "zyx",
    executor: Any = None,
    resume: bool = False,
    folder: str | os.PathLike[str] | None = None,
    progress: bool | None = None,
) -> int:
    """Segment a volume of any size into instances, block by block, with labels that agree across blocks.

    Every block is read with its halo and segmented by itself. Two neighbouring blocks both see the voxels around their
    face; two labels there that overlap by more than `min_iou` become the same object, and so do chains of such labels.
    The result depends on the blocks, but not on their order, on the executor or on restarts.

    With connected components as `segment` and ``min_iou=0``, the objects are exactly those of the whole volume. Other
    algorithms agree as far as their result does not depend on voxels beyond the halo.

    Parameters
    ----------
    image : array, path, Locator or ArraySource
        Prediction or image, see :func:`neuromancer.volumes.open_source`.
    segment : callable
        Gets a block (f, *spatial) and returns its labels (*spatial): integers, 0 for background. It has to return the
        same for the same values. For processes, it has to be a function of a module, or a ``functools.partial`` of one.
    out : path
        Where to store the labels, uint64 (*spatial), numbered from 1: zarr if several processes are to write, HDF5,
        ``.npy``, NIfTI, NRRD or precomputed.
    block_shape : sequence of int
        Per spatial axis. Each worker needs memory for a block with its halo, and the calling process about 50 bytes per
        label of a block.
    halo : sequence of int
        Voxels that a block sees on either side, per spatial axis; at least 1, best about the size of an object.
    min_iou : float
        Intersection over union, among the voxels that two blocks both see, above which two labels are one object.
    min_size : int
        Objects of fewer voxels become background.
    axes, spatial : str
        Axes of the image as it is stored, and its spatial axes in the order of `block_shape`.
    executor : concurrent.futures.Executor or dask.distributed.Client, optional
        Runs the blocks; default: the calling process.
    resume : bool
        Whether to continue an interrupted labelling, if there is one. Finished blocks are kept.
    folder : path, optional
        Where to keep the labels of finished blocks until all are done; default: ``OUT.labelling`` beside the output.
        A small file remains in it.
    progress : bool, optional
        Whether to show progress bars; None: on a terminal.

    Returns
    -------
    int
        Number of objects.

    Raises
    ------
    ArgumentError, ShapeError, InputTypeError
        For invalid arguments, before anything is created; or if `segment` returns anything but labels of its block.
    FileError
        If the output exists, belongs to a labelling with other arguments, or another process works on it; or on a
        system error.
    PredictionError
        If a worker process ends.
    Exception
        Whatever `segment` raises, with a note that names the block.

    Examples
    --------
    >>> import tempfile
    >>> from scipy import ndimage
    >>> mask = np.array([[1, 0, 1, 1], [1, 0, 0, 0], [1, 1, 1, 1]], bool)
    >>> out = Path(tempfile.mkdtemp()) / "objects.npy"
    >>> label_blocks(
    ...     mask, lambda block: ndimage.label(block[0])[0], out,
    ...     block_shape=(2, 2), halo=(1, 1), min_iou=0, spatial="yx",
    ... )
    2
    >>> np.load(out).tolist()
    [[1, 0, 2, 2], [1, 0, 0, 0], [1, 1, 1, 1]]
    """
    source = open_source(image, axes, spatial, "image")
    grid = grid_of(source.shape[1:], block_shape, halo)
    check_limits(min_iou, min_size)
    output, pool = _output(out, source, grid), executor_of(executor)
    check_sendable(pool, source, segment)
    records = Records(_folder(output, folder))
    header = {
        "image": source.fingerprint(),
        "segment": described(segment),
        "block_shape": list(grid.block_shape),
        "halo": list(grid.halo),
        "min_iou": float(min_iou),
        "min_size": int(min_size),
    }
    with records.held():
        is_exclusive = _begin(records, header, output, resume)
        if "objects" not in (records.begun() or {}):
            task = _Labelling(grid, records, source, segment, output, float(min_iou))
            records.note(objects=_run(task, pool, AtOnce() if is_exclusive else pool, min_size, progress))
        records.clear()
        return int((records.begun() or {})["objects"])


@dataclass(frozen=True)
class _Labelling:
    """What a worker needs for any block. It can be pickled if the image is a file."""

    grid: BlockGrid
    records: Records
    source: ArraySource
    segment: Callable[[np.ndarray], Any]
    output: Output
    min_iou: float

    def segment_block(self, index: int) -> None:
        """Segment a block; record its labels, and those of the voxels that it shares with each neighbour."""
        outer, inner = self.grid.outer(index), self.grid.inner(index)
        block = self.source[(slice(0, self.source.shape[0]), *outer)]
        try:
            # The function may use its block as memory, which must not be the image itself.
            labels = self.segment(block if self.source.locator else block.copy())
        except Exception as error:
            error.add_note(f"raised by `segment` of label_blocks, for block {shown(outer)} of {self.source}")
            raise
        labels = checked_labels(labels, outer)
        arrays = {"labels": labels[within(inner, outer)]}
        for lower, upper, axis in self.grid.neighbours(index):
            arrays[f"{lower}-{upper}"] = labels[within(self.grid.shared(lower, upper, axis), outer)]
        sizes = np.bincount(arrays["labels"].ravel(), minlength=int(labels.max()) + 1)
        self.records.save(f"{index}", sizes=sizes, **arrays)

    def match_block(self, index: int) -> tuple[np.ndarray, list[Match]]:
        """Return the sizes of the labels of a block, and their matches in its upper neighbours."""
        matches = []
        for lower, upper, _ in self.grid.neighbours(index):
            if lower == index:
                a, b = (self.records.load(f"{i}", f"{lower}-{upper}") for i in (lower, upper))
                matches.append(Match(lower, upper, matching(a, b, self.min_iou)))
        return self.records.load(f"{index}", "sizes"), matches

    def write_block(self, index: int, objects: np.ndarray) -> None:
        """Write the objects of a block, given per label, and record it once they are durable."""
        sink = open_sink(self.output.locator)
        try:
            labels = self.records.load(f"{index}", "labels")
            sink[(slice(0, 1), *self.grid.inner(index))] = objects[labels].astype(DTYPE)[None]
        finally:
            sink.close()
        self.records.save(f"{index}-written")


def _run(task: _Labelling, pool: Executor, writers: Executor, min_size: int, progress: bool | None) -> int:
    """Segment, match and write the blocks that are missing; return the number of objects."""
    blocks, records = range(len(task.grid)), task.records

    def done(function: Callable[..., Any], todo: list[tuple[Any, ...]], workers: Executor) -> dict[int, Any]:
        results, what = dict[int, Any](), function.__name__.replace("_", " ")
        with counted(sum(task.grid.voxels(block) for block, *_ in todo), what, progress) as advance:
            for block, result in each(function, todo, workers):
                results[block] = result
                advance(task.grid.voxels(block))
        return results

    done(task.segment_block, [(i,) for i in blocks if not records.has(f"{i}")], pool)
    found = done(task.match_block, [(i,) for i in blocks], pool)
    sizes, matches = zip(*(found[i] for i in blocks), strict=True)
    starts, objects = agreed(sizes, [match for some in matches for match in some], min_size)
    rest = [(i, objects[starts[i] : starts[i + 1]]) for i in blocks if not records.has(f"{i}-written")]
    done(task.write_block, rest, writers)
    return int(objects.max())


def _output(out: str | os.PathLike[str], source: ArraySource, grid: BlockGrid) -> Output:
    """Return the output, at the place of the image, in chunks that divide the blocks."""
    if not isinstance(out, (str, os.PathLike)):
        raise InputTypeError("is not a path", where="out", got=type(out).__name__, expected="e.g. 'labels.zarr'")
    chunks = list(grid.block_shape)
    while prod(chunks) * DTYPE.itemsize > CHUNK_BYTES and any(n % 2 == 0 for n in chunks):
        axis = max(range(len(chunks)), key=lambda k: chunks[k] * (chunks[k] % 2 == 0))
        chunks[axis] //= 2
    place = {name: getattr(source, name) for name in PLACE}
    axes = None if split_path(out, "out")[0] in ORDERS else source.spatial
    output = output_at(out, (1, *grid.shape), DTYPE, axes=axes, chunks=(1, *chunks), **place)
    if is_packed(out):
        raise ArgumentError(
            "a file that is compressed as a whole cannot be written block by block",
            where="out",
            got=str(out),
            expected="an uncompressed file; or a .zarr, with compressed chunks",
        )
    return output


def _folder(output: Output, folder: str | os.PathLike[str] | None) -> Path:
    """Return the folder of the records."""
    if folder is not None:
        return local_file(folder, "folder")
    if is_address(output.locator.path):
        raise ArgumentError("not beside a remote output", where="folder", got=None, expected="a local folder")
    name = ".".join([Path(output.locator.path).name, *output.locator.dataset.split("/")]).strip(".")
    return Path(output.locator.path).with_name(f"{name}.labelling")


def _begin(records: Records, header: dict[str, Any], output: Output, resume: bool) -> bool:
    """Create records and output, or check those of an earlier run; return whether one process has to write it all."""
    begun = records.begun()
    if begun is None:
        output.require_free()
        records.begin(header)
    elif resume:
        records.require_same(header)
    else:
        raise FileError(
            "there is a labelling already",
            where=str(records.folder),
            expected="resume=True to continue, another output, or remove this folder and the output to start over",
        )
    try:
        if "output" not in (begun or {}) and output.find() is None:
            output.create()
        with closing(open_sink(output.locator)) as sink:
            found, is_exclusive = sink.fingerprint(), bool(sink.exclusive)
    except BaseException:
        if begun is None:
            records.discard()
        raise
    if (begun or {}).setdefault("output", found) != found:
        raise FileError("is not the output of this labelling", where=str(output.locator), expected=str(records.folder))
    records.note(output=found)
    return is_exclusive
