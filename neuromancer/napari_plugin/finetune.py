"""Training of a model with painted labels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from neuromancer.dense.processing.source import ProcessedSource
from neuromancer.dense.processing.steps import steps_of
from neuromancer.errors import ArgumentError, GraphError, ShapeError
from neuromancer.graph.patches import get_valid_patch_sizes
from neuromancer.models.model import Model, model_manager
from neuromancer.nodes.inputs import Input_like
from neuromancer.nodes.losses.aggregate import AggregateLoss
from neuromancer.nodes.losses.multinoulli import MultinoulliNLL
from neuromancer.nodes.softmax import Softmax
from neuromancer.train.data import BackgroundLoader, LabelledVolume, PatchSampler
from neuromancer.train.data.frame import PatchFrame, frame_of
from neuromancer.train.failure import undo
from neuromancer.volumes import ArraySource

OPTIMISER = "Adam"
SIDE = {1: 1024, 2: 128, 3: 40}
"""Size of patches by the number of axes, for networks that leave it open."""


def with_loss(model: Model) -> None:
    """Give a model a loss for classes of voxels, unless it has one.

    Raises
    ------
    GraphError
        If its prediction is neither a softmax nor a linear layer of several channels.
    """
    node = model.prediction_node
    if model.loss_node is not None or node is None:
        return
    linear = getattr(node, "activation_func", None) == "lin" and node.shape["f"] > 1
    if not isinstance(node, Softmax) and not linear:
        raise GraphError(
            "has no loss, and its prediction is not that of classes",
            where=f"model {model.name}",
            got=f"{type(node).__name__} with {node.shape['f']} channels",
            expected="a model with a loss, a Softmax, or a linear layer of several channels",
        )
    model_manager.getmodel(model.name)  # new nodes go to the current model of the thread
    classes = node if isinstance(node, Softmax) else Softmax(node, print_repr=False)
    target = Input_like(classes, "int16", override_f=1, name="painted", print_repr=False)
    nll = MultinoulliNLL(classes, target, target_is_sparse=True, print_repr=False)
    loss = AggregateLoss([nll], name="loss of painted", print_repr=False)
    model.designate_nodes(model.input_node, target, loss, node)


def sampler_for(model: Model, image: ArraySource, painted: np.ndarray) -> PatchSampler:
    """Return patches around painted voxels, equally often of every class.

    Parameters
    ----------
    model : Model
        With a loss.
    image : ArraySource, (f, *spatial)
    painted : numpy.ndarray, (*spatial)
        Class of every voxel, counted from 1; 0 where nothing was painted.

    Raises
    ------
    ShapeError
        If `painted` has not the size of the image.
    ArgumentError
        If nothing was painted, or there are more classes than the network predicts.
    """
    node = model.prediction_node
    assert node is not None  # models without one cannot be chosen
    if painted.shape != image.shape[1:]:
        raise ShapeError("has another size than the image", where="labels", got=painted.shape, expected=image.shape[1:])
    classes, known = [int(c) for c in np.unique(painted) if c], max(2, int(node.shape["f"]))
    if not classes or classes[0] < 0 or classes[-1] > known:
        raise ArgumentError(
            "must be painted with the numbers of the classes",
            where="labels",
            got=classes or "nothing painted",
            expected=f"1 to {known}; 0 where the class is not known",
        )
    source: Any = image
    if model.preprocessing:
        spatial = image.spatial[-node.input_nodes[0].shape.ndim :]
        kind = node.input_nodes[0].output.dtype
        source = ProcessedSource(image, steps_of(model.preprocessing, "preprocessing"), spatial, kind)
        source.measure()
    labels, size = painted.astype("int16") - np.int16(1), _patch_size(model, image)
    return PatchSampler(
        model,
        LabelledVolume(*_widened(source, labels, frame_of(node, size)), axes=image.spatial),
        batch_size=int(node.shape["b"] or 1),
        patch_size=size,
        balance={c - 1: 1 / len(classes) for c in classes},
        pad_raw=True,
    )


def _patch_size(model: Model, image: ArraySource) -> list[int] | None:
    """Return the size of patches: of every axis the largest valid one up to that of the image, if it is open."""
    node = model.prediction_node
    assert node is not None
    shape = node.input_nodes[0].shape
    if None not in shape.spatial_shape:
        return None
    limits = [min(SIDE.get(shape.ndim, 40), n) for n in image.shape[-shape.ndim :]]
    sizes = get_valid_patch_sizes(node, high=2 * max(limits))
    return [max((s for s in valid if s <= limit), default=valid[0]) for valid, limit in zip(sizes, limits, strict=True)]


def _widened(source: Any, labels: np.ndarray, frame: PatchFrame) -> tuple[Any, np.ndarray]:
    """Return image and labels with a margin of half a target, so that targets can be centred on any voxel."""
    from dask import array

    counts = list(zip(frame.counts, frame.strides, strict=True))[-labels.ndim :]  # images have no axis of a stack
    margins = [(count * stride // 2 + 1,) * 2 if count > 1 else (0, 0) for count, stride in counts]
    image = array.from_array(
        source, chunks=source.chunks or "auto", name=False, fancy=False, meta=np.empty(0, source.dtype)
    )
    return array.pad(image, [(0, 0), *margins], mode="symmetric"), np.pad(labels, margins, constant_values=-1)


def train(model: Model, sampler: PatchSampler, steps: int, rate: float, note: Callable[[int, float], Any]) -> None:
    """Train a model.

    Parameters
    ----------
    model : Model
    sampler : PatchSampler
    steps : int
    rate : float
        Learning rate.
    note : callable
        Called with the number of steps done and the last loss; what it raises ends the training.

    Raises
    ------
    TrainingError
        If the loss is not finite; the parameters are those of three steps before.
    """
    model.set_opt_meta_params(OPTIMISER, {"lr": rate})
    with BackgroundLoader(sampler) as loader:
        for step in range(steps):
            batch = loader.batch(step)
            loss, _, _ = model.trainingstep(*batch, optimiser=OPTIMISER)
            if not math.isfinite(loss):
                raise undo(model, OPTIMISER, step, loss, batch, None)
            note(step + 1, float(loss))
