"""Base class of all nodes: construction, the surrounding graph, and parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from neuromancer import engine as E
from neuromancer.casts import exact_cast
from neuromancer.config import config
from neuromancer.errors import (
    ArgumentError,
    GraphError,
    InputTypeError,
    ShapeError,
    UnknownNameError,
    nearest_name,
)
from neuromancer.graph.demand import Demand
from neuromancer.graph.function import LazyFunction
from neuromancer.graph.node_type import NodeType
from neuromancer.graph.registry import model_manager
from neuromancer.graph.statistics import FeatureStatistics
from neuromancer.graph.tagged_shape import TaggedShape
from neuromancer.graph.window import BuildMode, Window
from neuromancer.graph.work import Work
from neuromancer.utils import as_array, check_name, pretty_string_ops
from neuromancer.variables import ConstantParam, VariableParam

Param = VariableParam | ConstantParam

# Parameters that depend on the batch normalisation mode; they may be missing when loading values from another mode.
OPTIONAL_PARAMS = ("gamma", "std", "mean")


class GraphNode(metaclass=NodeType):
    """A node without evaluation: its place in the graph, its shape and its parameters.

    :class:`neuromancer.Node` adds evaluation.
    """

    is_source: bool = False
    build_mode: BuildMode = BuildMode()
    windows: tuple[Window, ...] | None = None
    equivariant: bool = True
    """Whether the output shifts along with the input, as dense prediction requires."""

    whole_image: str = ""
    """How the output depends on the whole image, of any size, as a phrase for errors; empty if it does not."""

    statistic_rows: int = 0
    """Values per feature by which statistics of its parent replace the whole image; 0 if they cannot."""

    broadcasts: bool = True
    """Whether axes on which a parent has size 1 are repeated to the size of the others."""

    refined: bool = False
    """Whether the node or an ancestor is an up-convolution, so that fields of view differ between voxels."""

    joins_features: bool = False
    """Whether the result is that of the parents, joined along axis 1, the features."""

    functions: float = 0.0
    """Evaluations of functions like exp and tanh per value of the result; for estimates of time, as are `passes`."""

    passes: float = 1.0
    """Times that parents and result are read or written."""

    demanded: Demand = Demand()
    """Upper bound on the cost of building the node, if it was loaded from a file."""

    _finalised: bool = False
    construction: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})

    def __init__(
        self, parent: GraphNode | Sequence[GraphNode] | None, name: str = "", print_repr: bool = False
    ) -> None:
        self.name: str = model_manager.active().unique_name(check_name("" if name is None else name, self))
        self._print_repr = print_repr
        several = parent if isinstance(parent, (list, tuple)) else [] if parent is None else [parent]
        for p in several:
            if not isinstance(p, GraphNode):
                raise InputTypeError("a parent must be a node", node=self, got=f"{type(p).__name__} {p!r}"[:200])
        self.parent: Any = parent
        self.children: dict[str, GraphNode] = {}
        self.params: dict[str, Param] = {}
        self.computational_cost: float = 0
        self.output: Any = None
        self.shape: TaggedShape = None  # type: ignore[assignment]  # _calc_shape sets it
        self._debug_outputs: list[Any] = []
        self._feature_names: tuple[str, ...] | None = None
        self.compiled_functions: dict[str, LazyFunction] = {}
        self._exec_times: dict[str, float] = {}

    # ---- building
    @classmethod
    def demand(cls, arguments: Mapping[str, Any]) -> Demand:
        """Return an upper bound on the cost of the constructor; checked before a node from a file is built.

        Override it if the node creates more than a few symbolic operations, or allocates more than the parameters
        stored in a file.

        Parameters
        ----------
        arguments : mapping of str to object
            All arguments of the constructor by name, including defaults; as they come from a file, of any type.

        Returns
        -------
        Demand
        """
        return Demand()

    def _finalise_init(self) -> None:
        if not self._finalised:
            if "params" not in vars(self):
                raise GraphError("the constructor must call the base class constructor first", node=self)
            self.refined = any(p.refined for p in self.parents)
            self._build()
            self.refined = self.refined or any(w.up > 1 for w in self.windows or ())
            self._calc_comp_cost()
            self._finalised = True

    def _build(self) -> None:
        """Build output and shape; also called on copies that are built in another mode."""
        self._build_output()
        self._calc_shape()

    def _build_output(self) -> None:
        """Make the output, and cast it back to float32 if only NumPy numbers in its expression made it float64.

        With ``floatX="float32"``, an output stays float64 only if the node has no parents, where the dtype is explicit,
        or if all its floating-point parents are float64. A copy keeps the precision of the original, whatever the
        current configuration.
        """
        before = self.output
        self._make_output()
        if before is not None:
            double = "float64" in _dtypes(before)
        else:
            kinds = {kind for p in self.parents for kind in _dtypes(p.output) if kind.startswith("float")}
            double = config.floatX == "float64" or not self.parents or kinds == {"float64"}
        if not double:
            self.output = _single(self.output)

    def _make_output(self) -> None:
        self.output = self._first_parent.output

    def _calc_shape(self) -> None:
        shape = self._first_parent.shape
        self.shape = None if shape is None else shape.copy()

    def _calc_comp_cost(self) -> None:
        shape = self._first_parent.shape
        self.computational_cost = 0 if shape is None else shape.stripnone_prod

    @property
    def _first_parent(self) -> GraphNode:
        if not self.parents:
            raise GraphError("a node without parents must define its own output, shape and cost", node=self)
        return self.parents[0]

    def detach(self, mode: BuildMode) -> None:
        """Prepare a copy of a node for being built in another mode, outside of any model."""
        self.build_mode = mode
        if self.given_statistics is not None:
            self.equivariant, self.whole_image = True, ""
        self.children, self.compiled_functions, self._exec_times, self._debug_outputs = {}, {}, {}, []

    def free_sizes(self) -> None:
        """Give a copied source a new input with unspecified batch and spatial sizes; by default, do nothing."""

    def work(self, before: Sequence[int], after: Sequence[int], images: int, dtype: str) -> Work | None:
        """Return what the node's weights cost; None for a node without weights. By default, one use per input voxel.

        Parameters
        ----------
        before, after : sequence of int
            Spatial sizes of the (first) parent and of the output.
        images : int
            Batch size.
        dtype : str
        """
        w = self.params.get("w")
        if w is None:
            return None
        products = float(images * prod(before) * prod(w.get_value().shape))
        return Work(products, products * E.unit_costs(dtype).product)

    def statistics_from(self, parent: FeatureStatistics) -> np.ndarray:
        """Return what the node needs of statistics of its first parent over a whole image, (`statistic_rows`, f)."""
        raise GraphError("the node cannot be computed from statistics of features", node=self, got=type(self).__name__)

    @property
    def given_statistics(self) -> Any:
        """Statistics of the whole image as a symbolic tensor, (rows, b, f); None if the node computes them itself."""
        return self.build_mode.statistics.get(self.name)

    @property
    def dilation(self) -> tuple[int, ...]:
        """Spacing of neighbouring inputs per spatial axis: the parent's strides in dense mode, else 1."""
        shape = self._first_parent.shape
        return tuple(int(s) for s in shape.strides) if self.build_mode.dense else (1,) * shape.ndim

    # ---- the graph around the node
    @property
    def parents(self) -> tuple[GraphNode, ...]:
        """The direct parents, always as a tuple."""
        if self.parent is None:
            return ()
        return tuple(self.parent) if isinstance(self.parent, (list, tuple)) else (self.parent,)

    @property
    def spatial_parents(self) -> tuple[GraphNode, ...]:
        """The parents whose voxels the node reads: all but those of which it takes only the size."""
        return self.parents

    @property
    def takes_any_size(self) -> bool:
        """Whether the node takes other spatial sizes than those it was built for; its windows say which result."""
        return self.equivariant or bool(self.whole_image)

    @property
    def same_size(self) -> tuple[GraphNode, ...]:
        """Nodes of which the spatial sizes must be those of this node for its geometry to hold."""
        return ()

    def sub_graph(self) -> Iterator[GraphNode]:
        """Yield this node and all its ancestors, parents first, each once.

        Raises
        ------
        GraphError
            If a node is its own ancestor.
        """
        done: set[int] = set()
        open_: dict[int, GraphNode] = {id(self): self}
        stack = [(self, iter(self.parents))]
        while stack:
            node, parents = stack[-1]
            for p in parents:
                if id(p) in open_:
                    raise GraphError("the graph has a cycle", node=p, got=" -> ".join(n.name for n in open_.values()))
                if id(p) not in done:
                    open_[id(p)] = p
                    stack.append((p, iter(p.parents)))
                    break
            else:
                stack.pop()
                del open_[id(node)]
                done.add(id(node))
                yield node

    @property
    def all_parents(self) -> dict[str, GraphNode]:
        """This node and all its ancestors by name, parents first."""
        named: dict[str, GraphNode] = {}
        for node in self.sub_graph():
            if named.setdefault(node.name, node) is not node:
                raise GraphError(
                    "two nodes of the graph have the same name (they come from different models)",
                    node=self,
                    got=node.name,
                )
        return named

    @property
    def all_children(self) -> dict[str, GraphNode]:
        """All descendants by name, without this node."""
        found: dict[str, GraphNode] = {}
        todo = list(self.children.values())
        while todo:
            node = todo.pop(0)
            if node.name not in found:
                found[node.name] = node
                todo.extend(node.children.values())
        return found

    @property
    def input_nodes(self) -> list[GraphNode]:
        """The sources that this node depends on, in calling order."""
        return [n for n in self.sub_graph() if n.is_source]

    @property
    def input_tensors(self) -> list[Any]:
        """Symbolic input tensors of ``input_nodes``."""
        return [n.output for n in self.input_nodes]

    # ---- parameters
    def _collect_params(self, wanted: Callable[[Any], bool]) -> dict[str, Param]:
        return {
            f"{node.name}_{key}": param
            for node in self.all_parents.values()
            for key, param in node.params.items()
            if wanted(param)
        }

    @property
    def all_params(self) -> dict[str, Param]:
        """All parameters of the sub-graph as ``<node>_<parameter>``."""
        return self._collect_params(lambda p: True)

    @property
    def all_trainable_params(self) -> dict[str, Param]:
        """The parameters of the sub-graph that training changes."""
        return self._collect_params(lambda p: bool(p.apply_train))

    @property
    def all_nontrainable_params(self) -> dict[str, Param]:
        """The parameters of the sub-graph that training does not change."""
        return self._collect_params(lambda p: not p.apply_train)

    @property
    def all_extra_updates(self) -> list[tuple[Any, Any]]:
        """Updates attached to parameters of the sub-graph, as (parameter, new value)."""
        return [p.updates for p in self.all_params.values() if p.updates is not None]

    @property
    def param_count(self) -> int:
        """Number of trainable parameter values of this node."""
        return sum(int(np.prod(p.get_value().shape)) for p in self.params.values() if p.apply_train)

    @property
    def all_params_count(self) -> int:
        """Number of trainable parameter values of the sub-graph."""
        return sum(node.param_count for node in self.sub_graph())

    @property
    def all_computational_cost(self) -> float:
        """Computational cost of the sub-graph."""
        return sum(node.computational_cost for node in self.sub_graph())

    def get_param_values(self, skip_const: bool = False) -> dict[str, np.ndarray]:
        """Return the parameter values of this node by name, without constants if `skip_const`."""
        return {k: p.get_value() for k, p in self.params.items() if not (skip_const and p.constant)}

    def set_param_values(self, value_dict: dict[str, Any], skip_const: bool = False) -> None:
        """Set parameters by name; on an error, none is changed.

        Parameters
        ----------
        value_dict : dict of str to array
        skip_const : bool
            Skip constants instead of raising.

        Raises
        ------
        UnknownNameError
            For an unknown parameter (gamma and statistics of batch normalisation are skipped if the node has none).
        ShapeError, ArgumentError
            For a wrong shape, a constant, or values that are not finite in the dtype of the parameter.
        """
        if not isinstance(value_dict, Mapping):
            raise InputTypeError(
                "needs values by name",
                node=self,
                got=type(value_dict).__name__,
                expected=f"a dict of {list(self.params)}",
            )
        checked = []
        for key, value in value_dict.items():
            param = self.params.get(key)
            if param is None:
                if key in OPTIONAL_PARAMS:
                    continue
                raise UnknownNameError(
                    f"no parameter {key!r}",
                    node=self,
                    got=key,
                    expected=f"one of {list(self.params)}",
                    nearest=nearest_name(key, self.params),
                )
            if param.constant:
                if skip_const:
                    continue
                raise ArgumentError(
                    "the parameter is constant",
                    node=self,
                    got=key,
                    expected="skip_const=True to skip it",
                )
            array = self._as_numbers(key, value)
            shape = param.get_value().shape
            if array.shape != shape and array.ndim:
                raise ShapeError(f"parameter {key!r} has the wrong shape", node=self, got=array.shape, expected=shape)
            bad = int(array.size - np.isfinite(array).sum())
            if bad:
                raise ArgumentError(
                    f"parameter {key!r} would not be finite", node=self, got=f"{bad} NaN or infinite values"
                )
            array = exact_cast(array, param.dtype, self, f"parameter {key!r}")
            checked.append((param, array if array.shape == shape else np.full(shape, array)))
        for param, array in checked:
            param.set_value(array)

    def _as_numbers(self, key: str, value: Any) -> np.ndarray:
        try:
            array = as_array(value)
        except ValueError:  # lists of different lengths
            array = np.asarray(None)
        if array.dtype.kind not in "biuf":
            raise InputTypeError(
                f"parameter {key!r} needs real numbers",
                node=self,
                got=f"{type(value).__name__} {value!r}"[:100],
                expected=f"a number or an array of shape {self.params[key].get_value().shape}",
            )
        return array

    @property
    def feature_names(self) -> tuple[str, ...] | None:
        """Names of the features on axis f; None if not set."""
        return self._feature_names

    @feature_names.setter
    def feature_names(self, names: Sequence[str] | None) -> None:
        if names is not None:
            n = self.shape["f"] if self.shape is not None and self.shape.hastag("f") else None
            several = isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names)
            if not several or len(names) != n:
                raise ArgumentError(
                    "one name per feature is needed", node=self, got=names, expected=f"a list of {n} strings"
                )
        self._feature_names = None if names is None else tuple(names)

    # ---- evaluation
    def input_checks(self) -> Sequence[tuple[GraphNode, Callable[[np.ndarray], None]]]:
        """Return checks of the arrays fed to parents: pairs of a parent and a function that raises if they are invalid.

        Losses use this to check their targets. The checks run whenever this node or a descendant is evaluated, on the
        arrays as given, before they are cast to the dtypes of their sources. A parent is checked if it is fed, or if
        it only selects and rearranges what is fed (:meth:`rearranged`).
        """
        return ()

    def rearranged(self, arrays: Sequence[np.ndarray]) -> np.ndarray | None:
        """Return the output in NumPy if the node only selects and rearranges values of its parents, else None.

        Labels are checked through such nodes.
        """
        return None

    def _repr_extra(self) -> str:
        """Return additional lines for the representation, such as the settings of a layer."""
        return ""

    def __repr__(self) -> str:
        first = f"<{type(self).__name__}-Node>" + (f" {self.name!r} " if self.name else "")
        if self.shape is None:
            return first
        parts = []
        if self.param_count:
            parts.append(f"#Params={self.param_count:,} ")
        if self.computational_cost:
            parts.append(f"Comp.Cost={pretty_string_ops(self.computational_cost)}, ")
        text = f"{first}\n  {''.join(parts)}Out:{self.shape!r}"
        names = [n.name for n in self.input_nodes]
        if len(names) > 1:
            text += f"\n  Order of sources={names}, "
        extra = self._repr_extra()
        return f"{text}\n  {extra}" if extra else text

    def __copy__(self) -> GraphNode:
        twin: GraphNode = type(self).__new__(type(self))
        vars(twin).update(vars(self))
        return twin

    def __reduce__(self) -> Any:
        raise GraphError(
            "a node cannot be pickled on its own",
            node=self,
            got="pickle or copy.deepcopy",
            expected="saving the model",
        )


def require_node(value: Any, node: Any, what: str) -> None:
    """Raise InputTypeError unless `value` is a node."""
    if not isinstance(value, GraphNode):
        raise InputTypeError(f"{what} must be a node", node=node, got=f"{type(value).__name__} {value!r}"[:200])


def _dtypes(output: Any) -> list[str]:
    """Return the dtypes of an output, or of the outputs in a list; those without one are omitted."""
    return [str(o.dtype) for o in (output if isinstance(output, (list, tuple)) else [output]) if hasattr(o, "dtype")]


def _single(output: Any) -> Any:
    """Cast a float64 output, or those in a list, to float32; return anything else unchanged."""
    if isinstance(output, (list, tuple)):
        return type(output)(_single(each) for each in output)
    return E.T.cast(output, "float32") if isinstance(output, E.Variable) and "float64" in _dtypes(output) else output


def is_shaped(node: GraphNode) -> bool:
    """Return whether the output of the node is a tagged tensor (that of a GenericInput is not)."""
    return isinstance(node.shape, TaggedShape)
