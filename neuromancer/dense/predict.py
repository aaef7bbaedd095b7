"""Dense prediction as it is called.

Image -> :class:`PredictionRun` -> plan -> tiles -> network -> sinks.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from neuromancer.casts import is_whole
from neuromancer.dense.arguments import checked_dtype, checked_image, checked_progress, checked_sizes
from neuromancer.dense.network import dense_network
from neuromancer.dense.options import PredictOptions
from neuromancer.dense.pipeline import Threads
from neuromancer.dense.plan import DensePlan
from neuromancer.dense.run import PredictionRun
from neuromancer.dense.stores import DescribedSource
from neuromancer.dense.workers import worker_pool
from neuromancer.errors import InputTypeError
from neuromancer.graph.node import GraphNode


def predict_dense(
    nodes: GraphNode | Sequence[GraphNode],
    raw_img: Any,
    as_uint8: bool = False,
    pad_raw: bool = False,
    progress: bool | None = None,
    precision: str = "f32",
    *,
    out: Any = None,
    resume: bool = False,
    memory: str | float | None = None,
    axes: str | None = None,
    reduce: Any = None,
    roi: Any = None,
    mask: Any = None,
    skip_empty: Any = None,
    fill: float = 0,
    augment: str | None = None,
    tile: Sequence[int] | None = None,
    shard: tuple[int, int] | None = None,
    executor: Any = None,
    workers: int | None = None,
    retries: int = 2,
    threads: Threads | None = None,
    on_error: str = "stop",
    on_nan: str | None = None,
    on_missing: str = "error",
    journal: str | Path | None = None,
    store: dict[str, Any] | None = None,
) -> Any:
    """Prediction of one or several nodes at every voxel of an image of any size, from any store to any store.

    Parameters
    ----------
    nodes : Node or sequence of Node
        What to predict. Several nodes of one graph are evaluated together: what they share, once per tile.
    raw_img : array, Source or path, (f, (z,) y, x)
        See :meth:`neuromancer.node_basic.Node.predict_dense`. Masked voxels of a masked array are as those where `mask`
        is 0.
    as_uint8 : bool
        Store ``floor(255 * prediction)``; the same as ``reduce="uint8"``.
    pad_raw : bool
        Mirror the image at its borders so that the result has its size.
    progress : bool, optional
        Show a progress bar; None follows ``config.progress``.
    precision : {'f32', 'tf32', 'bf16', 'f16'}
        Of convolutions; 'tf32' on a GPU only.
    out : array, Sink or path, or a list of one per node, optional
        Where the result goes; default: an array in memory.
    resume : bool
        Go on with a prediction that was interrupted.
    memory : str or int, optional
        Bytes that the prediction may use, e.g. ``"4GB"``, in each process that does tiles; default: together a part of
        what is free.
    axes : str, optional
        Order of the image's axes, e.g. ``"zyxc"``.
    reduce : optional
        What to store of the values: ``'uint8'``, ``'uint16'``, ``'argmax'``, a channel, a list of channels,
        ``('threshold', t)``, a function of a block (f, images, \\*spatial) that keeps its voxels, or a list of these,
        one after the other. A dict from node names for several nodes.
    roi : sequence, optional
        Part of the result: per axis a slice, (start, stop) or None.
    mask : array, Source or path, optional
        As large as the image, or coarser by whole numbers; `fill` stands where it is 0, and tiles without another value
        are not evaluated.
    skip_empty : 'constant' or float, optional
        Fill tiles for which the image is constant, or has this value everywhere.
    fill : float
        The value for filling; what is stored must be able to hold it. A fraction between 0 and 1 is scaled by 'uint8'
        and 'uint16' like a prediction.
    augment : {'flips', 'rotations', 'all'}, optional
        Average over views of the image.
    tile : sequence of int, optional
        Voxels of the result per tile; default: chosen for the memory.
    shard : (int, int), optional
        Do only the i-th of n parts of the tiles.
    executor : concurrent.futures.Executor, dask.distributed.Client, or function that makes an Executor, optional
        Who does the tiles.
    workers : int, optional
        How many tasks are given to the executor at once; default: twice as many as it has workers. Not without one.
    retries : int
        How often tiles whose worker was lost are given to another one.
    threads : Threads, optional
        Threads that read and write, and how many tiles wait for them.
    on_error : {'stop', 'skip'}
        After a tile that cannot be read or computed: stop with everything kept that is done, or go on and warn.
    on_nan : {'error', 'keep'}, optional
        Whether a value that is not a number is an error; default: where the result goes to `out`, or becomes 'uint8' or
        'uint16', which cannot hold it.
    on_missing : {'error', 'fill'}
        What becomes of parts of image and mask that are missing or damaged: an error, before anything is made if they
        are known by then; or the file's fill value (else 0), and one ``IncompleteWarning`` that names them.
    journal : path, optional
        Folder for what is known about finished tiles; default: the name of `out` with ``.progress`` at its end.
    store : dict, optional
        Further arguments of ``neuromancer.volumes.create_sink``, such as ``chunks`` or ``compression``. Without
        ``chunks``, those of a new store are small enough for the memory.

    Returns
    -------
    numpy.ndarray, xarray.DataArray, or `out`
        (f, (z,) y, x); a list for several nodes. A DataArray gives one, with the coordinates of the voxels to which the
        values belong (an array where the result is finer than the image).

    Raises
    ------
    ShapeError, InputTypeError, GraphError, ArgumentError
        If image, network and options do not fit together; then nothing has been made.
    FileError
        If something is missing or cannot be read or written; the tile is named, and all that is done is kept.
    PredictionError
        If a value is not a number, or workers are lost again and again.

    Examples
    --------
    >>> import numpy as np
    >>> import neuromancer as nm
    >>> model = nm.model_manager.newmodel("two nodes")
    >>> image = nm.Input((None, 1, 9, 9), "b,f,y,x", print_repr=False)
    >>> inner = nm.Conv(image, 2, (3, 3), print_repr=False)
    >>> outer = nm.Conv(inner, 1, (2, 2), print_repr=False)
    >>> [a.shape for a in nm.predict_dense([inner, outer], np.zeros((1, 20, 30)))]
    [(2, 18, 28), (1, 17, 27)]
    >>> nm.model_manager.delmodel("two nodes")
    """
    network, several, shown = dense_network(nodes), isinstance(nodes, (list, tuple)), checked_progress(progress)
    options = PredictOptions.checked(
        network.names, several, as_uint8=as_uint8, pad_raw=pad_raw, precision=precision, out=out, resume=resume,
        memory=memory, axes=axes, reduce=reduce, roi=roi, mask=mask, skip_empty=skip_empty, fill=fill, augment=augment,
        tile=tile, shard=shard, threads=threads, on_error=on_error, on_nan=on_nan, on_missing=on_missing,
        journal=journal, store=store,
    )  # fmt: skip
    with worker_pool(executor, workers, retries) as pool, PredictionRun(network, raw_img, options, pool) as run:
        run.execute(shown)
        results = run.results()
    return results if several else results[0]


def plan_dense(
    nodes: GraphNode | Sequence[GraphNode],
    image: Any,
    dtype: Any = None,
    *,
    as_uint8: bool = False,
    pad_raw: bool = False,
    memory: str | float | None = None,
    axes: str | None = None,
    reduce: Any = None,
    roi: Any = None,
    augment: str | None = None,
    tile: Sequence[int] | None = None,
    on_missing: str = "error",
    chunks: Sequence[int] | None = None,
) -> DensePlan:
    """The plan of a prediction, without carrying it out.

    Parameters
    ----------
    nodes : Node or sequence of Node
    image : tuple of int, or array, Source or path
        Shape of the image, (f, (z,) y, x), or the image.
    dtype : numpy dtype, optional
        Of the image, where only its shape is given; default uint8.
    as_uint8, pad_raw, memory, axes, reduce, roi, augment, tile, on_missing
        See :func:`predict_dense`.
    chunks : sequence of int, optional
        Chunks or shards of the store that the result will go to, (f, (z,) y, x).

    Returns
    -------
    DensePlan
        ``str(plan)`` says it in words.

    Raises
    ------
    ShapeError, InputTypeError, GraphError, ArgumentError
        If image, network and options do not fit together.
    """
    network, several = dense_network(nodes), isinstance(nodes, (list, tuple))
    if isinstance(image, (list, tuple)) and all(is_whole(n) for n in image):
        image = DescribedSource(checked_image(image), checked_dtype(dtype or "uint8"))
    elif dtype is not None:
        raise InputTypeError("the image has its own dtype", where="dtype", got=dtype, expected="None")
    options = PredictOptions.checked(
        network.names, several, as_uint8=as_uint8, pad_raw=pad_raw, memory=memory, axes=axes, reduce=reduce, roi=roi,
        augment=augment, tile=tile, on_missing=on_missing,
    )  # fmt: skip
    blocks = None if chunks is None else checked_sizes("chunks", chunks, "(f, (z,) y, x)")
    with PredictionRun(network, image, options) as run:
        return run.plan_for(blocks)
