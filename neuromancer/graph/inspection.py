"""Looking at nodes: checking what is fed to them, timing, describing and drawing them."""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

from neuromancer import engine as E
from neuromancer.casts import exact_cast, fits_kind
from neuromancer.errors import ArgumentError, FileError, InputTypeError, NeuromancerError, ShapeError, reason
from neuromancer.graph.function import make_func
from neuromancer.masked import unmasked
from neuromancer.places import local_file
from neuromancer.printable import Lines, printable
from neuromancer.progress import say
from neuromancer.utils import as_array, pretty_string_ops, rng

if TYPE_CHECKING:
    from neuromancer.graph.node import Node

PLOT_FORMATS = ("png", "svg", "pdf", "dot")


def check_arrays(
    node: Node, sources: Sequence[Node], arrays: Sequence[Any], evaluated: Sequence[Node] | None = None
) -> list[Any]:
    """Convert what a node is called with to its sources' dtypes, or raise with a table of needed and given.

    Every value is kept: one that the dtype cannot hold is refused, as are labels that the losses among the evaluated
    nodes, and what these depend on, cannot use.

    Parameters
    ----------
    node : Node
        Who is called.
    sources : sequence of Node
        What needs data, in calling order.
    arrays : sequence of array
        The data.
    evaluated : sequence of Node, optional
        What is computed from them; default: `node`.

    Returns
    -------
    list

    Raises
    ------
    InputTypeError, ShapeError, ArgumentError
    """
    if len(arrays) != len(sources):
        raise InputTypeError(
            f"{len(sources)} inputs required, {len(arrays)} given",
            node=node,
            got=_table(sources, arrays),
            expected="one array per source, in this order",
        )
    given = [_check_array(node, s, a, sources, arrays) for s, a in zip(sources, arrays, strict=True)]
    for place, check in _input_checks(sources, [node] if evaluated is None else evaluated):
        check(given[place])
    return [
        a if s.shape is None else exact_cast(a, s.output.dtype, node, f"input {s.name!r}")
        for s, a in zip(sources, given, strict=True)
    ]


def _input_checks(sources: Sequence[Node], nodes: Iterable[Node]) -> Iterator[tuple[int, Callable[[Any], None]]]:
    """Checks of what is fed, with the number of the source that each is for; none twice."""
    places = {id(source): k for k, source in enumerate(sources)}
    known = {id(n): n for node in nodes for n in node.sub_graph()}
    for node in known.values():
        for parent, check in node.input_checks():
            if id(parent) in places:
                yield places[id(parent)], check


def _check_array(node: Node, source: Node, value: Any, sources: Sequence[Node], arrays: Sequence[Any]) -> Any:
    if source.shape is None:
        return value
    dtype = source.output.dtype
    try:
        array = as_array(unmasked(value, node))
    except ValueError as error:
        raise ShapeError(
            f"input {source.name!r} is no array", node=node, got=str(error), expected=repr(source.shape)
        ) from None
    if not fits_kind(array.dtype, dtype):
        raise InputTypeError(
            f"input {source.name!r} has the wrong dtype",
            node=node,
            got=_table(sources, arrays),
            expected=str(dtype),
        )
    declared = source.shape.shape
    if array.ndim != len(declared) or any(d is not None and d != n for d, n in zip(declared, array.shape, strict=True)):
        raise ShapeError(
            f"input {source.name!r} has the wrong shape",
            node=node,
            got=_table(sources, arrays),
            expected=repr(source.shape),
        )
    return array


def _table(sources: Sequence[Node], arrays: Sequence[Any]) -> str:
    rows = [f"\n  {'source':<20}{'required':<43} given"]
    for i in range(max(len(sources), len(arrays))):
        name = sources[i].name if i < len(sources) else "-"
        need = "-"
        if i < len(sources):
            need = "any object" if sources[i].shape is None else f"{sources[i].shape!r} {sources[i].output.dtype}"
        given = "-"
        if i < len(arrays):
            given = _given(arrays[i])
        rows.append(f"  {name:<19} {need:<43} {given}")
    return Lines("\n".join([rows[0], *map(printable, rows[1:])]) + "\n")


def _given(value: Any) -> str:
    if not isinstance(value, (str, dict, set)):
        with suppress(ValueError):  # lists of different lengths
            array = as_array(value)
            return f"{array.shape} {array.dtype}"
    return type(value).__name__


def random_inputs(node: Node) -> list[Any]:
    """Random data in [0, 1) for every source of a node, 0 for labels.

    An unknown size is taken from another source's axis of the same tag (the batch size from any node), else as 1.
    """
    data: list[Any] = []
    sizes: dict[str, int] = {}
    for n in node.sub_graph():
        if n.shape is not None:
            known = {tag: size for tag, size in zip(n.shape.tags, n.shape, strict=True) if size}
            sizes.update((tag, size) for tag, size in known.items() if n.is_source or tag == "b")
    for source in node.input_nodes:
        if source.shape is None:
            raise ArgumentError(
                "cannot make random data for a generic input",
                node=node,
                got=source.name,
                expected="only tensor sources",
            )
        shape = [s or sizes.get(tag, 1) for tag, s in zip(source.shape.tags, source.shape, strict=True)]
        data.append(rng().random(shape).astype(source.output.dtype))
    for place, check in _input_checks(node.input_nodes, [node]):
        try:
            check(data[place])
        except NeuromancerError:  # fractions are no labels, 0 is always one
            data[place] = np.zeros_like(data[place])
    return data


