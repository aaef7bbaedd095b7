"""Comparison of an imported model with the test tensors of its package."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neuromancer.dense.processing.source import process_array
from neuromancer.dense.processing.steps import Step
from neuromancer.errors import FileError, NeuromancerError, TranslationError
from neuromancer.interop.bioimageio.description import Description, Tensor
from neuromancer.interop.bioimageio.package import Package, load_tensor
from neuromancer.interop.verify import TOLERANCE
from neuromancer.models.import_report import Check
from neuromancer.models.model import Model
from neuromancer.nodes.node import Node

MISMATCHES = 1e-4
"""Fraction of the voxels of classes or masks that may differ, as where a value lies at the threshold."""


def verify_tests(
    model: Model, package: Package, description: Description
) -> tuple[list[Check], list[str], np.ndarray | None, np.ndarray | None]:
    """Compare a model with the test tensors of its package, including pre- and postprocessing.

    Returns
    -------
    checks : list of Check
    notes : list of str
        Why something could not be compared.
    raw, images : numpy.ndarray or None, (b, f, *space)
        The test input, and as the network takes it.

    Raises
    ------
    TranslationError
        If a result differs by more than `TOLERANCE` of the largest value.
    """
    tensor, label = description.inputs[0], package.label
    raw, note = _tensor(package, tensor, label)
    if raw is None:
        return [], [note], None, None
    images = preprocessed(raw, tensor)
    nodes: list[Node | None] = list(model.prediction_ext) or [model.prediction_node]
    if len(nodes) != len(description.outputs):
        raise TranslationError(
            "the weights give another number of outputs than the package",
            where=label,
            got=len(nodes),
            expected=f"{len(description.outputs)}: {', '.join(t.name for t in description.outputs)}",
        )
    checks, notes = [], []
    for node, output in zip(nodes, description.outputs, strict=True):
        assert node is not None
        wanted, note = _tensor(package, output, label)
        if wanted is None:
            notes.append(note)
            continue
        try:
            found = np.asarray(node.infer(images))
        except NeuromancerError as error:
            raise TranslationError(
                f"the network cannot take the test tensor of its package: {error.problem}", where=label,
                got=f"shape {raw.shape}; {error.got}", expected=error.expected,
            ) from error  # fmt: skip
        found = postprocessed(found, node, output.steps, raw, tensor)
        checks.append(_check(node, found, wanted, output, images.shape, label))
    return checks, notes, raw, images


def _tensor(package: Package, tensor: Tensor, label: str) -> tuple[np.ndarray | None, str]:
    """The test tensor (b, f, *space), or why there is none."""
    where = f"{label}, test tensor of {tensor.name}"
    if tensor.test is None:
        return None, f"not compared with test tensors: the package has none for {tensor.name!r}"
    if tensor.test.is_remote:
        return None, f"not compared with test tensors: that of {tensor.name!r} is not in the package"
    try:
        path = package.find(tensor.test, where)
    except FileError as error:
        if "missing" not in error.problem:
            raise
        return None, f"not compared with test tensors: that of {tensor.name!r} is missing"
    array = load_tensor(path, where)
    if array.ndim != len(tensor.axes) or 0 in array.shape:
        raise FileError(
            "the test tensor has other axes than the description", where=where, got=f"shape {array.shape}",
            expected=f"axes {', '.join(axis.name for axis in tensor.axes)}",
        )  # fmt: skip
    return ordered(array, tensor), ""


def ordered(array: np.ndarray, tensor: Tensor) -> np.ndarray:
    """Return a tensor of a package as (b, f, *space)."""
    tags = tensor.tags
    for tag in "fb":
        if tag not in tags:
            array, tags = array[None], tag + tags
    wanted = ["b", "f", *tensor.space]
    return np.transpose(array, [tags.index(tag) for tag in wanted])


def preprocessed(raw: np.ndarray, tensor: Tensor) -> np.ndarray:
    """Return test images (b, f, *space) as the network takes them, each processed by itself."""
    axes = ["f", *tensor.space]
    done = [process_array(image, tensor.steps, axes, image, axes) for image in raw]
    return np.stack(done).astype("float32")


def postprocessed(values: np.ndarray, node: Node, steps: Sequence[Step], raw: np.ndarray, tensor: Tensor) -> np.ndarray:
    """Return the results (b, f, *space) of a network after some steps."""
    axes = ["f", *(node.shape.tags[k] for k in node.shape.spatial_axes)] if values.ndim > 2 else ["f"]
    images = zip(values, raw, strict=True)
    return np.stack([process_array(own, steps, axes, image, ["f", *tensor.space]) for own, image in images])


def _check(
    node: Node, found: np.ndarray, wanted: np.ndarray, output: Tensor, shape: tuple[int, ...], label: str
) -> Check:
    where = f"{label}, output {output.name}"
    squeezed = (
        found if found.ndim == wanted.ndim else found.reshape(wanted.shape) if found.size == wanted.size else found
    )
    if squeezed.shape != wanted.shape:
        raise TranslationError(
            "the imported network gives another shape than the test tensor", where=where, got=found.shape,
            expected=wanted.shape,
        )  # fmt: skip
    ours, theirs = squeezed.astype("float64"), wanted.astype("float64")
    if wanted.dtype.kind in "biu":
        difference, most = float((ours != theirs).mean()), MISMATCHES
        words = f"{difference:.1e} of the voxels differ"
    else:
        largest = float(np.abs(theirs).max())
        difference, most = float(np.abs(ours - theirs).max()) / (largest or 1.0), TOLERANCE
        words = f"{difference:.1e} of the largest value"
    if not difference <= most:
        raise TranslationError(
            "the imported network differs from the test tensors of its package", where=where,
            got=f"{words}, in node {node.name!r} for an input of shape {shape}", expected=f"at most {most:g}",
        )  # fmt: skip
    return Check(node.name, shape, difference)
