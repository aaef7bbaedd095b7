"""Node: a step of the graph that can be called, timed, plotted and used for dense prediction."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, overload

import numpy as np

from neuromancer import dense, pictures
from neuromancer import engine as E
from neuromancer.dense import DensePlan
from neuromancer.dense.options import DenseOptions, Labelled, Out, PlanOptions, RunOptions
from neuromancer.errors import blame
from neuromancer.graph.feeding import check_arrays, random_inputs
from neuromancer.graph.function import LazyFunction
from neuromancer.graph.node import GraphNode
from neuromancer.graph.rebuild import rebuild
from neuromancer.graph.sizes import explaining_sizes
from neuromancer.graph.window import BuildMode
from neuromancer.nodes import inspection
from neuromancer.pictures import Picture
from neuromancer.printable import printable
from neuromancer.progress import Progress, say


class Node(GraphNode):
    """Node of the computational graph; base class of all nodes.

    Calling a node with one array per source, in the order of ``input_nodes``, returns its value as an array. The
    function is compiled at the first call and cached.

    To define a node, derive from Node. In the constructor, call ``Node.__init__`` first, then validate arguments and
    create parameters. Override ``_make_output`` (sets ``self.output``), ``_calc_shape`` (sets ``self.shape``) and
    ``_calc_comp_cost`` (sets ``self.computational_cost``). These methods run after the constructor, in this order, and
    again on copies of the node: they must access parents through attributes of the node and must not create nodes or
    parameters. By default, output and shape are those of the first parent, at a cost of one operation per element.

    Parameters
    ----------
    parent : Node, list of Node or None
        Input node or nodes; None for a source.
    name : str
        Name of up to 1000 characters; a number is appended if it is taken.
    print_repr : bool
        Print the node's representation after construction.

    Attributes
    ----------
    output : symbolic variable
        Symbolic result, used by child nodes.
    shape : TaggedShape
        Sizes, tags, strides and field of view of the output.
    params : dict of str to parameter
        Parameters of this node.
    children : dict of str to Node
        Nodes that have this node as a parent, by name.
    computational_cost : float
        Multiply-accumulates (or elements processed) per evaluation.
    build_mode : BuildMode
        Form in which the node is built: plain, for inference, or dense.

    Raises
    ------
    InputTypeError
        If `parent` is not a node, a list of nodes or None.

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

    if TYPE_CHECKING:  # parents and children of a Node are Nodes
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
        if key not in self.compiled_functions:
            with E.building():
                if key not in self.compiled_functions:  # another thread may have created it
                    self.compiled_functions[key] = make()
        return self.compiled_functions[key]

    @property
    def _output_function(self) -> LazyFunction:
        return self._function("output", lambda: LazyFunction(self.input_tensors, self.output, name=self.name))

    def __call__(self, *args: Any) -> Any:
        """Evaluate the node.

        Without arguments, only compile the function (a graph without sources is evaluated).

        Parameters
        ----------
        *args : array
            One array per source, in the order of ``input_nodes``.

        Returns
        -------
        numpy.ndarray
            Value of ``output``; None if the function is only compiled.

        Raises
        ------
        InputTypeError, ShapeError
            If the number, shape or dtype of the arrays is wrong; the message lists required and given arrays.
        """
        if not args and self.input_nodes:
            return self._output_function()
        with blame(self):
            arrays = check_arrays(self, self.input_nodes, args)
            with explaining_sizes(self, self.input_nodes, arrays):
                return self._output_function(*arrays)

    def infer(self, *args: Any) -> Any:
        """Evaluate the node in its inference form: without dropout, with running batch statistics.

        Parameters
        ----------
        *args : array
            One array per source, in the order of ``input_nodes``.

        Returns
        -------
        numpy.ndarray

        Raises
        ------
        InputTypeError, ShapeError
            If the number, shape or dtype of the arrays is wrong.
        """
        arrays = check_arrays(self, self.input_nodes, args)
        with explaining_sizes(self, self.input_nodes, arrays):
            return self._function("inference", self._make_inference_func)(*arrays)

    def _make_inference_func(self) -> LazyFunction:
        twin = rebuild([self], BuildMode(inference=True))[self]
        return LazyFunction(self.input_tensors, twin.output, name=f"{self.name}_inference")

    def get_debug_outputs(self, *args: Any) -> list[Any]:
        """Evaluate the debug outputs (inner variables) of the node; warn and return an empty list if it has none.

        Parameters
        ----------
        *args : array
            One array per source, in the order of ``input_nodes``.

        Returns
        -------
        list of numpy.ndarray
        """
        if not self._debug_outputs:
            warnings.warn(f"node {self.name!r} has no debug outputs", stacklevel=2)
            return []
        func = self._function(
            "debug", lambda: LazyFunction(self.input_tensors, self._debug_outputs, name=f"{self.name}_dbg")
        )
        values: list[Any] = func(*check_arrays(self, self.input_nodes, args))
        return values

    @overload
    def predict_dense(
        self,
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
        self,
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
        self,
        raw_img: Any,
        as_uint8: bool = ...,
        pad_raw: bool = ...,
        progress: Progress = ...,
        precision: str = ...,
        *,
        out: Out,
        **options: Unpack[RunOptions],
    ) -> Out: ...

    def predict_dense(
        self,
        raw_img: Any,
        as_uint8: bool = False,
        pad_raw: bool = False,
        progress: Progress = None,
        precision: str = "f32",
        **options: Unpack[DenseOptions],
    ) -> Any:
        """Predict every voxel of an image of any size.

        Parameters
        ----------
        raw_img : array, (f, (z,) y, x)
            At least as large as the field of view. Spatial axes in the order of the input node. Integers are divided by
            255, 16-bit integers by their maximum; bool and float are not scaled. A 2-D network predicts every z slice
            of a stack separately.
        as_uint8 : bool
            Return ``floor(255 * prediction)`` as uint8.
        pad_raw : bool
            Mirror-pad the image so that the result has the same size.
        progress : bool or callable, optional
            Show a progress bar; None follows ``config.progress``. Or a function of the numbers of finished voxels and
            of all; see :func:`neuromancer.predict_dense`.
        precision : {'f32', 'tf32', 'bf16', 'f16'}
            'bf16' and 'f16' compute convolutions with 8 and 11 significant bits instead of 24, which is faster on
            processors and GPUs that support them; so does 'tf32' (11 bits) on a GPU (``docs/backends.md``).
        **options
            Options for volumes larger than memory: ``out``, ``resume``, ``memory``, ``roi``, ``mask``, ``preprocess``,
            ``reduce``, ``augment``, ``executor`` and others; for networks that depend on the whole image,
            ``statistics`` and ``sliding_window``. See :func:`neuromancer.predict_dense`.

        Returns
        -------
        numpy.ndarray, xarray.DataArray, or `out`, (f, (z,) y, x)
            Spatial size ``raw - fov + 1``; voxel i belongs to raw voxel ``i + offsets`` (``docs/dense.md``). For a
            DataArray, a DataArray.

        Raises
        ------
        ShapeError, InputTypeError, GraphError
            If the image does not match the network.
        ArgumentError, DeviceError, MissingDependencyError
            If the precision is unknown, or not supported by network, processor or installation.
        """
        return dense.predict_dense(self, raw_img, as_uint8, pad_raw, progress, precision, **options)

    def plan_dense(self, image: Any, dtype: Any = None, **options: Unpack[PlanOptions]) -> DensePlan:
        """Plan a prediction of an image, or of one of this shape; see :func:`neuromancer.plan_dense`."""
        return dense.plan_dense(self, image, dtype, **options)

    def test_run(self, on_shape_mismatch: str = "warn", debug_outputs: bool = False) -> Any:
        """Evaluate the node on random data of the declared shapes and report shape, time and speed.

        Parameters
        ----------
        on_shape_mismatch : {'warn', 'raise', 'ignore'}
            What to do if the output does not have the declared shape.
        debug_outputs : bool
            Also return the debug outputs.

        Returns
        -------
        numpy.ndarray, or tuple of numpy.ndarray and list of numpy.ndarray

        Raises
        ------
        ArgumentError
            If `on_shape_mismatch` is unknown.
        ShapeError
            On a mismatch, with 'raise'.
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
        """Duration of the last call in seconds, None before the first call."""
        func = self.compiled_functions.get("output")
        return None if func is None else func.last_exec_time

    @property
    def local_exec_time(self) -> float:
        """Execution time of this node without its parents in milliseconds, measured at first access."""
        if "local" not in self._exec_times:
            self.measure_exectime(print_info=False)
        return self._exec_times["local"]

    @property
    def total_exec_time(self) -> float:
        """Execution time of this node and all nodes it depends on in milliseconds, measured at first access."""
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
        """Measure the execution time of the node on random data.

        Parameters
        ----------
        n_samples : int
            Number of timed runs.
        n_warmup : int
            Number of warm-up runs, which are not timed.
        print_info : bool
            Print the result.
        local : bool
            Subtract the execution time of the parents.
        nonegative : bool
            Return 0 instead of a negative difference.

        Returns
        -------
        float
            Median in milliseconds; 0 for a graph without sources.

        Raises
        ------
        ArgumentError
            If `n_samples` is not an int >= 1 or `n_warmup` not an int >= 0.
        """
        inspection.check_runs(self, n_samples, n_warmup)
        if not self.input_nodes:
            self._exec_times.update(local=0.0, total=0.0)
            return 0.0
        functions = [self._output_function]
        outputs = [p.output for p in self.parents if not p.is_source]
        if local and outputs:
            functions.append(LazyFunction(self.input_tensors, outputs, name=f"{self.name}_parents"))
        total, *parents = inspection.median_times(functions, random_inputs(self), n_samples, n_warmup)
        self._exec_times["total"] = result = total
        if local:
            result -= sum(parents)
            self._exec_times["local"] = result = max(0.0, result) if nonegative else result
        if print_info:
            scope = "alone" if local else "with all parents"
            say(f"{printable(self.name)}: {result:.3f} ms ({scope}, median of {n_samples} runs)")
        return result

    def plot_theano_graph(self, outfile: str | Path | None = None, compiled: bool = True, **kwargs: Any) -> str:
        """Plot the symbolic graph of this node's function to a file.

        Parameters
        ----------
        outfile : str or Path, optional
            Path ending in .png (added if there is no suffix), .svg, .pdf or .dot (does not need graphviz). Default:
            ``<name>.png`` in a new temporary folder that only this user can read.
        compiled : bool
            Plot the compiled, optimised graph instead of the original one.
        **kwargs
            Options of the engine's plotting function.

        Returns
        -------
        str
            Path of the file.

        Raises
        ------
        MissingDependencyError
            If graphviz is not installed.
        ArgumentError
            If the suffix is unknown.
        FileError
            If the file cannot be written, or there is no folder for temporary files.
        """
        target = self._output_function.compile if compiled else lambda: self.output
        return inspection.draw(self, target, outfile, **kwargs)

    def plot(self, path: str | Path | None = None, format: str | None = None, **options: Any) -> Picture:
        """Plot this node and all nodes it depends on; see ``Model.plot``."""
        return pictures.plot(pictures.describe_node(self), path, format, **options)
