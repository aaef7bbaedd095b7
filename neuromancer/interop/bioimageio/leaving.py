"""Writing a package: weights, test tensors and description, validated before it appears under its name."""

from __future__ import annotations

import io
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from bioimageio.spec import InvalidDescr, ValidationContext, build_description
from bioimageio.spec.model import v0_5
from ruyaml import YAML

from neuromancer.dense.processing.apply import dtype_after
from neuromancer.dense.processing.steps import Step, steps_of
from neuromancer.errors import ArgumentError, FileError, ShapeError, naming, reason, short
from neuromancer.files import followed, fsync, replacing, temporary_of
from neuromancer.interop.bioimageio.comparison import postprocessed, preprocessed
from neuromancer.interop.bioimageio.description import Axis, Tensor
from neuromancer.interop.bioimageio.metadata import Metadata
from neuromancer.interop.bioimageio.operations import operations_from
from neuromancer.interop.bioimageio.tensors import (
    INPUT,
    NAMES,
    OUTPUT,
    Size,
    axes_of,
    evaluated,
    example_sizes,
    tensors_of,
)
from neuromancer.interop.export import export
from neuromancer.models.model import Model
from neuromancer.nodes.node import Node
from neuromancer.places import kind_at, status

DESCRIPTION, WEIGHTS, README = "bioimageio.yaml", "weights.onnx", "README.md"
TESTS = ("test_input.npy", "test_output.npy")
OPSET = 20
SCALES = {"uint8": 255, "uint16": 65535}
"""What dense prediction divides integers by, if there is no preprocessing."""
LEAST = 1e-4
"""Test tensors with no value of this size are refused by the specification."""
DTYPES = ("float32", "float64", "uint8", "uint16", "int16", "uint32", "int32")


def write_package(model: Model, target: Path, metadata: Metadata, test_image: Any) -> None:
    """Write a package to a folder or a zip archive; see :meth:`neuromancer.Model.export_bioimageio`."""
    archive = target.suffix.lower() == ".zip"
    if not archive and status(target) is not None:
        raise FileError(
            "the folder exists already", where=str(target), expected="a new folder, or a .zip, which is replaced"
        )
    if kind_at(target.parent) != "a folder":
        raise FileError("there is no such folder", where=str(target.parent), expected="an existing folder")
    source, node, sizes, notes = tensors_of(model)
    raw = _test_image(test_image, source, sizes, _random_dtype(model))
    before, after = _steps(model, raw)
    tensor = _as_tensor(source, before)
    images = preprocessed(_ordered(raw, source), tensor)
    values = evaluated(node, _back(images, source))
    result = postprocessed(_ordered(values, node), node, after, _ordered(raw, source), tensor)
    _require_something(result, node)
    with naming(target), tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "package"
        folder.mkdir()
        export(model, folder / WEIGHTS, None)
        np.save(folder / TESTS[0], raw)
        np.save(folder / TESTS[1], _back(result, node))
        text = metadata.documentation + "".join(f"\n\nNote: {note}.\n" for note in notes)
        (folder / README).write_text(text, "utf-8")
        tensors = _described(source, node, sizes, before, after, raw, result)
        document = _document(folder, metadata, *tensors)
        _validate(document, folder)
        (folder / DESCRIPTION).write_bytes(_yaml(document))
        _publish(folder, target, archive)


# ---- tensors
def _random_dtype(model: Model) -> str:
    """Return the dtype of images that the preprocessing takes."""
    first = steps_of(model.preprocessing, "preprocessing")[:1]
    dtype = str(first[0]["dtype"]) if first and first[0].name == "ensure_dtype" else "float32"
    return dtype if dtype in DTYPES else "float32"


def _test_image(given: Any, source: Node, sizes: Mapping[str, Size], dtype: str) -> np.ndarray:
    """The test image in the order of the input."""
    tags = list(source.shape.tags)
    features = int(source.shape["f"])
    space = [tag for tag in tags if tag not in "bf"]
    if given is None:
        wanted = {"b": 1, "f": features, **example_sizes(dict(sizes))}
        rng, shape = np.random.default_rng(0), [wanted[tag] for tag in tags]
        if np.dtype(dtype).kind == "f":
            return rng.standard_normal(shape).astype(dtype)
        return rng.integers(0, min(np.iinfo(dtype).max, 65535), shape, dtype, endpoint=True)
    try:
        image = np.asarray(given)
    except (TypeError, ValueError) as error:
        raise ArgumentError("not a test image", where="test_image", got=reason(error), expected="an array") from None
    if image.dtype.name not in DTYPES:
        raise ArgumentError("not a test image", where="test_image", got=str(image.dtype), expected=f"one of {DTYPES}")
    if image.ndim != len(space) + 1 or len(image) != features or 0 in image.shape:
        raise ShapeError(
            "the test image has other axes than the input", where="test_image", got=image.shape,
            expected=f"({features}, {', '.join(space)})",
        )  # fmt: skip
    wrong = [(tag, n) for tag, n in zip(space, image.shape[1:], strict=True) if not sizes[tag].valid(n)]
    if wrong:
        raise ShapeError(
            "the network does not take images of this size as a whole", where="test_image", got=image.shape,
            expected=", ".join(f"{tag}: {s.least} + n * {s.step}" for tag, s in sizes.items() if tag in space),
            nearest=(features, *(sizes[tag].nearest(n) for tag, n in zip(space, image.shape[1:], strict=True))),
        )  # fmt: skip
    return _back(image[None], source)


