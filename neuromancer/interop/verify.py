"""Comparison of an imported network with its source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import numpy as np

from neuromancer.errors import NeuromancerError, TranslationError
from neuromancer.graph.geometry import period
from neuromancer.interop.network import Network, Value
from neuromancer.models.import_report import Check
from neuromancer.models.model import Model

Run = Callable[[list[np.ndarray]], list[np.ndarray]]
"""Evaluates the source on arrays (b, f, *space), one per input."""


TOLERANCE = 1e-4
"""Largest accepted difference, as a fraction of the largest value of an output."""


SMALL = 1 << 20
"""Number of voxels up to which two images at once are compared, too."""


class SourceError(Exception):
    """The source cannot be run on some arrays."""


class DiffersAtOtherSizes(Exception):
    """The network is right for the sizes of the example only."""


def verify(net: Network, outputs: Sequence[Value], run: Run, label: str) -> list[Check]:
    """Compare a network with its source on random data of two sizes.

    Parameters
    ----------
    net : Network
    outputs : sequence of Value
    run : callable
        Raises SourceError if it cannot take arrays of these sizes.
    label : str
        The source, for messages.

    Raises
    ------
    TranslationError
        If an output differs by more than `TOLERANCE` of its largest value.
    DiffersAtOtherSizes
        If that is so only for other sizes than those of the example: sizes of the trace are a part of the network.
    """
    first = [v.sizes for v in net.inputs]
    checks = _compare(net, outputs, run, label, first, images=1)
    if net.fixed:
        net.notes.append(f"the network takes images of one size only, {first[0]}")
        return checks + _compare(net, outputs, run, label, first, images=1, seed=1)
    second = [_other(sizes, outputs) for sizes in first]
    try:
        images = 2 if max(prod(sizes) for sizes in second) <= SMALL else 1
        return checks + _compare(net, outputs, run, label, second, images)
    except TranslationError as error:
        raise DiffersAtOtherSizes from error
    except SourceError as error:
        net.notes.append(f"the source takes no images of size {second[0]} ({error}), so it was compared at one size")
        return checks + _compare(net, outputs, run, label, first, images=1, seed=1)


def _other(sizes: tuple[int, ...], outputs: Sequence[Value]) -> tuple[int, ...]:
    """Another size that the network takes: larger by a multiple of its period, differently for every axis."""
    nodes = [v.node for v in outputs if v.node.shape.ndim == len(sizes)]
    steps = [period(nodes, k) if nodes else 1 for k in range(len(sizes))]
    return tuple(n + step * -(-(2 + k) // step) for k, (n, step) in enumerate(zip(sizes, steps, strict=True)))


def _compare(
    net: Network,
    outputs: Sequence[Value],
    run: Run,
    label: str,
    sizes: Sequence[tuple[int, ...]],
    images: int,
    seed: int = 0,
) -> list[Check]:
    rng = np.random.default_rng(seed)
    arrays = [
        rng.standard_normal((images, v.features, *own)).astype("float32")
        for v, own in zip(net.inputs, sizes, strict=True)
    ]
    wanted = run(arrays)
    try:
        found = evaluate(net.model, net.inputs, outputs, arrays)
    except NeuromancerError as error:
        raise TranslationError(
            f"the imported network cannot take what its source takes: {error.problem}",
            where=label,
            got=f"input of shape {arrays[0].shape}; {error.got}",
            expected=error.expected,
        ) from error
    checks = []
    for value, ours, theirs in zip(outputs, found, wanted, strict=True):
        if ours.size != theirs.size:
            raise TranslationError(
                "the imported network gives another shape than its source",
                where=label,
                got=f"{ours.shape} of node {value.node.name!r} for an input of shape {arrays[0].shape}",
                expected=str(theirs.shape),
            )
        difference = _difference(ours, theirs.reshape(ours.shape) if value.view != "last" else _first(theirs))
        if not difference <= TOLERANCE:
            raise TranslationError(
                "the imported network differs from its source",
                where=label,
                got=f"{difference:.1e} of the largest value, in node {value.node.name!r} for an input of shape "
                f"{arrays[0].shape}",
                expected=f"at most {TOLERANCE:g}",
            )
        checks.append(Check(value.node.name, arrays[0].shape, difference))
    return checks


def evaluate(
    model: Model, inputs: Sequence[Value], outputs: Sequence[Value], arrays: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Evaluate the outputs of an imported network in its inference form."""
    by_name = {v.node.name: array for v, array in zip(inputs, arrays, strict=True)}
    return [np.asarray(v.node.infer(*(by_name[s.name] for s in v.node.input_nodes))) for v in outputs]


def _first(array: np.ndarray) -> np.ndarray:
    """Move the features from the last axis to the second."""
    return np.moveaxis(array, -1, 1)


def _difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    if not np.isfinite(theirs).all():
        raise TranslationError("the source gives values that are not finite", where="verification", got="NaN or inf")
    largest = float(np.abs(theirs).max(initial=0.0))
    distance = float(np.abs(ours.astype("float64") - theirs).max(initial=0.0))
    return distance / largest if largest else distance
