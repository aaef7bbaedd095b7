"""Evaluation of the nodes that leave, at all sizes that they take, to compare with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from neuromancer.errors import GraphError, NeuromancerError, TranslationError
from neuromancer.graph.function import LazyFunction
from neuromancer.graph.geometry import ancestors, period, sizes_through
from neuromancer.graph.rebuild import rebuild
from neuromancer.graph.tagged_shape import SPATIAL_TAGS, exact
from neuromancer.graph.window import BuildMode
from neuromancer.nodes.node import Node

OPEN = ("b", *SPATIAL_TAGS)
SMALL, LARGE = 6, 200
"""Range in which sizes are tried that are nowhere declared."""
ENOUGH = 24
"""Size from which an image is not searched further for a second size beyond its period."""
TOLERANCE = 1e-5
"""Largest accepted difference, as a fraction of the largest value of an output."""

Run = Callable[[list[np.ndarray]], list[np.ndarray]]
Shapes = list[tuple[int, ...]]


@dataclass(frozen=True)
class Sample:
    """Arrays of the sources, and the values of the nodes for them."""

    arrays: list[np.ndarray]
    results: list[np.ndarray]


class Probe:
    """The nodes in their inference form, with open batch and spatial sizes.

    Parameters
    ----------
    nodes : sequence of Node
    label : str
        For messages.

    Attributes
    ----------
    sources : list of Node
    samples : list of Sample
        At the declared sizes, and at others if the nodes take any.
    open_tags : tuple of str
        Tags of the axes along which they do.

    Raises
    ------
    GraphError
        If no sizes are found with which the nodes can be evaluated.
    """

    def __init__(self, nodes: Sequence[Node], label: str) -> None:
        self.nodes, self.label = list(nodes), label
        self.sources: list[Node] = [n for n in ancestors(nodes) if n.is_source]
        copies = rebuild(self.nodes, BuildMode(inference=True), free_sizes=True)
        inputs = [copies[s].output for s in self.sources]
        self._function = LazyFunction(inputs, [copies[n].output for n in nodes], name=f"{label} export")
        self._problem: NeuromancerError | None = None
        first, shapes = self._declared()
        self.open_tags = self._opened(shapes)
        self.samples = [first]
        if self.open_tags:
            grown = {tag: self._step(tag) for tag in self.open_tags}
            second = self._evaluated(self._grown(shapes, grown))
            if second is not None:
                self.samples.append(second)
        if len(self.samples) == 1:
            again = self._evaluated(shapes, seed=1)
            self.samples += [] if again is None else [again]

    # ---- sizes
    def _declared(self) -> tuple[Sample, Shapes]:
        """Return a sample at the declared sizes; unknown ones are those of another source, or found by trying."""
        unknown = {t for s in self.sources for t, n in zip(s.shape.tags, s.shape.shape, strict=True) if n is None}
        candidates: list[dict[str, int]] = [{}]
        if unknown & set(SPATIAL_TAGS) or unknown - {"b"}:
            candidates = [dict.fromkeys(unknown, n) for n in self._fitting()]
        for sizes in candidates:
            shapes = self._shapes({**sizes, "b": self._batch()})
            sample = self._evaluated(shapes)
            if sample is not None:
                return sample, shapes
        problem = self._problem
        raise GraphError(
            "no size of the input was found at which the network can be evaluated, to compare with",
            where=self.label,
            got=None if problem is None else f"{problem.problem}, {problem.got}",
            expected=f"sources with known sizes, or a network that takes one of {SMALL} to {LARGE} voxels",
        ) from problem

    def _batch(self) -> int:
        sizes = [s.shape["b"] for s in self.sources if s.shape.hastag("b")]
        return next((n for n in sizes if n), 1)

    def _shapes(self, sizes: dict[str, int]) -> Shapes:
        known: dict[str, int] = {}
        for s in self.sources:
            known.update({t: n for t, n in zip(s.shape.tags, s.shape.shape, strict=True) if n and t not in known})
        sizes = {**sizes, **known}
        return [
            tuple(sizes.get(t, 2) if n is None else n for t, n in zip(s.shape.tags, s.shape.shape, strict=True))
            for s in self.sources
        ]

    def _fitting(self) -> list[int]:
        """Return sizes for axes of unknown size, those first that the geometry of the network allows."""
        images = [n for n in self.nodes if n.shape is not None and n.shape.ndim]
        rest = list(range(SMALL, LARGE))
        if len(self.sources) != 1 or not images:
            return rest[:64]
        fits = [
            n
            for n in rest
            if all(sizes_through(node, k, n) is not None for node in images for k in range(node.shape.ndim))
        ]
        return fits[:8] or rest[:64]

    def _step(self, tag: str) -> int:
        """By how much an axis grows from one size to another that fits, too."""
        if tag == "b":
            return 1
        images = [n for n in self.nodes if n.shape is not None and n.shape.hastag(tag)]
        steps = [int(period([n], self._axis(n, tag))) for n in images]
        everything = [n for n in ancestors(self.nodes) if n.shape is not None and n.shape.hastag(tag)]
        return int(np.lcm.reduce(steps or [int(period(everything, self._axis(everything[0], tag)))]))

    def _axis(self, node: Node, tag: str) -> int:
        return node.shape.spatial_axes.index(node.shape.tag2index(tag))

    def _grown(self, shapes: Shapes, more: dict[str, int]) -> Shapes:
        """Return larger shapes of the sources; growth is in raw voxels."""
        grown = []
        for source, shape in zip(self.sources, shapes, strict=True):
            strides = dict(
                zip((source.shape.tags[i] for i in source.shape.spatial_axes), source.shape.strides, strict=True)
            )
            grown.append(
                tuple(
                    n + (int(more[t] / exact(strides.get(t, 1))) if t in more else 0)
                    for t, n in zip(source.shape.tags, shape, strict=True)
                )
            )
        return grown

    def _opened(self, shapes: Shapes) -> tuple[str, ...]:
        """Return the tags along which the nodes take other sizes than the declared ones."""
        found = []
        fragments = any(len(n.shape.mfp_offsets) > 1 for n in ancestors(self.nodes) if n.shape is not None) or any(
            getattr(n, "mfp", False) for n in ancestors(self.nodes)
        )
        for tag in OPEN:
            having = [s for s in self.sources if s.shape.hastag(tag)]
            if not having or any(getattr(s, "hardcoded_shape", False) for s in having) or (tag == "b" and fragments):
                continue
            if self._evaluated(self._grown(shapes, {tag: self._step(tag)})) is not None:
                found.append(tag)
        return tuple(found)

    # ---- values
    def _evaluated(self, shapes: Shapes, seed: int = 0) -> Sample | None:
        """Evaluate the nodes on random data; None if they do not take these sizes."""
        rng = np.random.default_rng(seed)
        arrays = [_random(rng, shape, str(s.output.dtype)) for s, shape in zip(self.sources, shapes, strict=True)]
        try:
            results = self._function(*arrays) if arrays else self._function.compile()()
        except NeuromancerError as error:
            self._problem = error
            return None
        results = [np.asarray(r) for r in results]
        return Sample(arrays, results) if all(r.size for r in results) else None

    def compare(self, run: Run, library: str, tolerance: float = TOLERANCE) -> None:
        """Compare the nodes with their translation.

        Parameters
        ----------
        run : callable
            Evaluates the translation on the arrays of the sources.
        library : str
            Where it is evaluated, for messages.
        tolerance : float

        Raises
        ------
        TranslationError
            If shapes differ, or values by more than `tolerance` of the largest.
        """
        for sample in self.samples:
            for node, ours, theirs in zip(self.nodes, sample.results, run(sample.arrays), strict=True):
                shapes = [a.shape for a in sample.arrays]
                if ours.shape != theirs.shape:
                    raise TranslationError(
                        f"the translation gives another shape in {library}",
                        node=node,
                        got=f"{theirs.shape} for inputs {shapes}",
                        expected=str(ours.shape),
                    )
                difference = _difference(ours, theirs)
                if not difference <= tolerance:
                    raise TranslationError(
                        f"the translation differs from the node in {library}",
                        node=node,
                        got=f"{difference:.1e} of the largest value, for inputs {shapes}",
                        expected=f"at most {tolerance:g}",
                    )


def _random(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    kind = np.dtype(dtype).kind
    if kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    return rng.integers(0, 2 if kind == "b" else 100, shape).astype(dtype)


def _difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest difference, as a fraction of the largest value; values that are not finite must agree."""
    a, b = ours.astype("float64"), theirs.astype("float64")
    finite = np.isfinite(a)
    if not np.array_equal(finite, np.isfinite(b)) or not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return np.inf
    largest = float(np.abs(a[finite]).max(initial=0.0))
    distance = float(np.abs(a - b)[finite].max(initial=0.0))
    return distance / largest if largest else distance
