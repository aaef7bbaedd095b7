"""Drawings of symbolic graphs: DOT text, and pictures rendered by graphviz."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from inspect import signature
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from pytensor.compile.sharedvalue import SharedVariable as PlainShared
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.traversal import applys_between, graph_inputs
from pytensor.printing import pydotprint
from pytensor.tensor.elemwise import Elemwise
from pytensor.tensor.type import TensorType

from neuromancer.engine.pytensor.function import CompiledFunction
from neuromancer.errors import ArgumentError, EngineError, FileError, InputTypeError, MissingDependencyError

FORMATS = ("png", "svg", "pdf", "dot")
LABEL_WIDTH = 60

_OPERATION = 'shape=ellipse, style=filled, fillcolor="#f2f2f2"'
_COLOURS = {"input": "#c7e9c0", "shared": "#9ecae1", "constant": "#ffffff", "output": "#fdd0a2"}


def dot_text(target: Variable | CompiledFunction | Iterable[Variable]) -> str:
    """Return the graph of `target` as DOT source; needs no graphviz.

    Parameters
    ----------
    target : Variable, sequence of Variable or CompiledFunction
        A compiled function shows its graph after rewriting, that is what runs.

    Raises
    ------
    InputTypeError
        If `target` is something else.

    Examples
    --------
    >>> from neuromancer.engine import tensor
    >>> print(dot_text(tensor("x", (3,), "float32") + 1).splitlines()[0])
    digraph graph_of_operations {
    """
    inputs, outputs = _ends(target)
    names: dict[Variable | Apply, str] = {}

    def name(thing: Variable | Apply) -> str:
        return names.setdefault(thing, f"n{len(names)}")

    lines = ["digraph graph_of_operations {", "  rankdir=TB;", '  node [fontname="Helvetica", fontsize=11];']
    for node in applys_between(inputs, outputs):
        label = _shorten(_operation_name(node))
        lines.append(f'  {name(node)} [label="{label}", {_OPERATION}];')
        for position, variable in enumerate(node.inputs):
            source = name(variable.owner or variable)
            edge = _shorten(_type_name(variable)) if variable.owner is not None else ""
            if len(node.inputs) > 1:
                edge = f"{position} {edge}".strip()
            lines.append(f'  {source} -> {name(node)} [label="{edge}", fontsize=9];')
    for variable in [v for v in names if isinstance(v, Variable)]:
        kind = (
            "constant" if isinstance(variable, Constant) else "shared" if isinstance(variable, PlainShared) else "input"
        )
        lines.append(_box(name(variable), _variable_name(variable), kind))
    for position, variable in enumerate(outputs):
        lines.append(_box(f"out{position}", f"output {position}: {_variable_name(variable)}", "output"))
        lines.append(f"  {name(variable.owner or variable)} -> out{position};")
        if variable.owner is None:
            lines.append(_box(name(variable), _variable_name(variable), "input"))
    return "\n".join([*lines, "}"]) + "\n"


def draw(
    target: Variable | CompiledFunction | Iterable[Variable], path: str | Path, fmt: str | None = None, **options: Any
) -> Path:
    """Draw the graph of `target` into a file.

    Parameters
    ----------
    target : Variable, sequence of Variable or CompiledFunction
    path : path-like
        A suffix is added when it has none.
    fmt : {'png', 'svg', 'pdf', 'dot'}, optional
        Default: from the suffix, else 'png'. 'dot' needs no graphviz.
    **options
        Options of ``pytensor.printing.pydotprint`` (``with_ids``, ``scan_graphs``, ...), which then does the drawing.

    Returns
    -------
    pathlib.Path
        The file written.

    Raises
    ------
    ArgumentError
        For another format, or an option that does not exist.
    MissingDependencyError
        If graphviz is not installed.
    FileError
        If the file cannot be written.
    """
    path = Path(path)
    chosen = (fmt or path.suffix.removeprefix(".") or "png").lower()
    if chosen not in FORMATS:
        raise ArgumentError("unknown picture format", node="draw", got=chosen, expected=f"one of {FORMATS}")
    if not path.suffix:
        path = path.with_suffix(f".{chosen}")
    text = dot_text(target)
    program = shutil.which("dot")
    if (chosen != "dot" or options) and program is None:
        raise MissingDependencyError(
            "drawing needs the program 'dot' of graphviz, which is not installed",
            node="draw",
            expected="graphviz installed (for example: apt-get install graphviz, conda install graphviz); "
            "dot_text() and format 'dot' work without it",
        )
    picture = _pydotprint(target, chosen, options) if options else _render(text, chosen, program)
    try:
        path.write_bytes(picture)
    except OSError as error:
        raise FileError("cannot write the drawing", node=str(path), got=str(error)) from error
    return path


def _render(text: str, fmt: str, program: str | None) -> bytes:
    """DOT source as a picture."""
    if fmt == "dot" or program is None:
        return text.encode()
    done = subprocess.run([program, f"-T{fmt}"], input=text.encode(), capture_output=True)
    if done.returncode:
        raise EngineError("graphviz failed", node="draw", got=done.stderr.decode(errors="replace").strip())
    return done.stdout


def _pydotprint(target: Any, fmt: str, options: dict[str, Any]) -> bytes:
    """Picture made by PyTensor's own drawing function."""
    known = [name for name in signature(pydotprint).parameters if name not in ("fct", "outfile", "format")]
    unknown = [name for name in options if name not in known]
    if unknown:
        raise ArgumentError("unknown drawing options", node="draw", got=unknown, expected=f"some of {known}")
    graph = target.pytensor_function if isinstance(target, CompiledFunction) else target
    with TemporaryDirectory() as folder:
        file = Path(folder) / f"graph.{fmt}"
        pydotprint(graph, outfile=file, format=fmt, **{"print_output_file": False, **options})
        return file.read_bytes()


def _ends(target: Any) -> tuple[list[Variable], list[Variable]]:
    """Inputs and outputs of the graph of `target`."""
    if isinstance(target, CompiledFunction):
        fgraph = target.pytensor_function.maker.fgraph
        return list(fgraph.inputs), list(fgraph.outputs)
    outputs = [target] if isinstance(target, Variable) else list(target) if isinstance(target, list | tuple) else []
    if not outputs or not all(isinstance(v, Variable) for v in outputs):
        raise InputTypeError(
            "nothing to draw",
            node="draw",
            got=type(target).__name__,
            expected="symbolic variables or a compiled function",
        )
    return list(graph_inputs(outputs)), outputs


def _box(identifier: str, label: str, kind: str) -> str:
    return f'  {identifier} [label="{_shorten(label)}", shape=box, style=filled, fillcolor="{_COLOURS[kind]}"];'


def _operation_name(node: Apply) -> str:
    return str(node.op.scalar_op) if isinstance(node.op, Elemwise) else str(node.op)


def _type_name(variable: Variable) -> str:
    if isinstance(variable.type, TensorType):
        sizes = ", ".join("?" if s is None else str(s) for s in variable.type.shape)
        return f"{variable.type.dtype} ({sizes})"
    return str(variable.type)


def _variable_name(variable: Variable) -> str:
    if isinstance(variable, Constant) and np.size(variable.data) == 1:
        return str(np.asarray(variable.data).item())
    name = f"{variable.name}: " if variable.name else ""
    return name + _type_name(variable)


def _shorten(text: str) -> str:
    text = text.replace("\\", "/").replace('"', "'").replace("\n", " ")
    return text if len(text) <= LABEL_WIDTH else text[: LABEL_WIDTH - 3] + "..."
