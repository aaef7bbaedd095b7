"""The contract between nodes and engines: what every symbolic engine provides.

Nodes, optimisers and models use only the names of :class:`Engine`. An engine is a package ``neuromancer.engine.<name>``
that defines all of them; mypy checks both engines against the protocol. The docstrings of the functions stand here
and in :class:`neuromancer.engine.operations.Operations`; `implements` copies them to the engines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from neuromancer.engine.compiled import Compiled
from neuromancer.engine.operations import Operations, Symbol

F = TypeVar("F", bound=Callable[..., Any])


class Engine(Operations, Protocol):
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
        ``SharedVariable(value, name)``: symbolic variable with a value, read and written by ``get_value`` and
        ``set_value``. ``snapshot()`` returns the value without moving it off its device; ``restore(snapshot)`` sets it
        again.
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
        """Return a symbolic input.

        Parameters
        ----------
        name : str or None
        shape : tuple
            Sizes, None where unknown. Only axes of known length 1 are broadcast.
        dtype : str, optional
            Default: `config.floatX`.

        Examples
        --------
        >>> from neuromancer.engine import known_shape, tensor
        >>> known_shape(tensor("x", (None, 1, 9), "float32"))
        (None, 1, 9)
        """

    def generic(self, name: str | None = None) -> Symbol:
        """Return a symbolic input that takes any Python object."""

    def constant(self, value: Any, name: str | None = None, dtype: str | None = None) -> Symbol:
        """Return a symbolic constant.

        Parameters
        ----------
        value : number or array
        dtype : str, optional
            Default: that of an array; `config.floatX` for Python floats and lists of floats.

        Examples
        --------
        >>> from neuromancer.engine import constant, known_shape
        >>> known_shape(constant([1.0, 2.0]))
        (2,)
        """

    def known_shape(self, x: Symbol) -> tuple[int | None, ...] | None:
        """Return the sizes of `x`, None where they are known only at run time; None if `x` is not a tensor.

        Examples
        --------
        >>> from neuromancer.engine import known_shape, tensor
        >>> known_shape(tensor("x", (None, 2), "float32").T)
        (2, None)
        """

    # ---- functions
    def building(self) -> AbstractContextManager[None]:
        """Context in which graphs are built: Python floats take the dtype `config.floatX`.

        The engine's own settings are restored on exit. They belong to the process, so one thread builds at a time.
        """

    def function(
        self,
        inputs: Sequence[Any],
        outputs: Any,
        updates: Any = (),
        name: str = "",
        backend: str | None = None,
        precision: str = "f32",
    ) -> Compiled:
        """Compile a function of `inputs` for the device and precision configured now.

        Parameters
        ----------
        inputs : sequence of Variable
            Arguments of the function; unused ones are allowed.
        outputs : Variable or sequence of Variable
            What the function returns: one numpy array, or a list of them.
        updates : dict or sequence of (SharedVariable, Variable)
            New values of shared variables after each call. Random streams in the graph advance without being listed.
        name : str
        backend : {'auto', 'torch', 'openvino'}, optional
            What computes on the CPU; default: `config.backend`. Functions with updates, random numbers, gradients or
            float64 always run on torch. Theano computes everything itself: only 'auto'.
        precision : {'f32', 'tf32', 'bf16', 'f16'}
            Precision of convolutions and, on backends other than torch, of matrix products. 'tf32' is for GPUs.
            Theano computes in the dtypes of the graph: only 'f32'.

        Returns
        -------
        CompiledFunction
            Takes arrays of any size where the inputs' shapes are None, without compiling again.

        Raises
        ------
        EngineError
            If an output depends on a variable that is not among `inputs`.
        InputTypeError
            If an argument is not a symbolic variable of the right kind, or an update has another dtype.
        DeviceError
            If the configured device does not exist or does not support the precision.
        ArgumentError
            If backend or precision is unknown, or the function cannot run with the precision.
        MissingDependencyError
            If the requested backend is not installed.

        Examples
        --------
        >>> from neuromancer.engine import function, tensor
        >>> x = tensor("x", (None,), "float32")
        >>> function([x], x.sum())([1, 2, 3])
        array(6., dtype=float32)
        """

    def calls_under_way(self) -> int:
        """Return how many calls may be in flight, so that copies overlap computation; 1 without that."""

    def shared_processor(self, parts: int) -> AbstractContextManager[None]:
        """Return a context in which calls use at most this process's share of the processor.

        Parameters
        ----------
        parts : int
            Number of parts into which the cores of this machine are divided; every part is at least one core.

        Examples
        --------
        >>> import neuromancer.engine as E
        >>> with E.shared_processor(2):
        ...     pass
        """

    def free_memory(self) -> int | None:
        """Return the free memory of the configured device in bytes; None if that is the host."""

    def kept_memory(self) -> int:
        """Return the bytes of the host's memory that calls keep for the next ones, if these begin soon."""

    def return_memory(self) -> None:
        """Return that memory to the system at once."""

    # ---- gradients
    def grad(self, cost: Symbol, wrt: Sequence[Any]) -> list[Any]:
        """Return the gradient of the scalar `cost` for each variable of `wrt`; None where it does not depend on it.

        Raises
        ------
        ShapeError
            If `cost` is not a scalar.
        """

    def disconnected_grad(self, x: Symbol) -> Symbol:
        """Return `x` as a constant to every gradient."""

    # ---- loops
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
        """Apply `fn` step by step and stack its results.

        Parameters
        ----------
        fn : callable
            Takes one element of each sequence, then the previous values of each output that has an initial value, then
            the non-sequences; returns the outputs of the step.
        sequences : Variable, list or dict, optional
            Iterated along their first axis. ``dict(input=x, taps=[-1, 0])`` passes several elements per step.
        initial : Variable or list, optional
            Per output: its value before the first step, None if it is not fed back, or
            ``dict(initial=x, taps=[-2, -1])``.
        non_sequences : Variable or list, optional
            Passed unchanged to every step.
        n_steps : int or symbolic integer, optional
            Default: the length of the shortest sequence.
        go_backwards : bool
            Iterate from the last element to the first.
        truncate_gradient : int
            Number of steps through which gradients flow; -1 for all.
        name : str, optional

        Returns
        -------
        Variable or list of Variable
            Every output, with the steps along a new first axis.

        Examples
        --------
        >>> from neuromancer.engine import T, function, scan, tensor
        >>> x = tensor("x", (None,), "float32")
        >>> function([x], scan(lambda v, total: total + v, x, T.zeros((), "float32")))([1, 2, 3])
        array([1., 3., 6.], dtype=float32)
        """

    # ---- graphs
    def rewire(self, outputs: Any, replacements: dict[Any, Any]) -> Any:
        """Return `outputs` with variables replaced, all at once; the parts that do not depend on them are shared.

        Parameters
        ----------
        outputs : Variable or list of Variable
        replacements : dict
            Old variable -> new variable of the same dtype and number of axes; inputs or intermediate results.

        Raises
        ------
        InputTypeError
            If dtype or number of axes differ.

        Examples
        --------
        >>> from neuromancer.engine import function, rewire, tensor
        >>> x, y = tensor("x", (None,), "float32"), tensor("y", (None,), "float32")
        >>> function([x, y], rewire(x - y, {x: y, y: x}))([1], [3])
        array([2.], dtype=float32)
        """

    def view_of(self, variable: Symbol) -> tuple[Any, list[Any]] | None:
        """Return the base of a transposed or sliced variable, and the steps from it to the view.

        Returns
        -------
        (Variable, list) or None
            The variable below all transpositions and constant slices, and these as ``["transpose", [axes]]`` and
            ``["slice", [[start, stop, step] or index, ...]]``, innermost first; None if `variable` is not a view.

        Examples
        --------
        >>> from neuromancer.engine import tensor, view_of
        >>> x = tensor("x", (2, 3), "float32")
        >>> base, steps = view_of(x.T[::-1])
        >>> base is x, steps
        (True, [['transpose', [1, 0]], ['slice', [[None, None, -1]]]])
        """

    def apply_view(self, variable: Symbol, steps: Sequence[Any]) -> Symbol:
        """Apply the steps that `view_of` returned to `variable`.

        Examples
        --------
        >>> from neuromancer.engine import apply_view, constant, function
        >>> view = apply_view(constant([[1, 2], [3, 4]]), [["transpose", [1, 0]], ["slice", [0]]])
        >>> function([], view)().tolist()
        [1, 3]
        """

    def draw(self, target: Any, path: str | Path, fmt: str | None = None, **options: Any) -> Path:
        """Draw the graph of `target` into a file."""

    def dot_text(self, target: Any) -> str:
        """Return the graph of `target` as DOT source."""


_all = {*Engine.__annotations__, *vars(Engine), *vars(Operations)}
NAMES = tuple(sorted(name for name in _all if not name.startswith("_")))
"""Every name of the interface."""


def implements(method: Callable[..., Any]) -> Callable[[F], F]:
    """Return a decorator that gives an engine's function the docstring of a method of :class:`Engine`.

    Parameters
    ----------
    method : callable

    Examples
    --------
    >>> @implements(Engine.generic)
    ... def generic(name=None): ...
    >>> generic.__doc__
    'Return a symbolic input that takes any Python object.'
    """

    def document(function: F) -> F:
        function.__doc__ = method.__doc__
        return function

    return document
