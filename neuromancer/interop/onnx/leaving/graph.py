"""An ONNX graph under construction: operations, constants, and their names."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

MAIN = (
    "Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization", "InstanceNormalization", "LayerNormalization",
    "MaxPool", "AveragePool", "Resize", "Softmax", "LogSoftmax",
)  # fmt: skip
"""Operations that get the name of the node that they come from, the first of these first."""

TYPES = {
    "bool": TensorProto.BOOL, "int8": TensorProto.INT8, "int16": TensorProto.INT16, "int32": TensorProto.INT32,
    "int64": TensorProto.INT64, "uint8": TensorProto.UINT8, "uint16": TensorProto.UINT16, "uint32": TensorProto.UINT32,
    "uint64": TensorProto.UINT64,
}  # fmt: skip
"""Integers stay as they are; all floats become float32."""


def element_type(dtype: str) -> int:
    """Return the type of elements of a dtype in the file."""
    return int(TYPES.get(dtype, TensorProto.FLOAT))


@dataclass(frozen=True)
class Size:
    """The size of an axis, as known when the network runs."""

    tensor: str
    axis: int
    factor: int = 1


class GraphBuilder:
    """Collects operations, and names them after the nodes of the network.

    Parameters
    ----------
    reserved : iterable of str
        Names of nodes, which only their own values get.
    """

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        self._reserved = set(reserved)
        self.operations: list[Any] = []
        self.constants: dict[str, np.ndarray] = {}
        self._names: set[str] = set()
        self._operation_names: set[str] = set()
        self._numbers: dict[Any, str] = {}
        self._sizes: dict[Size, str] = {}
        self._stem, self._first = "", 0

    # ---- names
    def unique(self, name: str, of_node: bool = False) -> str:
        """Return a name that no other value has, and take it."""
        return _free(name, self._names, () if of_node else self._reserved)

    def begin(self, stem: str) -> None:
        """Name the following operations after a node."""
        self._stem, self._first = stem, len(self.operations)

    def end(self, value: str, name: str) -> str:
        """Name the operations since `begin`, and the value if it is from one of them; return its name."""
        mine = self.operations[self._first :]
        if any(value in op.output for op in mine):
            new = self.unique(name, of_node=True)
            for op in mine:
                op.input[:] = [new if v == value else v for v in op.input]
                op.output[:] = [new if v == value else v for v in op.output]
            self._sizes = {s: v for s, v in self._sizes.items() if s.tensor != value}
            value = new
        main = next((op for op in mine if op.op_type in MAIN), mine[-1] if mine else None)
        for op in mine:
            stem = self._stem if op is main else f"{self._stem}/{op.op_type}"
            op.name = _free(stem, self._operation_names)
        self._first = len(self.operations)
        return value

    # ---- content
    def add(self, kind: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Add an operation with one result; return the name of that."""
        out = self.unique(f"{self._stem}/{kind}")
        given = {key: value for key, value in attributes.items() if value is not None}
        self.operations.append(helper.make_node(kind, list(inputs), [out], **given))
        return out

    def constant(self, array: np.ndarray, name: str) -> str:
        """Add an array; floats become float32."""
        key = self.unique(name)
        self.constants[key] = np.asarray(array, "float32") if array.dtype.kind == "f" else np.asarray(array)
        return key

    def number(self, value: float) -> str:
        """Return a number as a constant, one per number."""
        key = ("number", float(value))
        if key not in self._numbers:
            self._numbers[key] = self.constant(np.asarray(value, "float32"), f"number {value:g}")
        return self._numbers[key]

    def ints(self, values: Sequence[int]) -> str:
        """Return integers as a constant, one per list."""
        key = ("ints", *map(int, values))
        if key not in self._numbers:
            text = "x".join(map(str, key[1:])) if len(key) < 8 else "many"
            self._numbers[key] = self.constant(np.asarray(values, "int64"), f"ints {text}")
        return self._numbers[key]

    # ---- sizes
    def sizes(self, sizes: Sequence[Any], x: str | None = None) -> str:
        """Return sizes as one tensor; of a reshaped `x`, those that stay are 0."""
        kept = [0 if isinstance(s, Size) and x is not None and s == Size(x, k) else s for k, s in enumerate(sizes)]
        unknown = [k for k, s in enumerate(kept) if isinstance(s, Size)]
        if x is not None and len(unknown) == 1 and -1 not in kept:
            kept[unknown[0]], unknown = -1, []
        if not unknown:
            return self.ints(kept)
        # Neighbouring numbers are one constant.
        parts: list[Any] = []
        for s in kept:
            if not isinstance(s, Size) and parts and isinstance(parts[-1], list):
                parts[-1].append(s)
            else:
                parts.append(s if isinstance(s, Size) else [s])
        names = [self._size(p) if isinstance(p, Size) else self.ints(p) for p in parts]
        return names[0] if len(names) == 1 else self.add("Concat", names, axis=0)

    def _size(self, size: Size) -> str:
        if size not in self._sizes:
            plain = Size(size.tensor, size.axis)
            if size == plain:
                self._sizes[size] = self.add("Shape", [size.tensor], start=size.axis, end=size.axis + 1)
            else:
                self._sizes[size] = self.add("Mul", [self._size(plain), self.ints([size.factor])])
        return self._sizes[size]

    def initialisers(self) -> list[Any]:
        """Return the constants as protocol buffers."""
        return [numpy_helper.from_array(np.ascontiguousarray(a).reshape(a.shape), n) for n, a in self.constants.items()]


def _free(name: str, taken: set[str], reserved: Container[str] = ()) -> str:
    new, k = name, 1
    while new in taken or new in reserved:
        k += 1
        new = f"{name}.{k}"
    taken.add(new)
    return new
