"""What every symbolic engine provides: the contract between nodes and engines.

Nodes, optimisers and models are written against :class:`Engine` only. An engine is a package
``neuromancer.engine.<name>`` that has all of its names; a type checker holds both engines to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

Symbol = Any
"""A symbolic variable, of whatever class the engine has for it."""
Ints = tuple[int, ...]


class Running(Protocol):
    """A call that has begun."""

    def result(self) -> Any:
        """Wait for its outputs."""


class Compiled(Protocol):
    """A compiled function of arrays.

    Attributes
    ----------
    counters : object
        ``uploads`` and ``downloads`` of arrays so far.
    """

    counters: Any

    def __call__(self, *arguments: Any) -> Any:
        """Compute the outputs, then apply the updates."""

    def start(self, *arguments: Any) -> Running:
        """Begin a call; done at once where `calls_under_way` is 1."""

    def expect(self, products: float, work: float | None = None) -> None:
        """Announce calls of together so many multiply-adds, which are to be computed alike."""

    def release(self) -> None:
        """Give back the memory that is kept from the last call for the next one."""


class Engine(Protocol):
    """The names of an engine. Tensors have the axis order (batch, channels, \\*spatial).

    Attributes
    ----------
    NAME : str
        Name of the engine.
    T : module
        Namespace of tensor functions: elementwise, reductions, indexing, shapes.
    Variable, Constant : type
        Classes of symbolic variables and constants, for isinstance.
    CompiledFunction : type
        Class of what `function` returns, a :class:`Compiled`.
    ConstantVariable : type
        ``ConstantVariable(value, name)``: symbolic constant that can be subclassed.
    SharedVariable : type
        ``SharedVariable(value, name)``: symbolic variable with a value; ``get_value``, ``set_value``; the value left
        where it is is ``snapshot()``, and ``restore(snapshot)`` puts it back.
    RandomStream : type
        ``RandomStream(seed)``: ``normal``, ``uniform``, ``bernoulli``, ``reseed``, ``get_state``, ``set_state``.
    """

    NAME: str
    T: Any
    Variable: type[Any]
    Constant: type[Any]
    CompiledFunction: type[Any]
    ConstantVariable: type[Any]
    SharedVariable: type[Any]
    RandomStream: type[Any]

    # ---- variables
    def tensor(self, name: str | None, shape: tuple[int | None, ...], dtype: str | None = None) -> Symbol:
        """Symbolic input; None in the shape is an unknown size."""

    def generic(self, name: str | None = None) -> Symbol:
        """Symbolic input that takes any Python object."""

    def constant(self, value: Any, name: str | None = None, dtype: str | None = None) -> Symbol:
        """Symbolic constant."""

    def known_shape(self, x: Symbol) -> tuple[int | None, ...] | None:
        """Sizes, None where known only at run time; None if x is no tensor."""

    # ---- functions
    def building(self) -> AbstractContextManager[None]:
        """Context in which graphs are built: Python floats get the configured precision."""

    def function(
        self,
        inputs: Sequence[Any],
        outputs: Any,
        updates: Any = (),
        name: str = "",
        backend: str | None = None,
        precision: str = "f32",
    ) -> Compiled:
        """Compile for the configured device."""

    def calls_under_way(self) -> int:
        """Calls that may be started before the first has ended, so that copies and computation overlap."""

    def free_memory(self) -> int | None:
        """Bytes free on the configured device; None if that is the host."""

    # ---- gradients
    def grad(self, cost: Symbol, wrt: Sequence[Any]) -> list[Any]:
        """Gradients, None where disconnected."""

    def disconnected_grad(self, x: Symbol) -> Symbol:
        """`x`, constant to gradients."""

    # ---- operations
    def conv(self, x: Symbol, w: Symbol, stride: Any = 1, dilation: Any = 1, pad: Any = 0) -> Symbol:
        """Cross-correlation over 1 to 3 spatial axes."""

    def conv_transpose(self, x: Symbol, w: Symbol, stride: Any = 1, dilation: Any = 1, pad: Any = 0) -> Symbol:
        """Adjoint of `conv`, at full size."""

    def conv_cost(self, x_shape: Ints, w_shape: Ints, dilation: Ints, dtype: str) -> tuple[float, float, float]:
        """(work, bytes kept, bytes of scratch) of a convolution without padding; work in products of a direct one."""

    def pool(self, x: Symbol, size: Any, stride: Any = None, dilation: Any = 1, mode: str = "max") -> Symbol:
        """'max', 'average' or 'sum' of valid windows."""

    def pool_copies(self, axes: int, dtype: str) -> int:
        """Arrays beside the one that 'max' takes windows of, by number of axes."""

    def relu(self, x: Symbol) -> Symbol:
        """max(x, 0) of floats, with gradient 0 at 0."""

    def softmax(self, x: Symbol, axis: int) -> Symbol:
        """exp(x) / sum(exp(x)) along an axis, computed stably."""

    def log_softmax(self, x: Symbol, axis: int) -> Symbol:
        """log(softmax(x)) along an axis, computed stably."""

    def fence(self, x: Symbol) -> Symbol:
        """`x`, as something that simplification does not look into."""

    def maximin_pairs(
        self, affinity: Symbol, target: Symbol, labels: Symbol, neighbourhood: Any, unrestricted: bool = True
    ) -> list[Any]:
        """Pairs of voxels per edge of the maximin spanning tree."""

    def scan(
        self,
        fn: Callable[..., Any],
        sequences: Any = None,
        initial: Any = None,
        non_sequences: Any = None,
        n_steps: Any = None,
        go_backwards: bool = False,
        truncate_gradient: int = -1,
        name: str | None = None,
    ) -> Any:
        """Symbolic loop."""

    # ---- graphs
    def rewire(self, outputs: Any, replacements: dict[Any, Any]) -> Any:
        """`outputs` with variables replaced."""

    def view_of(self, variable: Symbol) -> tuple[Any, list[Any]] | None:
        """(variable, steps) of a variable transposed or sliced; steps are lists of numbers and strings. Else None."""

    def apply_view(self, variable: Symbol, steps: Sequence[Any]) -> Symbol:
        """The reverse of `view_of`."""

    def draw(self, target: Any, path: str | Path, fmt: str | None = None, **options: Any) -> Path:
        """Picture of a graph in a file."""

    def dot_text(self, target: Any) -> str:
        """The graph as DOT source."""


NAMES = tuple(sorted(name for name in {*Engine.__annotations__, *vars(Engine)} if not name.startswith("_")))
"""Every name of the interface."""
