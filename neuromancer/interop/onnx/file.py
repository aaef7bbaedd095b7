"""ONNX files, checked and taken apart into plain steps; needs onnx."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import defs, helper, numpy_helper

from neuromancer.errors import FileError, InputTypeError, TranslationError, naming, nearest_name, short, translating

OLDEST = 7
"""The oldest version of the operators that is understood; before, broadcasting was another."""
DOMAINS = ("", "ai.onnx")


@dataclass(frozen=True, eq=False)
class Step:
    """An operation of the file.

    Attributes
    ----------
    op, name : str
    inputs, outputs : tuple of str
        Names of values; '' for one that is left out.
    attributes : dict
        All attributes that are given or have a default; tensors are arrays.
    proto : onnx.NodeProto
    """

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    proto: Any

    @property
    def place(self) -> str:
        """Name for nodes: that of the file, or the operation."""
        return self.name.lstrip("/") or self.op.lower()


@dataclass(frozen=True)
class Declared:
    """An input of the file: its name, and its sizes, None where they are open, or None if their number is open."""

    name: str
    dims: tuple[int | None, ...] | None


@dataclass
class OnnxGraph:
    """Contents of an ONNX file.

    Attributes
    ----------
    label : str
        For messages.
    opset : int
        Version of the operators.
    steps : list of Step
        In the order of computation.
    constants : dict of str to numpy.ndarray
    weights : dict of str to str
        Names of the constants that are weights, i.e. initialisers of floats; to the name of the initialiser.
    inputs : list of Declared
    outputs : list of str
    proto : onnx.ModelProto
        With all data inside.
    """

    label: str
    opset: int
    steps: list[Step]
    constants: dict[str, np.ndarray]
    weights: dict[str, str]
    inputs: list[Declared]
    outputs: list[str]
    proto: Any
    uses: Counter[str] = field(default_factory=Counter)
    """How often a value is an input of a step or an output of the file."""
    sizes_written: bool = False
    """Whether sizes that follow from that of the image may be written as numbers."""

    @property
    def is_open(self) -> bool:
        """Whether an input leaves a size open, besides the batch."""
        return any(declared.dims is None or None in declared.dims[1:] for declared in self.inputs)


def read(path: Any) -> OnnxGraph:
    """Read a file, or take a model in memory; nothing in it is executed.

    Raises
    ------
    InputTypeError
        If `path` is neither a path nor a model.
    FileError
        If it is not an ONNX file, or contradicts itself.
    TranslationError
        For operators of other libraries, or versions that are not understood.
    """
    if isinstance(path, onnx.ModelProto):
        label, folder, model = "ModelProto", None, onnx.ModelProto()
        model.CopyFrom(path)
    elif isinstance(path, (str, os.PathLike)):
        label, folder = os.fspath(path), Path(path).parent
        with naming(label, "cannot be read"):
            data = _contents(path, label)
        with translating(label, "is not an ONNX file", "a complete .onnx file"):
            model = onnx.ModelProto.FromString(data)
    else:
        raise InputTypeError(
            "not an ONNX file", where="from_onnx", got=type(path).__name__, expected="a path or an onnx.ModelProto"
        )
    opset = _checked(model, label)
    _include_external(model, folder, label)
    return _taken_apart(model, opset, label)


def _contents(path: Any, label: str) -> bytes:
    try:
        if not Path(path).is_file() and Path(path).exists():
            raise FileError("is not a file", where=label, expected="an .onnx file")
        return Path(path).read_bytes()
    except ValueError as error:  # a null byte in the name
        raise FileError("cannot be read", where=label, got=str(error)) from error


def _checked(model: Any, label: str) -> int:
    """Return the version of the operators, after checks of the file as a whole."""
    graph = model.graph
    if not model.ir_version or not model.opset_import or not graph.node or not graph.output:
        raise FileError("is not an ONNX file", where=label, got="no operations", expected="a complete .onnx file")
    if not all(isinstance(text, str) for text in _texts(graph)):
        raise FileError("is damaged", where=label, got="names that are not UTF-8")
    if model.functions:
        raise TranslationError(
            "functions of the file's own cannot be translated",
            where=label,
            got=", ".join(f.name for f in model.functions)[:100],
            expected="a file without functions: onnx.inliner.inline_local_functions inserts them",
        )
    if graph.sparse_initializer:
        raise TranslationError("sparse weights cannot be translated", where=label, expected="dense initialisers")
    versions = [o.version for o in model.opset_import if o.domain in DOMAINS]
    newest = defs.onnx_opset_version()
    if len(versions) != 1 or not OLDEST <= versions[0] <= newest:
        raise TranslationError(
            "the version of the operators is not understood",
            where=label,
            got=f"opset {versions or 'none'}",
            expected=f"opset {OLDEST} to {newest}, which is what onnx {onnx.__version__} knows; "
            "onnx.version_converter changes older files, a newer onnx reads newer ones",
        )
    return int(versions[0])


def _texts(graph: Any) -> Iterator[Any]:
    """Yield all names; protobuf gives bytes for those that are damaged."""
    for named in (*graph.initializer, *graph.input, *graph.output):
        yield named.name
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)


# ---- tensors
def _tensors(model: Any) -> Iterator[Any]:
    yield from model.graph.initializer
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t


def _include_external(model: Any, folder: Path | None, label: str) -> None:
    """Replace references to data in other files, which must lie beside the model, by the data."""
    sizes: dict[Path, int] = {}
    read = 0
    for tensor in _tensors(model):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        where = f"{label}, tensor {short(tensor.name)}"
        path, offset, length = _reference(tensor, folder, where)
        sizes.setdefault(path, path.stat().st_size)
        length = sizes[path] - offset if length is None else length
        read += length
        if offset + length > sizes[path] or read > sum(sizes.values()):
            raise FileError(
                "refers to more data than there are", where=where, got=f"{length} bytes at {offset}", expected=str(path)
            )
        with naming(path, "cannot be read"), path.open("rb") as file:
            file.seek(offset)
            data = file.read(length)
        del tensor.external_data[:]
        tensor.data_location = onnx.TensorProto.DEFAULT
        tensor.raw_data = data


def _reference(tensor: Any, folder: Path | None, where: str) -> tuple[Path, int, int | None]:
    """Return the file, offset and length of external data; only a file in the folder of the model is accepted."""
    entries = {e.key: e.value for e in tensor.external_data}
    location = entries.get("location", "")
    if folder is None:
        raise FileError("refers to data in another file", where=where, got=location, expected="the path of the model")
    try:
        path, root = (folder / location).resolve(), folder.resolve()
        offset, length = int(entries.get("offset", 0)), int(entries["length"]) if "length" in entries else None
    except (ValueError, OSError, RuntimeError) as error:
        raise FileError("refers to data that cannot be read", where=where, got=f"{short(location)}: {error}") from error
    if not location or Path(location).is_absolute() or not path.is_relative_to(root):
        raise FileError(
            "refers to data outside of its folder", where=where, got=short(location), expected=f"a file in {root}"
        )
    if not path.is_file():
        raise FileError("refers to data that are missing", where=where, got=short(location), expected=str(path))
    if offset < 0 or (length is not None and length < 0):
        raise FileError("refers to data that cannot be read", where=where, got=f"{length} bytes at {offset}")
    return path, offset, length


def _array(tensor: Any, label: str) -> np.ndarray:
    """Return the values of a tensor; FileError if it declares more than it holds."""
    where = f"{label}, tensor {short(tensor.name)}"
    count = prod(tensor.dims)
    if any(n < 0 for n in tensor.dims) or count > 8 * tensor.ByteSize():
        raise FileError("declares more than it holds", where=where, got=f"sizes {tuple(tensor.dims)}")
    if tensor.data_type in (onnx.TensorProto.STRING, onnx.TensorProto.UNDEFINED):
        raise TranslationError("text has no counterpart", where=where, expected="tensors of numbers")
    with translating(where, "holds no valid tensor"):
        array = numpy_helper.to_array(tensor)
        return array if array.dtype.kind in "biuf" else np.asarray(array, "float32")


# ---- steps
def _taken_apart(model: Any, opset: int, label: str) -> OnnxGraph:
    graph = model.graph
    constants = {tensor.name: _array(tensor, label) for tensor in graph.initializer}
    inputs = [_declared(value, label) for value in graph.input if value.name not in constants]
    outputs = [value.name for value in graph.output]
    steps = [_step(node, opset, label) for node in graph.node]
    weights = {name: name for name, array in constants.items() if array.dtype.kind == "f" and array.ndim}
    known = {*constants, *(i.name for i in inputs)}
    for step in steps:
        where = f"{label}, {short(step.place)}"
        missing = [name for name in step.inputs if name and name not in known]
        if missing:
            raise FileError(
                "uses a value that nothing before computes",
                where=where,
                got=short(missing[0]),
                expected="operations in the order of computation, without cycles",
                nearest=nearest_name(missing[0], known),
            )
        twice = [name for name in step.outputs if name and name in known]
        if twice:
            raise FileError("computes a value that exists already", where=where, got=short(twice[0]))
        known.update(name for name in step.outputs if name)
    for name in outputs:
        if name not in known:
            raise FileError("an output is not computed", where=label, got=short(name))
    uses = Counter(name for step in steps for name in step.inputs) + Counter(outputs)
    return OnnxGraph(label, opset, steps, constants, weights, inputs, outputs, model, uses)


def _declared(value: Any, label: str) -> Declared:
    kind = value.type.tensor_type
    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)
    if kind.elem_type not in floats:
        known = onnx.TensorProto.DataType.values()
        got = onnx.TensorProto.DataType.Name(kind.elem_type) if kind.elem_type in known else "an unknown type"
        raise TranslationError(
            "an input does not take an image of floats", where=f"{label}, input {short(value.name)}", got=got
        )
    if not kind.HasField("shape"):
        return Declared(value.name, None)
    return Declared(value.name, tuple(int(d.dim_value) if d.dim_value > 0 else None for d in kind.shape.dim))


def _step(node: Any, opset: int, label: str) -> Step:
    where = f"{label}, {short(node.name or node.op_type)}"
    if node.domain not in DOMAINS:
        raise TranslationError(
            "the operation belongs to another library",
            where=where,
            got=f"{node.domain}.{node.op_type}",
            expected="operators of ONNX itself; for com.microsoft: a file that no optimiser changed",
        )
    try:
        schema = defs.get_schema(node.op_type, opset, "")
    except defs.SchemaError as error:
        raise TranslationError(
            "the operation is unknown",
            where=where,
            got=f"{node.op_type} at opset {opset}",
            expected=f"an operator of ONNX that onnx {onnx.__version__} knows",
        ) from error
    if not schema.min_input <= len(node.input) <= schema.max_input or len(node.output) > schema.max_output:
        raise FileError(
            "an operation has the wrong number of inputs or outputs",
            where=where,
            got=f"{node.op_type} with {len(node.input)} and {len(node.output)}",
            expected=f"{schema.min_input} to {schema.max_input} inputs",
        )
    attributes = _attributes(node, schema, where, label)
    return Step(node.op_type, node.name, tuple(node.input), tuple(node.output), attributes, node)


def _attributes(node: Any, schema: Any, where: str, label: str) -> dict[str, Any]:
    """Return the attributes by name, with defaults; FileError if they are not those of the operator."""
    found: dict[str, Any] = {}
    for name, declared in schema.attributes.items():
        if declared.default_value.name:
            found[name] = _plain(declared.default_value, label)
        elif declared.required and all(a.name != name for a in node.attribute):
            raise FileError("an operation lacks an attribute", where=where, expected=f"{node.op_type} with {name}")
    for attribute in node.attribute:
        known = schema.attributes.get(attribute.name)
        if known is None or attribute.type != int(known.type.value) or attribute.ref_attr_name:
            raise FileError(
                "an operation has an attribute that is not one of its operator",
                where=where,
                got=f"{node.op_type} with {short(attribute.name)}",
                expected=f"of {sorted(schema.attributes)}",
            )
        found[attribute.name] = _plain(attribute, label)
    return found


def _plain(attribute: Any, label: str) -> Any:
    if attribute.type == onnx.AttributeProto.TENSOR:
        return _array(attribute.t, label)
    value = helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return list(value) if attribute.type in (onnx.AttributeProto.INTS, onnx.AttributeProto.FLOATS) else value
