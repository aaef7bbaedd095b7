"""Node: a step of the graph that can be called, timed, drawn and predicted with."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from neuromancer import dense, pictures
from neuromancer import engine as E
from neuromancer.dense import DensePlan
from neuromancer.dense.options import DenseOptions, PlanOptions
from neuromancer.errors import blame
from neuromancer.graph.feeding import check_arrays, random_inputs
from neuromancer.graph.function import LazyFunction
from neuromancer.graph.node import GraphNode
from neuromancer.graph.rebuild import rebuild
from neuromancer.graph.window import BuildMode
from neuromancer.nodes import inspection
from neuromancer.pictures import Picture
from neuromancer.printable import printable
from neuromancer.progress import say


class Node(GraphNode):
    """A step of the computation; all nodes derive from it.

    Called with arrays for its sources, in the order of ``input_nodes``, a node returns its value as an array. The
    function is compiled at the first call and kept.

    To write one's own node, derive from Node, call ``Node.__init__`` first, validate and make parameters in the
    constructor, and override ``_make_output`` (sets ``self.output``), ``_calc_shape`` (sets ``self.shape``) and
    ``_calc_comp_cost`` (sets ``self.computational_cost``). They run after the constructor, in this order, and may run
    again on copies: read the parents through attributes of the node, and create nothing in them. The defaults pass
    output and shape of the first parent on, at a cost of one operation per element.

    Parameters
    ----------
    parent : Node, list of Node or None
        Where the node's input comes from; None for a source.
    name : str
        Name of up to 1000 characters, made unique within the model.
    print_repr : bool
        Print the representation of the finished node.

    Attributes
    ----------
    output : symbolic variable
    shape : TaggedShape
    params : dict of str to parameter
    children : dict of str to Node
    computational_cost : float
        Multiply-accumulates (or elements processed) of one evaluation.
    build_mode : BuildMode
        The form in which the node is built.

    Raises
    ------
    InputTypeError
        If `parent` is anything else than nodes.

    Examples
    --------
    >>> import numpy as np
    >>> from neuromancer import Input, Node
    >>> class Twice(Node):
    ...     def _make_output(self):
    ...         self.output = 2 * self.parent.output
    >>> inp = Input((2, 3), "b,f", print_repr=False)
    >>> Twice(inp, name="twice")(np.ones((2, 3), "float32")).tolist()
    [[2.0, 2.0, 2.0], [2.0, 2.0, 2.0]]
    """

    if TYPE_CHECKING:  # the graph around a Node is made of Nodes
        children: dict[str, Node]  # type: ignore[assignment]

        @property
        def parents(self) -> tuple[Node, ...]: ...
        def sub_graph(self) -> Iterator[Node]: ...
        @property
        def all_parents(self) -> dict[str, Node]: ...  # type: ignore[override]
        @property
        def all_children(self) -> dict[str, Node]: ...  # type: ignore[override]
        @property
        def input_nodes(self) -> list[Node]: ...  # type: ignore[override]

    def _function(self, key: str, make: Callable[[], LazyFunction]) -> LazyFunction:
        if key not in self._functions:
            with E.building():
                if key not in self._functions:  # another thread may have been first
                    self._functions[key] = make()
        return self._functions[key]

    @property
    def _output_func(self) -> LazyFunction:
        return self._function("output", lambda: LazyFunction(self.input_tensors, self.output, name=self.name))

    def __call__(self, *args: Any) -> Any:
        """Value of the node for the given arrays, one per source in the order of ``input_nodes``.

        Without arguments the function is only compiled (a graph without sources is evaluated).

        Raises
        ------
        InputTypeError, ShapeError
            With a table of what is needed and what came.
        """
        if not args and self.input_nodes:
            return self._output_func()
        with blame(self):
            return self._output_func(*check_arrays(self, self.input_nodes, args))

    def infer(self, *args: Any) -> Any:
        """Value of the node in its inference form: without dropout, with running batch statistics.

        Parameters
        ----------
        *args : array
            One per source, as for calling the node.
        """
        arrays = check_arrays(self, self.input_nodes, args)
        return self._function("inference", self._make_inference_func)(*arrays)

    def _make_inference_func(self) -> LazyFunction:
        twin = rebuild([self], BuildMode(inference=True))[self]
        return LazyFunction(self.input_tensors, twin.output, name=f"{self.name}_inference")

    def get_debug_outputs(self, *args: Any) -> list[Any]:
        """Values of the node's inner variables for the given arrays; an empty list, and a warning, if it keeps none."""
        if not self._debug_outputs:
            warnings.warn(f"node {self.name!r} has no debug outputs", stacklevel=2)
            return []
        func = self._function(
            "debug", lambda: LazyFunction(self.input_tensors, self._debug_outputs, name=f"{self.name}_dbg")
        )
        values: list[Any] = func(*check_arrays(self, self.input_nodes, args))
        return values

    def predict_dense(
        self,
        raw_img: Any,
        as_uint8: bool = False,
        pad_raw: bool = False,
        progress: bool | None = None,
        precision: str = "f32",
        **options: Unpack[DenseOptions],
    ) -> Any:
        """Prediction at every voxel of an image of any size: the answer for the whole image at once.

        Parameters
        ----------
        raw_img : array, (f, (z,) y, x)
            At least as large as the field of view. Spatial axes in the order of the input node's. 8-bit and other
            integers are scaled to [0, 1] by 255; bool and float are taken as they are. A 2-D network predicts each
            z slice of a stack by itself.
        as_uint8 : bool
            Return ``floor(255 * prediction)`` as uint8.
        pad_raw : bool
            Mirror the image at its borders so that the result has its size.
        progress : bool, optional
            Show a progress bar; None follows ``config.progress``.
        precision : {'f32', 'tf32', 'bf16', 'f16'}
            'bf16' and 'f16' compute convolutions with 8 and 11 significant bits instead of 24, which is faster on
            processors and GPUs with units for it, as is 'tf32' (11 bits) on a GPU (``docs/backends.md``).
        **options
            For volumes larger than memory: ``out``, ``resume``, ``memory``, ``roi``, ``mask``, ``reduce``, ``augment``,
            ``executor`` and others; see :func:`neuromancer.predict_dense`.

        Returns
        -------
        numpy.ndarray, (f, (z,) y, x)
            Spatial size ``raw - fov + 1``; voxel i belongs to raw voxel ``i + offsets`` (``docs/dense.md``).

        Raises
        ------
        ShapeError, InputTypeError, GraphError
            If image and network do not fit together.
        ArgumentError, DeviceError, MissingDependencyError
            If the precision is unknown, or network, processor or installation do not have it.
        """
        return dense.predict_dense(self, raw_img, as_uint8, pad_raw, progress, precision, **options)

    def plan_dense(self, image: Any, dtype: Any = None, **options: Unpack[PlanOptions]) -> DensePlan:
        """How `predict_dense` would go about an image, or one of a shape; see :func:`neuromancer.plan_dense`."""
        return dense.plan_dense(self, image, dtype, **options)

    def test_run(self, on_shape_mismatch: str = "warn", debug_outputs: bool = False) -> Any:
        """Evaluate the node on random data of the declared shapes and report shape, time and speed.

        Parameters
        ----------
        on_shape_mismatch : {'warn', 'raise', 'ignore'}
            What to do if the output has another shape than declared.
        debug_outputs : bool
            Also return the debug outputs.

        Returns
        -------
        array, or tuple of array and list
        """
        inspection.check_mismatch(self, on_shape_mismatch)
        data = random_inputs(self)
        self()
        result = self(*data)
        inspection.report_run(self, result, self.last_exec_time or 0.0, on_shape_mismatch)
        return (result, self.get_debug_outputs(*data)) if debug_outputs else result

    # ---- measuring and showing
    @property
    def last_exec_time(self) -> float | None:
        """Duration of the last call in seconds, None before the first."""
        func = self._functions.get("output")
        return None if func is None else func.last_exec_time

    @property
    def local_exec_time(self) -> float:
        """Time of this node alone in milliseconds, measured if that has not been done yet."""
        if "local" not in self._exec_times:
            self.measure_exectime(print_info=False)
        return self._exec_times["local"]

    @property
    def total_exec_time(self) -> float:
        """Time of this node with everything that it is computed from, in milliseconds."""
        if "total" not in self._exec_times:
            self.measure_exectime(print_info=False, local=False)
        return self._exec_times["total"]

    def measure_exectime(
        self,
        n_samples: int = 5,
        n_warmup: int = 4,
        print_info: bool = True,
        local: bool = True,
        nonegative: bool = True,
    ) -> float:
        """Median time of evaluating the node on random data.

        Parameters
        ----------
        n_samples : int
            Number of timed runs.
        n_warmup : int
            Runs before, which do not count.
        print_info : bool
            Print the result.
        local : bool
            Subtract the time that computing the parents takes.
        nonegative : bool
            Return 0 instead of a negative difference.

        Returns
        -------
        float
            Milliseconds.
        """
        inspection.check_runs(self, n_samples, n_warmup)
        if not self.input_nodes:
            self._exec_times.update(local=0.0, total=0.0)
            return 0.0
        functions = [self._output_func]
        below = [p.output for p in self.parents if not p.is_source]
        if local and below:
            functions.append(LazyFunction(self.input_tensors, below, name=f"{self.name}_parents"))
        total, *of_parents = inspection.median_times(functions, random_inputs(self), n_samples, n_warmup)
        self._exec_times["total"] = result = total
        if local:
            result -= sum(of_parents)
            self._exec_times["local"] = result = max(0.0, result) if nonegative else result
        if print_info:
            scope = "alone" if local else "with all parents"
            say(f"{printable(self.name)}: {result:.3f} ms ({scope}, median of {n_samples} runs)")
        return result

    def plot_theano_graph(self, outfile: str | Path | None = None, compiled: bool = True, **kwargs: Any) -> str:
        """Draw the symbolic graph of this node's function into a file.

        Parameters
        ----------
        outfile : str or Path, optional
            Path ending in .png (also the default), .svg, .pdf or .dot (DOT text needs no graphviz); default
            ``<name>.png`` in a new folder for temporary files, which only this user can read.
        compiled : bool
            Draw the compiled, optimised graph instead of the one as written.
        **kwargs
            Options for the engine's plotting function.

        Returns
        -------
        str
            The path.

        Raises
        ------
        MissingDependencyError
            If graphviz is not installed.
        FileError
            If the file cannot be written, or there is no folder for temporary files.
        """
        target = self._output_func.compile if compiled else lambda: self.output
        return inspection.draw(self, target, outfile, **kwargs)

    def plot(self, path: str | Path | None = None, format: str | None = None, **options: Any) -> Picture:
        """Picture of this node and all that it is computed from; see ``Model.plot``."""
        return pictures.plot(pictures.describe_node(self), path, format, **options)
