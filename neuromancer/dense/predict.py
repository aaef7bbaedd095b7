"""Dense prediction as it is called."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuromancer import volumes
from neuromancer.casts import is_whole
from neuromancer.dense.arguments import (
    PRECISIONS,
    checked_choice,
    checked_count,
    checked_dtype,
    checked_fill,
    checked_flag,
    checked_image,
    checked_journal,
    checked_outs,
    checked_shard,
    checked_sizes,
    checked_skip,
    checked_store,
    checked_tile,
)
from neuromancer.dense.executors import Team
from neuromancer.dense.memory import memory_budget, parse_bytes
from neuromancer.dense.network import dense_network
from neuromancer.dense.pipeline import Threads, checked_threads
from neuromancer.dense.plan import DensePlan
from neuromancer.dense.planning import Wish
from neuromancer.dense.reduction import Reduction, reduction
from neuromancer.dense.run import Request, Run
from neuromancer.dense.stores import DescribedSource
from neuromancer.dense.work import Rules
from neuromancer.errors import ArgumentError, InputTypeError, ShapeError
from neuromancer.volumes.missing import CHOICES

if TYPE_CHECKING:
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
    nodes : GraphNode or sequence of GraphNode
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
    several = isinstance(nodes, (list, tuple))
    network = dense_network(nodes if several else [nodes])  # type: ignore[arg-type,list-item]
    outs = checked_outs(out, len(network.nodes), several)
    reductions = _reductions(reduce, checked_flag("as_uint8", as_uint8), [n.name for n in network.nodes])
    rules = Rules(
        reductions=reductions,
        fill=checked_fill(fill),
        skip_empty=checked_skip(skip_empty),
        check_nan=_nan_is_error(checked_choice("on_nan", on_nan, (None, "error", "keep")), outs, reductions),
        precision=checked_choice("precision", precision, PRECISIONS, "unknown precision"),
        on_missing=checked_choice("on_missing", on_missing, CHOICES),
    )
    request = Request(
        wish=Wish(checked_flag("pad_raw", pad_raw), roi, augment, checked_tile(tile)),
        rules=rules,
        outs=outs,
        resume=checked_flag("resume", resume),
        memory=parse_bytes(memory),
        axes=axes,
        mask=mask,
        shard=checked_shard(shard),
        threads=checked_threads(threads),
        skip=checked_choice("on_error", on_error, ("stop", "skip")) == "skip",
        journal=checked_journal(journal, outs),
        store=checked_store(store, outs),
    )
    if (shard is not None or resume) and outs is None:
        raise ArgumentError("only what is stored can be shared out or gone on with", node="out", got=None)
    with _team(executor, workers, retries) as team:
        run = Run(network, raw_img, request, memory_budget, team)
        try:
            sinks = run.execute(progress)
        finally:
            run.close()
    if outs is not None:
        return list(outs) if several else outs[0]
    results = [sink.array for sink in sinks]
    if volumes.is_dataarray(raw_img) and all(g.grain == 1 for g in network.joint):
        first = run.planner.roi[0][0]
        results = [
            volumes.result_array(raw_img, values, (first, *o) if run.planner.stack else o, run.spatial, node.name)
            for values, o, node in zip(results, run.planner.offsets, network.nodes, strict=True)
        ]
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
    nodes : GraphNode or sequence of GraphNode
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
    several = isinstance(nodes, (list, tuple))
    network = dense_network(nodes if several else [nodes])  # type: ignore[arg-type,list-item]
    if isinstance(image, (list, tuple)) and all(is_whole(n) for n in image):
        image = DescribedSource(checked_image(image), checked_dtype(dtype or "uint8"))
    elif dtype is not None:
        raise InputTypeError("the image has its own dtype", node="dtype", got=dtype, expected="None")
    reductions = _reductions(reduce, checked_flag("as_uint8", as_uint8), [n.name for n in network.nodes])
    rules = Rules(reductions, on_missing=checked_choice("on_missing", on_missing, CHOICES))
    wish = Wish(checked_flag("pad_raw", pad_raw), roi, augment, checked_tile(tile))
    blocks = None if chunks is None else checked_sizes("chunks", chunks, "(f, (z,) y, x)")
    request = Request(wish=wish, rules=rules, memory=parse_bytes(memory), axes=axes)
    run = Run(network, image, request, memory_budget)
    try:
        if blocks is not None and any(len(blocks) != len(o.shape) for o in run.planner.outputs):
            raise ShapeError(
                "chunks have other axes than the result",
                node="chunks",
                got=blocks,
                expected=f"sizes like {run.planner.outputs[0].shape}",
            )
        return run.plan(units=None if blocks is None else [blocks] * len(network.nodes))
    finally:
        run.close()


@contextmanager
def _team(executor: Any, workers: Any, retries: Any) -> Iterator[Team | None]:
    """The workers of an executor; None without one. Executors that were made for it end with it."""
    if workers is not None:
        checked_count("workers", workers, 1)
    checked_count("retries", retries, 0)
    if executor is None:
        if workers is not None:
            raise ArgumentError("tasks are given to an executor", node="workers", got=workers, expected="executor=...")
        yield None
        return
    team = Team(executor, workers, retries)
    try:
        yield team
    finally:
        team.close()


def _nan_is_error(on_nan: str | None, outs: Any, reductions: Sequence[Reduction]) -> bool:
    """Whether values that are not numbers are refused: integers cannot hold them, and what is stored should not."""
    scaled = any(r.scales for r in reductions)
    if on_nan == "keep" and scaled:
        raise ArgumentError(
            "integers cannot hold what is not a number",
            node="on_nan",
            got="keep",
            expected="'error', or floating point",
        )
    return outs is not None or scaled if on_nan is None else on_nan == "error"


def _reductions(reduce: Any, as_uint8: bool, names: Sequence[str]) -> tuple[Reduction, ...]:
    if as_uint8 and reduce is not None:
        raise ArgumentError("only one of the two can be", node="reduce", got=f"{reduce!r} and as_uint8=True")
    if isinstance(reduce, dict):
        unknown = sorted(set(reduce) - set(names))
        if unknown:
            raise ArgumentError("no such node is predicted", node="reduce", got=unknown, expected=list(names))
        return tuple(reduction(reduce.get(name)) for name in names)
    return (reduction("uint8" if as_uint8 else reduce),) * len(names)
