"""Tensors of a package, as ``bioimageio.spec`` validates them, in the terms of this package: tags b, f, z, y, x."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bioimageio.spec import ValidationContext
from bioimageio.spec.model import v0_4, v0_5

from neuromancer.dense.processing.steps import Step
from neuromancer.errors import FileError, NeuromancerError, TranslationError, reason, short
from neuromancer.interop.bioimageio.operations import OPERATIONS, steps_from
from neuromancer.interop.bioimageio.package import Entry, entry_of
from neuromancer.interop.network import SPACE

TAGS = "bfzyx"
FORMATS = ("0.4", "0.5")
MAX_TENSORS = 32


@dataclass(frozen=True)
class Axis:
    """An axis of a tensor.

    Attributes
    ----------
    tag : str
        b, f, z, y or x.
    size : int or None
        Fixed size, or the smallest one; None if it follows from another axis or is free.
    step : int
        Valid sizes are ``size + n * step``; 0 if it is fixed.
    reference : (str, str) or None
        Tensor and axis from which the size follows.
    scale : float
        Size of a voxel, in the unit of the reference.
    offset : float
        Added to the size of the reference in these voxels.
    halo : int
        Voxels to cut off at both ends.
    name : str
        Its name in the description.
    """

    tag: str
    name: str
    size: int | None = None
    step: int = 0
    reference: tuple[str, str] | None = None
    scale: float = 1.0
    offset: float = 0.0
    halo: int = 0

    def __str__(self) -> str:
        if self.reference is not None:
            offset = f" {self.offset:+g}" if self.offset else ""
            return f"{self.name}: {'.'.join(self.reference)}{offset}"
        return f"{self.name}: {self.size}{f' + n * {self.step}' if self.step else ''}"


@dataclass(frozen=True)
class Tensor:
    """A tensor of a package.

    Attributes
    ----------
    name : str
    axes : tuple of Axis
        In the order of the tensor.
    steps : tuple of Step
        Pre- or postprocessing.
    dtype : str
    test : Entry or None
        File of the test tensor.
    """

    name: str
    axes: tuple[Axis, ...]
    steps: tuple[Step, ...]
    dtype: str
    test: Entry | None

    @property
    def tags(self) -> str:
        """Tags of the axes in their order."""
        return "".join(axis.tag for axis in self.axes)

    @property
    def space(self) -> str:
        """Tags of the spatial axes in their order."""
        return "".join(tag for tag in self.tags if tag not in "bf")

    def axis(self, tag: str) -> Axis:
        """Return the axis with a tag."""
        return next(axis for axis in self.axes if axis.tag == tag)


@dataclass(frozen=True)
class Description:
    """What a package says of its model.

    Attributes
    ----------
    name : str
    format : str
        '0.4' or '0.5'.
    inputs, outputs : tuple of Tensor
    weights : dict of str to dict
        As described, by kind.
    """

    name: str
    format: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    weights: Mapping[str, Mapping[str, Any]]


def described(document: Mapping[str, Any], label: str) -> Description:
    """Return the description of a model from its document.

    Only what an import needs is read: tensors and weights. Covers, authors and the like may be missing or wrong.

    Raises
    ------
    FileError
        If it is not of a known format, or what it says is invalid.
    TranslationError
        If a tensor has axes or processing without a counterpart.
    """
    version = document.get("format_version")
    known = ".".join(version.split(".")[:2]) if isinstance(version, str) else None
    if document.get("type", "model") != "model" or known not in FORMATS:
        raise FileError(
            "is not a model of a known format", where=label,
            got=f"type {short(document.get('type'))}, format_version {short(version)}",
            expected=f"a model of format {' or '.join(FORMATS)}",
        )  # fmt: skip
    weights = document.get("weights")
    if not isinstance(weights, dict) or not all(isinstance(entry, dict) for entry in weights.values()):
        raise FileError("names no weights", where=label, got=short(weights), expected="weights by their kind")
    read = _read_05 if known == "0.5" else _read_04
    inputs = _tensors(document, "inputs", label)
    outputs = _tensors(document, "outputs", label)
    names = {str(t.get("id" if known == "0.5" else "name", "input")) for t in inputs}
    context = ValidationContext(perform_io_checks=False, log_warnings=False, warning_level=50)
    found: dict[str, list[Tensor]] = {"inputs": [], "outputs": []}
    for kind, several in (("inputs", inputs), ("outputs", outputs)):
        for k, tensor in enumerate(several):
            where = f"{label}, {kind}[{k}]"
            try:
                with context:
                    found[kind].append(read(document, kind, k, tensor, names, where))
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
                if isinstance(error, NeuromancerError):
                    raise
                raise FileError("the tensor is not valid", where=where, got=short(reason(error))) from error
    name = document.get("name")
    text = name if isinstance(name, str) else ""
    return Description(text, known, tuple(found["inputs"]), tuple(found["outputs"]), weights)


def _tensors(document: Mapping[str, Any], key: str, label: str) -> list[dict[str, Any]]:
    found = document.get(key)
    good = isinstance(found, list) and 0 < len(found) <= MAX_TENSORS and all(isinstance(t, dict) for t in found)
    if not good:
        raise FileError(f"names no {key}", where=label, got=short(found), expected="a list of tensors")
    assert isinstance(found, list)
    return found


def _validated(model: Any, tensor: Mapping[str, Any], where: str) -> Any:
    """Return a tensor as the specification reads it, without files that are not needed."""
    needed = {key: value for key, value in tensor.items() if key not in ("sample_tensor", "test_tensor")}
    for key, id_of in (("preprocessing", ("id", "name")), ("postprocessing", ("id", "name"))):
        for step in needed.get(key) or ():
            given = next((step.get(k) for k in id_of if k in step), None) if isinstance(step, dict) else step
            if given not in OPERATIONS:
                raise TranslationError(
                    f"the {key} has no counterpart", where=where, got=short(given),
                    expected=f"one of {', '.join(OPERATIONS)}; from_onnx and from_keras import weights alone",
                )  # fmt: skip
    try:
        return model.model_validate(needed)
    except RecursionError as error:
        raise FileError("the description is nested too deeply", where=where) from error
    except Exception as error:  # pydantic's, and those of its validators
        listed = getattr(error, "errors", None)
        problems = (
            [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in listed()] if callable(listed) else [str(error)]
        )
        raise FileError("the tensor is not valid", where=where, got="; ".join(problems)[:500]) from None


# ---- format 0.5
def _read_05(
    document: Mapping[str, Any], kind: str, k: int, tensor: Mapping[str, Any], names: set[str], where: str
) -> Tensor:
    found = _validated(v0_5.InputTensorDescr if kind == "inputs" else v0_5.OutputTensorDescr, tensor, where)
    tags = _tags_05(found.axes, where)
    axes = tuple(_axis_05(axis, tags[str(axis.id)]) for axis in found.axes)
    listed = found.preprocessing if kind == "inputs" else found.postprocessing
    plain = [(op.id, _kwargs(op)) for op in listed]
    sizes = {axis.tag: axis.size for axis in axes}
    steps = steps_from(plain, tags, sizes["f"] if "f" in sizes else 1, names, where)
    return Tensor(str(found.id), axes, steps, str(found.dtype), entry_of(tensor.get("test_tensor"), f"{where}, test"))


def _kwargs(op: Any) -> dict[str, Any]:
    kwargs = op.kwargs.model_dump() if hasattr(op.kwargs, "model_dump") else dict(op.kwargs)
    return {str(key): value for key, value in kwargs.items() if value is not None}


def _tags_05(axes: Sequence[Any], where: str) -> dict[str, str]:
    """Tags by the names of axes; spatial axes with other names than z, y and x are the last of these."""
    tags = {str(axis.id): {"batch": "b", "channel": "f"}.get(axis.type, "") for axis in axes}
    space = [str(axis.id) for axis in axes if axis.type == "space"]
    others = [str(axis.id) for axis in axes if axis.type not in ("batch", "channel", "space")]
    if others or len(space) > 3 or len({*tags.values()} - {""}) + len(space) != len(axes):
        raise TranslationError(
            "the axes have no counterpart", where=where, got=", ".join(f"{a.type} {a.id}" for a in axes),
            expected="batch, channel, and up to three axes of space",
        )  # fmt: skip
    named = all(name in SPACE[3] for name in space)
    return tags | dict(zip(space, space if named else SPACE[len(space)], strict=True))


def _axis_05(axis: Any, tag: str) -> Axis:
    size, name = axis.size, str(axis.id)
    found = Axis(tag, name, halo=int(getattr(axis, "halo", 0) or 0), scale=float(axis.scale))
    if isinstance(size, v0_5.ParameterizedSize):
        return replace(found, size=int(size.min), step=int(size.step))
    if isinstance(size, v0_5.SizeReference):
        return replace(found, reference=(str(size.tensor_id), str(size.axis_id)), offset=float(size.offset))
    return found if size is None or tag == "b" else replace(found, size=int(size))


# ---- format 0.4
def _read_04(
    document: Mapping[str, Any], kind: str, k: int, tensor: Mapping[str, Any], names: set[str], where: str
) -> Tensor:
    found = _validated(v0_4.InputTensorDescr if kind == "inputs" else v0_4.OutputTensorDescr, tensor, where)
    letters = str(found.axes)
    if not set(letters) <= set("bczyx"):
        raise TranslationError("the axes have no counterpart", where=where, got=letters, expected="b, c, z, y and x")
    tags = {letter: "f" if letter == "c" else letter for letter in letters}
    axes = tuple(_axis_04(found, i, letter, tags[letter]) for i, letter in enumerate(letters))
    listed = found.preprocessing if kind == "inputs" else found.postprocessing
    plain = [(op.name, _kwargs(op) | {"format": "0.4"}) for op in listed]
    channels = next((axis.size for axis in axes if axis.tag == "f"), 1)
    steps = steps_from(plain, tags, channels, names, where)
    tests = document.get(f"test_{kind}")
    test = tests[k] if isinstance(tests, list) and k < len(tests) else None
    return Tensor(str(found.name), axes, steps, str(found.data_type), entry_of(test, f"{where}, test"))


def _axis_04(tensor: Any, i: int, name: str, tag: str) -> Axis:
    shape, halo = tensor.shape, getattr(tensor, "halo", None)
    found = Axis(tag, name, halo=int(halo[i]) if halo else 0)
    if isinstance(shape, v0_4.ParameterizedInputShape):
        return replace(found, size=int(shape.min[i]), step=int(shape.step[i]))
    if isinstance(shape, v0_4.ImplicitOutputShape):
        scale = shape.scale[i]
        if scale is None:
            return replace(found, size=int(2 * shape.offset[i]))
        reference = (str(shape.reference_tensor), name)
        return replace(found, reference=reference, scale=1 / float(scale), offset=float(2 * shape.offset[i]))
    return replace(found, size=int(shape[i]))
