"""Import of a package: weights by the importers of their kinds, processing, and comparison with the test tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from neuromancer.errors import ArgumentError, TranslationError, nearest_name
from neuromancer.graph.registry import free_name, model_manager
from neuromancer.interop.bioimageio.comparison import verify_tests
from neuromancer.interop.bioimageio.description import Description, Tensor, described
from neuromancer.interop.bioimageio.halo import halo_notes
from neuromancer.interop.bioimageio.package import Package, open_package
from neuromancer.interop.bioimageio.weights import READERS, Choice, choose
from neuromancer.models.model import Model
from neuromancer.progress import say
from neuromancer.utils import safe_file_name

LARGEST = 1 << 31
FLOAT = ("ensure_dtype", {"dtype": "float32"})


def imported(path: Any, weights: str | None, module: Any, name: str | None, print_report: bool) -> Model:
    """Import a package; see :func:`neuromancer.from_bioimageio`."""
    if weights is not None and weights not in READERS:
        raise ArgumentError(
            "weights of this kind cannot be imported", where="weights", got=weights,
            expected=f"one of {', '.join(READERS)}",
            nearest=nearest_name(weights, READERS) if isinstance(weights, str) else None,
        )  # fmt: skip
    with open_package(path) as package:
        description = described(package.document, package.label)
        _require_single(description, package.label)
        choice = choose(package, description, weights, module)
        wanted = name or free_name(safe_file_name(description.name) or "imported", model_manager.models)
        before, last = model_manager.current, model_manager.last
        model = _translated(choice, description, wanted)
        try:
            _complete(model, package, description, choice)
        except BaseException:
            model_manager.delmodel(model.name)
            model_manager.current, model_manager.last = before, last
            raise
    if print_report:
        say(str(model.import_report))
    return model


def _require_single(description: Description, label: str) -> None:
    """Raise TranslationError for several inputs: what each of them is to be is not known to a prediction."""
    if len(description.inputs) > 1:
        raise TranslationError(
            "a package with several input tensors cannot be predicted densely",
            where=label,
            got=", ".join(tensor.name for tensor in description.inputs),
            expected="one input; from_onnx and from_keras import weights with several",
        )


def _translated(choice: Choice, description: Description, name: str) -> Model:
    """Import the weights, at the sizes of the package if their own do not do."""
    tensor = description.inputs[0]
    tags = ",".join(("b", "f", *tensor.space))
    try:
        return choice.read(None, tags, name)
    except (ArgumentError, TranslationError):
        example = _example(tensor)
        if example is None:
            raise
        return choice.read(example, tags, name)


def _example(tensor: Tensor) -> tuple[int, ...] | None:
    """Shape (b, f, *space) of the smallest image that a package declares valid; None if it leaves something open."""
    by_tag = {axis.tag: axis.size for axis in tensor.axes}
    for axis in tensor.axes:
        if axis.reference is not None:  # sizes of one tensor may follow from one another
            other = next((a for a in tensor.axes if (tensor.name, a.name) == axis.reference), None)
            if other is None or other.size is None:
                return None
            size = other.size * other.scale / axis.scale + axis.offset
            if not 1 <= size < LARGEST:
                return None
            by_tag[axis.tag] = int(size)
    sizes = [1, by_tag.get("f", 1), *(by_tag[tag] for tag in tensor.space)]
    return None if None in sizes else tuple(int(n) for n in sizes if n is not None)


def _complete(model: Model, package: Package, description: Description, choice: Choice) -> None:
    """Set the processing of a model, compare it with the test tensors, and extend its report."""
    tensor, output = description.inputs[0], description.outputs[0]
    steps = [step.stated for step in tensor.steps]
    model.preprocessing = steps if steps[-1:] == [FLOAT] else [*steps, FLOAT]
    model.postprocessing = [step.stated for step in output.steps]
    report = model.import_report
    assert report is not None
    checks, notes, raw, images = verify_tests(model, package, description)
    notes += _remarks(model, description)
    notes += halo_notes(model, description, raw, images)
    reference = f"{report.reference} and the test tensors" if checks else report.reference
    model.import_report = replace(
        report,
        source=f"{description.name or Path(package.label).name} (bioimage.io package, {choice.kind})",
        checks=(*report.checks, *checks),
        reference=reference,
        notes=(*report.notes, *choice.notes, *notes),
    )


def _remarks(model: Model, description: Description) -> list[str]:
    """Remarks on what the model knows besides the network."""
    notes = []
    for what, steps in (
        ("preprocessing", description.inputs[0].steps),
        ("postprocessing", description.outputs[0].steps),
    ):
        if steps:
            notes.append(f"{what} of predict_dense: {', '.join(step.name for step in steps)}")
    others = [tensor.name for tensor in description.outputs[1:] if tensor.steps]
    if others:
        notes.append(f"the postprocessing of {_listed(others)} is not applied by predict_dense")
    sizes = [str(axis) for axis in description.inputs[0].axes if axis.tag not in "bf"]
    notes.append(f"declared input sizes: {', '.join(sizes)}")
    return notes


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)
