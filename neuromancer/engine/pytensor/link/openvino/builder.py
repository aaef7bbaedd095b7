"""Construction of an OpenVINO model, with all constants folded, from a graph and the sizes of its arguments."""

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
    """Converts a graph to a model, node by node.

    Parameters
    ----------
    fgraph : FunctionGraph
    sizes : mapping of Variable to tuple of int
        Shapes of the graph's inputs that are arguments.
    parameters : mapping of Variable to numpy.ndarray
        Values of the other inputs; the model refers to their memory.
    folded : dict of Variable to numpy.ndarray
        Values that depend on parameters only; filled here and shared with models for other sizes.

    Attributes
    ----------
    memory : list of numpy.ndarray
        Arrays that the model refers to; they must live as long as the model.
    kernels : list of numpy.ndarray
        Values of the model's last inputs, those after the arguments.
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
                raise Unsupported("an empty argument")
            parameter = opset13.parameter(list(size), _type(variable))
            self._inputs.append(parameter)
            self._values[variable] = parameter.output(0)

    def model(self) -> openvino.Model:
        """Return the model: one result per output of the graph, one parameter per argument.

        Raises
        ------
        Missing, Unsupported
            If an operation or a dtype has no form, or none for these sizes.
        """
        for node in self.fgraph.toposort():
            self._add(node)
        # An output may be an argument, or occur twice; OpenVINO needs a separate node for each.
        results = [opset13.result(self.tensor(variable)) for variable in self.fgraph.outputs]
        return openvino.Model(results, self._inputs, "graph")

    # called by forms
    def known(self, variable: Variable) -> np.ndarray | None:
        """Return the value of a variable that depends on sizes, constants and parameters only; None for all others."""
        if isinstance(variable, Constant):
            return None if variable.data is None else np.asarray(variable.data)
        value = self._values[variable]
        return value if isinstance(value, np.ndarray) else None

    def require(self, variable: Variable, role: str) -> np.ndarray:
        """Return the `known` value of a variable; raise Unsupported if it depends on the data."""
        value = self.known(variable)
        if value is None:
            raise Unsupported(f"{role} that depends on the data")
        return value

    def tensor(self, variable: Variable) -> Output:
        """Return `variable` as a node of the model."""
        if variable in self._constants:
            return self._constants[variable]
        value = self.known(variable)
        if value is None:
            return self._values[variable]
        _type(variable)
        self._constants[variable] = result = self.constant(value)
        return result

    def kernel(self, variable: Variable) -> Output:
        """Return `variable` as the kernel of a convolution: an input of the model if it depends on parameters only.

        Of a constant OpenVINO makes a reordered copy for every model; an input is reordered at each use, and models for
        all sizes share it. Measured cost: 10 % of the time for one output voxel of `neuro3d`, 1 % for a patch.
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
        """Return `value` as a node of the model, sharing its memory if that is contiguous.

        An array that broadcasts one value (strides of 0) is stored as one value.
        """
        if value.size > 1 and not any(value.strides):
            one = self.constant(np.array(value[(0,) * value.ndim]))
            return opset13.broadcast(one, np.array(value.shape, np.int64)).output(0)
        array = _plain(value)
        self.memory.append(array)
        return opset13.constant(array, TYPES[array.dtype.name], shared_memory=True).output(0)

    def shape(self, variable: Variable) -> tuple[int, ...]:
        """Return the sizes of a variable."""
        value = self.known(variable)
        return tuple(self._values[variable].get_shape()) if value is None else value.shape

    def used(self, variable: Variable) -> bool:
        """Return whether anything reads an output."""
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
                    raise Unsupported(f"an empty output of {node.op}")
                declared, got = _type(variable), value.get_element_type()
                value = value if declared == got else opset13.convert(value, declared).output(0)
            self._values[variable] = value

    def _fold(self, node: Apply) -> list[np.ndarray]:
        """Compute a node now; if it depends on parameters and constants only, cache it for models of other sizes."""
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
    """Return `value`, or a copy to which OpenVINO can refer."""
    plain = value.flags.c_contiguous and value.flags.writeable and value.dtype.isnative
    return value if plain else np.array(value, value.dtype.newbyteorder("="), order="C")


def _type(variable: Variable) -> Type:
    dtype = getattr(variable.type, "dtype", None)
    if dtype not in TYPES:
        raise Missing(f"dtype {dtype or variable.type}")
    return TYPES[dtype]