def test_run(node: Node, on_shape_mismatch: str, debug_outputs: bool) -> Any:
    """See :meth:`Node.test_run`."""
    if on_shape_mismatch not in ("warn", "raise", "ignore"):
        raise ArgumentError(
            "unknown on_shape_mismatch",
            node=node,
            got=on_shape_mismatch,
            expected="'warn', 'raise' or 'ignore'",
        )
    data = random_inputs(node)
    node()
    result = node(*data)
    seconds = node.last_exec_time or 0.0
    voxels = np.prod([s or 1 for s in node.shape.spatial_shape]) if node.shape is not None else 0
    speed = f"{seconds * 1e3:.1f} ms, {voxels / 1e6 / max(seconds, 1e-9):.3f} MVx/s"
    say(f"{printable(node.name)}: output {np.shape(result)}, {speed}")
    declared = None if node.shape is None else [s or 1 for s in node.shape.shape]
    if declared is not None and np.shape(result) != tuple(declared) and np.size(result) != np.prod(declared):
        problem = ShapeError(
            "the output has another shape than declared", node=node, got=np.shape(result), expected=declared
        )
        if on_shape_mismatch == "raise":
            raise problem
        if on_shape_mismatch == "warn":
            warnings.warn(str(problem), stacklevel=3)
    return (result, node.get_debug_outputs(*data)) if debug_outputs else result


def measure_exectime(
    node: Node, n_samples: int, n_warmup: int, print_info: bool, local: bool, nonegative: bool
) -> float:
    """See :meth:`Node.measure_exectime`."""
    counts = [isinstance(n, (int, np.integer)) and n >= least for n, least in ((n_samples, 1), (n_warmup, 0))]
    if not all(counts):
        raise ArgumentError(
            "not a number of runs",
            node=node,
            got=(n_samples, n_warmup),
            expected="integers n_samples >= 1, n_warmup >= 0",
        )
    if not node.input_nodes:
        node._exec_times.update(local=0.0, total=0.0)
        return 0.0
    data = random_inputs(node)
    functions = [node._output_func]
    below = [p.output for p in node.parents if not p.is_source]
    if local and below:
        functions.append(make_func(node.input_tensors, below, name=f"{node.name}_parents"))
    # Runs alternate, so that a busy moment of the machine hits both sides of the difference.
    samples: list[list[float]] = [[] for _ in functions]
    for run in range(n_warmup + n_samples):
        for func, times in zip(functions, samples, strict=True):
            start = time.perf_counter()
            func(*data)
            if run >= n_warmup:
                times.append((time.perf_counter() - start) * 1e3)
    medians = [float(np.median(t)) for t in samples]
    node._exec_times["total"] = medians[0]
    result = medians[0]
    if local:
        result -= sum(medians[1:])
        if nonegative:
            result = max(0.0, result)
        node._exec_times["local"] = result
    if print_info:
        scope = "alone" if local else "with all parents"
        say(f"{printable(node.name)}: {result:.3f} ms ({scope}, median of {n_samples} runs)")
    return result


def describe(node: Node) -> str:
    """Representation of a node: class, name, parameters, cost, output shape, order of sources."""
    first = f"<{type(node).__name__}-Node>" + (f" {node.name!r} " if node.name else "")
    if node.shape is None:
        return first
    parts = []
    if node.param_count:
        parts.append(f"#Params={node.param_count:,} ")
    if node.computational_cost:
        parts.append(f"Comp.Cost={pretty_string_ops(node.computational_cost)}, ")
    text = f"{first}\n  {''.join(parts)}Out:{node.shape!r}"
    names = [n.name for n in node.input_nodes]
    if len(names) > 1:
        text += f"\n  Order of sources={names}, "
    extra = node._repr_extra()
    return f"{text}\n  {extra}" if extra else text


def plot_graph(node: Node, outfile: str | Path | None, compiled: bool, **kwargs: Any) -> str:
    """See :meth:`Node.plot_theano_graph`."""
    if outfile is None:
        return _plot_in_own_folder(node, compiled, **kwargs)
    path = local_file(outfile, "plot_theano_graph")
    path = path if path.suffix else path.with_name(f"{path.name}.png")
    fmt = path.suffix[1:].lower()
    if fmt not in PLOT_FORMATS:
        raise ArgumentError(
            "unknown picture format", node=node, got=str(path), expected=f"a path ending in {PLOT_FORMATS}"
        )
    target = node._output_func.compile() if compiled else node.output
    E.draw(target, str(path), fmt, **kwargs)
    return str(path)


def _plot_in_own_folder(node: Node, compiled: bool, **kwargs: Any) -> str:
    """Draw into a new folder that belongs to this user alone: in the common one, others could lay links."""
    name = quote(node.name, safe=" .,;()[]#+=@'!").lstrip(".")[:100] or "graph"
    try:
        folder = Path(tempfile.mkdtemp(prefix="neuromancer_"))
    except OSError as error:
        raise FileError(
            "no folder for temporary files", node=node, got=reason(error), expected="a path as outfile"
        ) from error
    try:
        return plot_graph(node, folder / f"{name}.png", compiled, **kwargs)
    except BaseException:
        folder.rmdir()
        raise