def _require_something(result: np.ndarray, node: Node) -> None:
    """Raise ArgumentError for a result that tests nothing; the specification refuses such test tensors."""
    if result.dtype.kind in "iuf" and not (np.abs(result.astype("float64")) >= LEAST).any():
        raise ArgumentError(
            "the result for the test image is zero everywhere, so it would test nothing", where="test_image",
            got=f"node {node.name!r} with postprocessing: {result.dtype} of shape {result.shape}",
            expected=f"test_image=..., an image with a result of {LEAST:g} or more somewhere",
        )  # fmt: skip


def _ordered(array: np.ndarray, node: Node) -> np.ndarray:
    """Return an array in the order of a node as (b, f, *space)."""
    tags = list(node.shape.tags)
    wanted = ["b", "f", *(tag for tag in tags if tag not in "bf")]
    return np.transpose(array, [tags.index(tag) for tag in wanted])


def _back(array: np.ndarray, node: Node) -> np.ndarray:
    """Return an array (b, f, *space) in the order of a node."""
    tags = list(node.shape.tags)
    ordered = ["b", "f", *(tag for tag in tags if tag not in "bf")]
    return np.ascontiguousarray(np.transpose(array, [ordered.index(tag) for tag in tags]))


def _steps(model: Model, raw: np.ndarray) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
    """Pre- and postprocessing of dense predictions, with what they do without being told."""
    before = steps_of(model.preprocessing, "preprocessing")
    if not before and raw.dtype.kind in "iu":
        scale = SCALES.get(raw.dtype.name)
        if scale is None:
            raise ArgumentError(
                "integers of this type have no natural scale", where="test_image", got=str(raw.dtype),
                expected="uint8, uint16 or floating point; or model.preprocessing",
            )  # fmt: skip
        before = steps_of([("scale_linear", {"gain": 1 / scale})], "preprocessing")
    last = steps_of([("ensure_dtype", {"dtype": "float32"})], "preprocessing")
    before += last if before[-1:] != last else ()
    after = steps_of(model.postprocessing, "postprocessing")
    node = model.prediction_node
    if node is not None and dtype_after(after, int(node.shape["f"]), "float32").kind == "b":
        after += steps_of([("ensure_dtype", {"dtype": "uint8"})], "postprocessing")
    return before, after


def _as_tensor(source: Node, steps: tuple[Step, ...]) -> Tensor:
    axes = tuple(Axis(tag, NAMES[tag]) for tag in source.shape.tags)
    return Tensor(INPUT, axes, steps, "float32", None)


# ---- description
def _described(
    source: Node,
    node: Node,
    sizes: dict[str, Size],
    before: tuple[Step, ...],
    after: tuple[Step, ...],
    raw: np.ndarray,
    result: np.ndarray,
) -> tuple[dict[str, Any], dict[str, Any]]:
    names = {tag: NAMES[tag] for tag in source.shape.tags}
    image = {
        "id": INPUT,
        "axes": axes_of(source, sizes, True),
        "data": {"type": raw.dtype.name},
        "preprocessing": operations_from(before, INPUT, names),
    }
    output = {
        "id": OUTPUT,
        "axes": axes_of(node, sizes, False),
        "data": {"type": result.dtype.name},
        "postprocessing": operations_from(after, INPUT, names),
    }
    return image, output


def _document(folder: Path, metadata: Metadata, image: dict[str, Any], output: dict[str, Any]) -> dict[str, Any]:
    image["test_tensor"], output["test_tensor"] = (_entry(folder / name) for name in TESTS)
    return {
        "format_version": v0_5.ModelDescr.implemented_format_version,
        "type": "model",
        **metadata.fields,
        "documentation": _entry(folder / README),
        "inputs": [image],
        "outputs": [output],
        "weights": {"onnx": {**_entry(folder / WEIGHTS), "opset_version": OPSET}},
    }


def _entry(path: Path) -> dict[str, Any]:
    return {"source": path.name, "sha256": sha256(path.read_bytes()).hexdigest()}


def _validate(document: dict[str, Any], folder: Path) -> None:
    """Raise ArgumentError for metadata that the specification refuses."""
    context = ValidationContext(root=folder, perform_io_checks=False, log_warnings=False, warning_level=50)
    try:
        found = build_description(document, context=context)
    except Exception as error:  # of a foreign library
        raise ArgumentError("the metadata are not valid", where="export_bioimageio", got=str(error)[:500]) from error
    if isinstance(found, InvalidDescr):
        summary = found.validation_summary
        errors = [] if summary is None else summary.errors
        problems = dict.fromkeys(f"{'.'.join(map(str, e.loc[:2]))}: {short(e.msg, 120)}" for e in errors)
        raise ArgumentError(
            "the specification of bioimage.io refuses the metadata", where="export_bioimageio",
            got="; ".join(problems)[:600], expected="valid metadata",
        )  # fmt: skip


def _yaml(document: dict[str, Any]) -> bytes:
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style, writer.sort_base_mapping_type_on_output = False, False
    text = io.BytesIO()
    writer.dump(document, text)
    return text.getvalue()


# ---- files
def _publish(folder: Path, target: Path, archive: bool) -> None:
    """Give a finished package its name: an archive replaces another, a folder must be new."""
    names = sorted(p.name for p in folder.iterdir())
    if archive:
        with replacing(target) as new, zipfile.ZipFile(new, "x", zipfile.ZIP_DEFLATED) as file:
            for name in names:
                file.write(folder / name, name)
        return
    place = followed(target)
    new = temporary_of(place)
    try:
        shutil.copytree(folder, new)
        for name in names:
            fsync(new / name)
        fsync(new)
        new.rename(place)
        fsync(place.parent)
    finally:
        shutil.rmtree(new, ignore_errors=True)
