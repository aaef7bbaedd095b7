"""From a rewritten graph and the sizes of its arguments to an OpenVINO model with all constants folded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import openvino
from openvino import Output, Type, opset13
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.tensor.type import TensorType

from neuromancer.engine.pytensor.link.openvino.registry import TYPES, Missing, Unsupported, convert
from neuromancer.engine.pytensor.link.torch.host import host_form


class Builder:
    """Walks a graph once and makes a model of it.

    Parameters
    ----------
    fgraph : FunctionGraph
    sizes : mapping of Variable to tuple of int
        Shapes of the graph's inputs that are arguments.
    parameters : mapping of Variable to numpy.ndarray
        Values of those that are not; the model refers to this memory.
    folded : dict of Variable to numpy.ndarray
        What follows from the parameters alone; filled here, so that models for other sizes share it.

    Attributes
    ----------
    memory : list of numpy.ndarray
        Arrays that the model refers to; whoever keeps the model must keep them.
    kernels : list of numpy.ndarray
        Values of the model's last inputs, after the arguments.
    """

    def __init__(
        self,
        fgraph: FunctionGraph,
        sizes: Mapping[Variable, tuple[int, ...]],
        parameters: Mapping[Variable, np.ndarray],
        folded: dict[Variable, np.ndarray],
    ) -> None:
        self.fgraph = fgraph
        self.memory: list[np.ndarray] = []
        self.kernels: list[np.ndarray] = []
        self._folded = folded
        self._lasting = set(parameters)
        self._values: dict[Variable, Any] = dict(parameters)
        self._constants: dict[Variable, Output] = {}
        self._inputs = []
        for variable, size in sizes.items():
            if 0 in size:
                raise Unsupported("an argument without elements")
            parameter = opset13.parameter(list(size), _type(variable))
            self._inputs.append(parameter)
            self._values[variable] = parameter.output(0)

    def model(self) -> openvino.Model:
        """The model: one result per output of the graph, one parameter per argument.

        Raises
        ------
        Missing, Unsupported
            If an operation or a dtype has no form, or not for these sizes.
        """
        for node in self.fgraph.toposort():
            self._add(node)
        # A result may be an argument or be asked for twice; OpenVINO wants a node of its own for each.
        results = [opset13.result(self.tensor(variable)) for variable in self.fgraph.outputs]
        return openvino.Model(results, self._inputs, "graph")

    # what forms ask for
    def known(self, variable: Variable) -> np.ndarray | None:
        """Value of a variable that follows from sizes, constants and parameters; None for all others."""
        if isinstance(variable, Constant):
            return None if variable.data is None else np.asarray(variable.data)
        value = self._values[variable]
        return value if isinstance(value, np.ndarray) else None

    def require(self, variable: Variable, what: str) -> np.ndarray:
        """`known`, or Unsupported where the value depends on the data."""
        value = self.known(variable)
        if value is None:
            raise Unsupported(f"{what} that depends on the data")
        return value

    def tensor(self, variable: Variable) -> Output:
        """`variable` as a node of the model."""
        if variable in self._constants:
            return self._constants[variable]
        value = self.known(variable)
        if value is None:
            return self._values[variable]
        _type(variable)
        self._constants[variable] = result = self.constant(value)
        return result

    def kernel(self, variable: Variable) -> Output:
        """`variable` as the kernel of a convolution: an input of the model if it follows from parameters.

        Of constants OpenVINO makes a rearranged copy for every model; an input is rearranged as it is used, and models
        for all sizes share it. Measured: a tenth more time for one output voxel of `neuro3d`, a hundredth for a patch.
        """
        value = self.known(variable)
        if value is None or variable not in self._lasting or variable in self._constants:
            return self.tensor(variable)
        parameter = opset13.parameter(list(value.shape), _type(variable))
        self._inputs.append(parameter)
        self.kernels.append(_plain(value))
        self._constants[variable] = parameter.output(0)
        return parameter.output(0)

    def constant(self, value: np.ndarray) -> Output:
        """`value` as a node of the model, on the same memory where that is contiguous.

        One value spread over an array (strides of 0) stays one value.
        """
        if value.size > 1 and not any(value.strides):
            one = self.constant(np.array(value[(0,) * value.ndim]))
            return opset13.broadcast(one, np.array(value.shape, np.int64)).output(0)
        array = _plain(value)
        self.memory.append(array)
        return opset13.constant(array, TYPES[array.dtype.name], shared_memory=True).output(0)

    def shape(self, variable: Variable) -> tuple[int, ...]:
        """Sizes of a variable."""
        value = self.known(variable)
        return tuple(self._values[variable].get_shape()) if value is None else value.shape

    def used(self, variable: Variable) -> bool:
        """Whether anything reads an output."""
        return bool(self.fgraph.clients.get(variable))

    # walking
    def _add(self, node: Apply) -> None:
        if node.outputs[0] in self._folded:
            self._values.update({v: self._folded[v] for v in node.outputs})
            self._lasting.update(node.outputs)
            return
        outputs: Sequence[Any]
        if all(self.known(v) is not None or not isinstance(v.type, TensorType) for v in node.inputs):
            outputs = self._fold(node)
        else:
            outputs = convert(node.op, node, self)
        for variable, value in zip(node.outputs, outputs, strict=True):
            if not isinstance(value, np.ndarray | None):
                if 0 in value.get_shape():
                    raise Unsupported(f"nothing at all as output of {node.op}")
                declared, got = _type(variable), value.get_element_type()
                value = value if declared == got else opset13.convert(value, declared).output(0)
            self._values[variable] = value

    def _fold(self, node: Apply) -> list[np.ndarray]:
        """Compute a node now; what rests on parameters and constants alone is kept for models of other sizes."""
        lasting = all(v in self._lasting or isinstance(v, Constant) for v in node.inputs)
        known = [v.data if isinstance(v, Constant) else self._values.get(v) for v in node.inputs]
        result = host_form(node).run(*known)
        several = len(node.outputs) > 1
        outputs = [np.asarray(v) for v in (result if several else (result,))]
        if lasting and node.op.do_constant_folding(self.fgraph, node):
            outputs = [np.ascontiguousarray(v).reshape(v.shape) for v in outputs]
            self._folded.update(zip(node.outputs, outputs, strict=True))
            self._lasting.update(node.outputs)
        return outputs


def _plain(value: np.ndarray) -> np.ndarray:
    """`value` as OpenVINO can refer to it, itself where possible."""
    plain = value.flags.c_contiguous and value.flags.writeable and value.dtype.isnative
    return value if plain else np.array(value, value.dtype.newbyteorder("="), order="C")


def _type(variable: Variable) -> Type:
    dtype = getattr(variable.type, "dtype", None)
    if dtype not in TYPES:
        raise Missing(f"dtype {dtype or variable.type}")
    return TYPES[dtype]
