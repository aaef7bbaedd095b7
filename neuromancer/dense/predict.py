"""Entry points of dense prediction.

Image -> :class:`PredictionRun` -> plan -> tiles -> network -> sinks.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack, overload

import numpy as np

from neuromancer import engine as E
from neuromancer.casts import is_whole
from neuromancer.dense.arguments import (
    checked_dtype,
    checked_image,
    checked_progress,
    checked_sizes,
    with_checked_names,
)
from neuromancer.dense.network import checked_nodes
from neuromancer.dense.options import Labelled, Out, PredictOptions, RunOptions
from neuromancer.dense.pipeline import Threads
from neuromancer.dense.plan import DensePlan
from neuromancer.dense.prediction import prediction
from neuromancer.dense.sliding_window import SlidingWindow
from neuromancer.dense.stores import DescribedSource
from neuromancer.dense.workers import worker_pool
from neuromancer.errors import InputTypeError
from neuromancer.graph.node import GraphNode
from neuromancer.progress import Progress


@overload
def predict_dense(
    nodes: GraphNode,
    raw_img: Labelled,
    as_uint8: bool = ...,
    pad_raw: bool = ...,
    progress: Progress = ...,
    precision: str = ...,
    *,
    out: None = ...,
    **options: Unpack[RunOptions],
) -> Labelled | np.ndarray: ...


@overload
def predict_dense(
    nodes: GraphNode,
    raw_img: Any,
    as_uint8: bool = ...,
    pad_raw: bool = ...,
    progress: Progress = ...,
    precision: str = ...,
    *,
    out: None = ...,
    **options: Unpack[RunOptions],
) -> np.ndarray: ...


@overload
def predict_dense(
    nodes: GraphNode,
    raw_img: Any,
    as_uint8: bool = ...,
    pad_raw: bool = ...,
    progress: Progress = ...,
    precision: str = ...,
    *,
    out: Out,
    **options: Unpack[RunOptions],
) -> Out: ...


@overload
def predict_dense(
    nodes: Sequence[GraphNode],
    raw_img: Labelled,
    as_uint8: bool = ...,
    pad_raw: bool = ...,
    progress: Progress = ...,
    precision: str = ...,
    *,
    out: None = ...,
    **options: Unpack[RunOptions],
) -> list[Labelled | np.ndarray]: ...


@overload
def predict_dense(
    nodes: Sequence[GraphNode],
    raw_img: Any,
    as_uint8: bool = ...,
    pad_raw: bool = ...,
    progress: Progress = ...,
    precision: str = ...,
    *,
    out: None = ...,
    **options: Unpack[RunOptions],
) -> list[np.ndarray]: ...


@overload
def predict_dense(
    nodes: Sequence[GraphNode],
    raw_img: Any,
    as_uint8: bool = ...,
    pad_raw: bool = ...,
    progress: Progress = ...,
    precision: str = ...,
    *,
    out: Sequence[Out],
    **options: Unpack[RunOptions],
) -> list[Out]: ...


@with_checked_names
def predict_dense(
    nodes: GraphNode | Sequence[GraphNode],
    raw_img: Any,
    as_uint8: bool = False,
    pad_raw: bool = False,
    progress: Progress = None,
    precision: str = "f32",
    *,
    out: Any = None,
    resume: bool = False,
    memory: str | float | None = None,
    axes: str | None = None,
    preprocess: Any = None,
    postprocess: Any = None,
    reduce: Any = None,
    roi: Any = None,
    mask: Any = None,
    skip_empty: Any = None,
    fill: float = 0,
    augment: str | None = None,
    statistics: str | None = None,
    tile: Sequence[int] | None = None,
    sliding_window: SlidingWindow | None = None,
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
    """Predict one or several nodes at every voxel of an image of any size, from any store to any store.

    Parameters
    ----------
    nodes : Node or sequence of Node
        Nodes to predict. Several nodes of one graph are evaluated together; shared layers run once per tile.
    raw_img : array, Source or path, (f, (z,) y, x)
        See :meth:`neuromancer.node_basic.Node.predict_dense`. Masked voxels of a masked array are treated like voxels
        where `mask` is 0.
    as_uint8 : bool
        Store ``floor(255 * prediction)``; same as ``reduce="uint8"``.
    pad_raw : bool
        Mirror-pad the image so that the result has the same size.
    progress : bool or callable, optional
        Show a progress bar; None follows ``config.progress``. Or a function of the numbers of finished voxels and of
        all, called in this thread before the first tile and after every tile; what it raises ends the prediction, with
        all finished tiles kept. With `resume`, only what is left is counted; every pass over the image counts anew.
    precision : {'f32', 'tf32', 'bf16', 'f16'}
        Precision of convolutions; 'tf32' on a GPU only.
    out : array, Sink or path, or a list with one per node, optional
        Where to store the result; default: return an array in memory.
    resume : bool
        Continue an interrupted prediction.
    memory : str or int, optional
        Memory limit in bytes, e.g. ``"4GB"``, for each process that runs tiles; default: a fraction of the free memory,
        shared by all processes.
    axes : str, optional
        Axis order of the image, e.g. ``"zyxc"``.
    preprocess : list, optional
        Steps applied to the image before the network sees it, each a name or a pair of a name and a dict of arguments,
        e.g. ``[("zero_mean_unit_variance", {"axes": "yx"})]``; see ``docs/bioimageio.md``. Mean, standard deviation and
        percentiles are those of the whole image. Integers are not scaled otherwise.
    postprocess : list, optional
        Steps of the same kind, applied to the prediction before `reduce`. Statistics are those of the whole result,
        which must then be predicted into memory.
    reduce : optional
        Postprocessing before values are stored: ``'uint8'``, ``'uint16'``, ``'argmax'``, a channel, a list of channels,
        ``('threshold', t)``, a function of a block (f, images, \\*spatial) that preserves the voxels, or a list of
        these, applied in order. For several nodes, a dict from node name to any of these.
    roi : sequence, optional
        Region of the result to predict: per axis a slice, (start, stop) or None.
    mask : array, Source or path, optional
        Same size as the image, or downsampled by integer factors. Voxels where it is 0 are set to `fill`; tiles where
        it is 0 everywhere are not evaluated.
    skip_empty : 'constant' or float, optional
        Fill tiles whose image block is constant, or has this value everywhere, instead of evaluating them.
    fill : float
        Fill value; must be representable in the stored dtype. 'uint8' and 'uint16' scale a value between 0 and 1 like a
        prediction.
    augment : {'flips', 'rotations', 'all'}, optional
        Test-time augmentation: average the predictions over views of the image.
    statistics : {'volume'}, optional
        For networks with nodes that depend on the whole image, such as instance normalisation: 'volume' gives them the
        statistics of the whole image, exactly. If memory suffices, the network is evaluated on the image at once; else
        passes over it gather the statistics, layer by layer. Activations are kept in files beside the result (for a
        result in memory, in the folder for temporary files) where that is cheaper than to compute them again.
    tile : sequence of int, optional
        Tile shape in voxels of the result; default: chosen to fit the memory.
    sliding_window : SlidingWindow, optional
        Evaluate the network on patches that overlap, and average them with weights, as nnU-Net and MONAI do. This is an
        approximation, which also works for nodes that depend on the whole image, such as instance normalisation: they
        see a patch. `pad_raw` then mirrors the image only by what the network crops, `skip_empty` leaves out patches,
        and `tile` and `augment` cannot be given.
    shard : (int, int), optional
        (i, n): run only the i-th of n parts of the tiles.
    executor : concurrent.futures.Executor, dask.distributed.Client, or function that returns an Executor, optional
        Executor that runs the tiles.
    workers : int, optional
        Maximum number of tasks submitted at once; default: twice the number of workers. Requires `executor`.
    retries : int
        Maximum number of resubmissions after a worker is lost.
    threads : Threads, optional
        Numbers of reader and writer threads, and sizes of their queues.
    on_error : {'stop', 'skip'}
        What to do if a tile cannot be read or computed: stop, keeping all finished tiles, or skip it and warn.
    on_nan : {'error', 'keep'}, optional
        Whether NaN in the prediction is an error. Default: 'error' if the result goes to `out` or is reduced to 'uint8'
        or 'uint16', which have no NaN; else 'keep'.
    on_missing : {'error', 'fill'}
        How to treat missing or damaged parts of image and mask: raise an error, before any output is created if they
        can be detected by then; or read them as the file's fill value (else 0) and issue one ``IncompleteWarning`` that
        lists them.
    journal : path, optional
        Folder that records finished tiles; default: the name of `out` followed by ``.progress``.
    store : dict, optional
        Further arguments of ``neuromancer.volumes.create_sink``, such as ``chunks`` or ``compression``. By default,
        chunks of a new store are small enough for a tile to fit into memory.

    Returns
    -------
    numpy.ndarray, xarray.DataArray, or `out`
        (f, (z,) y, x); a list for several nodes. For a DataArray, a DataArray with the coordinates of the predicted
        voxels (a plain array if the result is on a finer grid than the image).

    Raises
    ------
    ShapeError, InputTypeError, GraphError, ArgumentError
        If image, network and options do not fit together; no output has been created then.
    FileError
        If something is missing or cannot be read or written. The error names the tile; finished tiles are kept.
    PredictionError
        If the prediction contains NaN, or a task loses its worker more than `retries` times.

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
    listed, several = checked_nodes(nodes), isinstance(nodes, (list, tuple))
    shown = checked_progress(progress)
    options = PredictOptions.checked(
        [n.name for n in listed], several, as_uint8=as_uint8, pad_raw=pad_raw, precision=precision, out=out,
        resume=resume, memory=memory, axes=axes, preprocess=preprocess, postprocess=postprocess, reduce=reduce,
        roi=roi, mask=mask, skip_empty=skip_empty, fill=fill, augment=augment, statistics=statistics, tile=tile,
        sliding_window=sliding_window, shard=shard, threads=threads, on_error=on_error, on_nan=on_nan,
        on_missing=on_missing, journal=journal, store=store,
    )  # fmt: skip
    with worker_pool(executor, workers, retries) as pool, prediction(listed, raw_img, options, pool) as run:
        run.execute(shown)
        results = run.results()
    return results if several else results[0]


