"""Drawings of symbolic graphs: DOT source, and pictures rendered by graphviz."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from neuromancer.errors import ArgumentError, EngineError, FileError, InputTypeError, MissingDependencyError
from neuromancer.places import local_file, require_replaceable
from neuromancer.printable import escape

FORMATS = ("png", "svg", "pdf", "dot")
LABEL_WIDTH = 60

_OPERATION = 'shape=ellipse, style=filled, fillcolor="#f2f2f2"'
_COLOURS = {"input": "#c7e9c0", "shared": "#9ecae1", "constant": "#ffffff", "output": "#fdd0a2"}


@dataclass(frozen=True)
class Drawer:
    """The functions `dot_text` and `draw` of an engine.

    Parameters
    ----------
    variable_class, constant_class, shared_class, elementwise_class : type
        The engine's classes of variables and of elementwise operations.
    own_function : callable
        The engine's own function inside a :class:`CompiledFunction`; None for anything else.
    graph_inputs : callable
        Inputs of a graph, given its outputs.
    operations : callable
        Operations between inputs and outputs.
    known_shape : callable
        Sizes of a variable, None where unknown; None if it is not a tensor.
    pydotprint : callable
        The engine's own drawing function.
    own_pictures : bool
        Draw pictures with `pydotprint` even without options.
    """

    variable_class: Any
    constant_class: Any
    shared_class: Any
    elementwise_class: Any
    own_function: Callable[[Any], Any]
    graph_inputs: Callable[[list[Any]], Iterable[Any]]
    operations: Callable[[list[Any], list[Any]], Iterable[Any]]
    known_shape: Callable[[Any], Any]
    pydotprint: Callable[..., Any]
    own_pictures: bool = False

    def dot_text(self, target: Any) -> str:
        """Return the graph of `target` as DOT source; needs no graphviz.

        Parameters
        ----------
        target : Variable, sequence of Variable or CompiledFunction
            Of a compiled function, the rewritten graph is drawn: the one that runs.

        Raises
        ------
        InputTypeError
            If `target` is anything else.

        Examples
        --------
        >>> from neuromancer.engine import dot_text, tensor
        >>> print(dot_text(tensor("x", (3,), "float32") + 1).splitlines()[0])
        digraph graph_of_operations {
        """
        inputs, outputs = self._ends(target)
        names: dict[Any, str] = {}

        def name(thing: Any) -> str:
            return names.setdefault(thing, f"n{len(names)}")

        lines = ["digraph graph_of_operations {", "  rankdir=TB;", '  node [fontname="Helvetica", fontsize=11];']
        for node in self.operations(inputs, outputs):
            elementwise = isinstance(node.op, self.elementwise_class)
            label = _shorten(str(node.op.scalar_op if elementwise else node.op))
            lines.append(f'  {name(node)} [label="{label}", {_OPERATION}];')
            for position, variable in enumerate(node.inputs):
                source = name(variable.owner or variable)
                edge = _shorten(self._type_name(variable)) if variable.owner is not None else ""
                if len(node.inputs) > 1:
                    edge = f"{position} {edge}".strip()
                lines.append(f'  {source} -> {name(node)} [label="{edge}", fontsize=9];')
        for variable in [v for v in names if isinstance(v, self.variable_class)]:
            kind = self._kind(variable)
            lines.append(_box(name(variable), self._variable_name(variable), kind))
        for position, variable in enumerate(outputs):
            lines.append(_box(f"out{position}", f"output {position}: {self._variable_name(variable)}", "output"))
            lines.append(f"  {name(variable.owner or variable)} -> out{position};")
            if variable.owner is None:
                lines.append(_box(name(variable), self._variable_name(variable), "input"))
        return "\n".join([*lines, "}"]) + "\n"

    def draw(self, target: Any, path: str | Path, fmt: str | None = None, **options: Any) -> Path:
        """Draw the graph of `target` into a file.

        Parameters
        ----------
        target : Variable, sequence of Variable or CompiledFunction
        path : path-like
            A suffix is added if it has none.
        fmt : {'png', 'svg', 'pdf', 'dot'}, optional
            Default: from the suffix, else 'png'. 'dot' needs no graphviz.
        **options
            Passed to the engine's own ``pydotprint`` (``with_ids``, ``scan_graphs``, ...), which then draws the graph.

        Returns
        -------
        pathlib.Path
            The written file.

        Raises
        ------
        ArgumentError
            On an unknown format or option.
        MissingDependencyError
            If graphviz is not installed.
        FileError
            If the file cannot be written.
        """
        path = local_file(path, "draw")
        chosen = (fmt or path.suffix.removeprefix(".") or "png").lower()
        if chosen not in FORMATS:
            raise ArgumentError("unknown picture format", where="draw", got=chosen, expected=f"one of {FORMATS}")
        if not path.suffix:
            path = path.with_suffix(f".{chosen}")
        require_replaceable(path)
        text = self.dot_text(target)
        program = shutil.which("dot")
        if (chosen != "dot" or options) and program is None:
            raise MissingDependencyError(
                "drawing needs the program 'dot' of graphviz, which is not installed",
                where="draw",
                expected="graphviz installed (for example: apt-get install graphviz, conda install graphviz); "
                "dot_text() and format 'dot' work without it",
            )
        own = bool(options) or (self.own_pictures and chosen != "dot")
        picture = self._pydotprint(target, chosen, options) if own else _render(text, chosen, program)
        try:
            path.write_bytes(picture)
        except OSError as error:
            raise FileError("cannot write the drawing", where=str(path), got=str(error)) from error
        return path

    def _pydotprint(self, target: Any, fmt: str, options: dict[str, Any]) -> bytes:
        """Draw with the engine's own function."""
        known = [name for name in signature(self.pydotprint).parameters if name not in ("fct", "outfile", "format")]
        unknown = [name for name in options if name not in known]
        if unknown:
            raise ArgumentError("unknown drawing options", where="draw", got=unknown, expected=f"some of {known}")
        with TemporaryDirectory() as folder:
            file = Path(folder) / f"graph.{fmt}"
            own = self.own_function(target)
            graph = target if own is None else own
            self.pydotprint(graph, outfile=str(file), format=fmt, **{"print_output_file": False, **options})
            return file.read_bytes()

    def _ends(self, target: Any) -> tuple[list[Any], list[Any]]:
        """Inputs and outputs of the graph of `target`."""
        own = self.own_function(target)
        if own is not None:
            return list(own.maker.fgraph.inputs), list(own.maker.fgraph.outputs)
        single = isinstance(target, self.variable_class)
        outputs = [target] if single else list(target) if isinstance(target, list | tuple) else []
        if not outputs or not all(isinstance(v, self.variable_class) for v in outputs):
            raise InputTypeError(
                "nothing to draw",
                where="draw",
                got=type(target).__name__,
                expected="symbolic variables or a compiled function",
            )
        return list(self.graph_inputs(outputs)), outputs

    def _kind(self, variable: Any) -> str:
        if isinstance(variable, self.constant_class):
            return "constant"
        return "shared" if isinstance(variable, self.shared_class) else "input"

    def _type_name(self, variable: Any) -> str:
        known = self.known_shape(variable)
        if known is None:
            return str(variable.type)
        return f"{variable.type.dtype} ({', '.join('?' if s is None else str(s) for s in known)})"

    def _variable_name(self, variable: Any) -> str:
        if isinstance(variable, self.constant_class) and np.size(variable.data) == 1:
            return str(np.asarray(variable.data).item())
        name = f"{variable.name}: " if variable.name else ""
        return name + self._type_name(variable)


def _render(text: str, fmt: str, program: str | None) -> bytes:
    """Render DOT source as a picture."""
    if fmt == "dot" or program is None:
        return text.encode()
    done = subprocess.run([program, f"-T{fmt}"], input=text.encode(), capture_output=True)
    if done.returncode:
        raise EngineError("graphviz failed", where="draw", got=done.stderr.decode(errors="replace").strip())
    return done.stdout


def _box(identifier: str, label: str, kind: str) -> str:
    return f'  {identifier} [label="{_shorten(label)}", shape=box, style=filled, fillcolor="{_COLOURS[kind]}"];'


def _shorten(text: str) -> str:
    text = escape(text).replace("\\", "/").replace('"', "'")
    return text if len(text) <= LABEL_WIDTH else text[: LABEL_WIDTH - 3] + "..."