@with_checked_names
def plan_dense(
    nodes: GraphNode | Sequence[GraphNode],
    image: Any,
    dtype: Any = None,
    *,
    as_uint8: bool = False,
    pad_raw: bool = False,
    memory: str | float | None = None,
    axes: str | None = None,
    preprocess: Any = None,
    postprocess: Any = None,
    reduce: Any = None,
    roi: Any = None,
    augment: str | None = None,
    statistics: str | None = None,
    tile: Sequence[int] | None = None,
    sliding_window: SlidingWindow | None = None,
    on_missing: str = "error",
    chunks: Sequence[int] | None = None,
) -> DensePlan:
    """Plan a prediction without running it.

    Parameters
    ----------
    nodes : Node or sequence of Node
    image : tuple of int, or array, Source or path
        Shape of the image, (f, (z,) y, x), or the image itself.
    dtype : numpy dtype, optional
        Dtype of the image if `image` is a shape; default uint8.
    as_uint8, pad_raw, memory, axes, preprocess, postprocess, reduce, roi, augment, statistics, tile, sliding_window, \
    on_missing
        See :func:`predict_dense`.
    chunks : sequence of int, optional
        Chunk or shard shape of the output store, (f, (z,) y, x).

    Returns
    -------
    DensePlan
        ``str(plan)`` is a summary in words.

    Raises
    ------
    ShapeError, InputTypeError, GraphError, ArgumentError
        If image, network and options do not fit together.
    """
    listed, several = checked_nodes(nodes), isinstance(nodes, (list, tuple))
    if isinstance(image, (list, tuple)) and all(is_whole(n) for n in image):
        image = DescribedSource(checked_image(image), checked_dtype(dtype or "uint8"))
    elif dtype is not None:
        raise InputTypeError("an image already has a dtype", where="dtype", got=dtype, expected="None")
    options = PredictOptions.checked(
        [n.name for n in listed], several, as_uint8=as_uint8, pad_raw=pad_raw, memory=memory, axes=axes,
        preprocess=preprocess, postprocess=postprocess, reduce=reduce, roi=roi, augment=augment,
        statistics=statistics, tile=tile, sliding_window=sliding_window,
        on_missing=on_missing,
    )  # fmt: skip
    blocks = None if chunks is None else checked_sizes("chunks", chunks, "(f, (z,) y, x)")
    E.measure_speed(listed[0].output.dtype)
    with prediction(listed, image, options) as run:
        return run.plan_for(blocks)
