"""Evaluation of the nodes that leave, at all sizes that they take, to compare with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from math import prod

import numpy as np

from neuromancer.errors import GraphError, NeuromancerError, TranslationError
from neuromancer.graph.function import LazyFunction
from neuromancer.graph.geometry import ancestors, period, sizes_through
from neuromancer.graph.rebuild import rebuild
from neuromancer.graph.tagged_shape import SPATIAL_TAGS, exact
from neuromancer.graph.window import BuildMode
from neuromancer.interop.leaving.layout import sources_of
from neuromancer.nodes.node import Node

OPEN = ("b", *SPATIAL_TAGS)
SMALL, LARGE = 6, 600
"""Range in which sizes are tried that are nowhere declared."""
AFFORDABLE = 1 << 12
"""Size of a source up to which the declared sizes are taken; the comparison does not need more."""
DOUBLED = -1
TRIES = 64
"""Sizes that are tried along all axes at once."""
APART = 4
"""Successive sizes along each axis of which all combinations are tried."""
TOLERANCE = 1e-5
"""Largest accepted difference, as a fraction of the largest value of an output."""
ROUNDINGS, WORST = 16, 1e-3
"""Largest accepted difference relative to what rounding the input changes, for networks that amplify rounding errors,
and its limit."""

Run = Callable[[list[np.ndarray]], list[np.ndarray]]
Shapes = list[tuple[int, ...]]
Growth = dict[str, int]
"""By how many raw voxels (of the batch, items) axes grow, by tag; `DOUBLED` for twice the size."""


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
        At the declared sizes, or at small ones; and at others if the nodes take any.
    open_tags : tuple of str
        Tags of the axes along which they do.

    Raises
    ------
    GraphError
        If no sizes are found with which the nodes can be evaluated.
    """

    def __init__(self, nodes: Sequence[Node], label: str) -> None:
        self.nodes, self.label = list(nodes), label
        self.sources = sources_of(nodes)
        self._growth: Growth = {}
        self._problem: NeuromancerError | None = None
        first, shapes = self._first()
        second = self._evaluated(self._grown(shapes, self._growth), seed=1)
        if second is None:
            self._growth, second = {}, first
        self.samples, self.open_tags = [first, second], tuple(self._growth)

    def _rebuilt(self, free_sizes: bool) -> LazyFunction:
        copies = rebuild(self.nodes, BuildMode(inference=True), free_sizes)
        inputs = [copies[s].output for s in self.sources]
        return LazyFunction(inputs, [copies[n].output for n in self.nodes], name=f"{self.label} export")

    # ---- sizes
    def _first(self) -> tuple[Sample, Shapes]:
        """Return the first sample; set the function that evaluates the nodes, and how sizes may grow."""
        large = any(prod(n or 1 for n in s.shape.shape) > AFFORDABLE for s in self.sources)
        # Declared axes of one voxel are repeated, open ones are not.
        attempts = [(True, True)] * large + [(True, False), (False, False)]
        for free_sizes, small in attempts:
            self._function = self._rebuilt(free_sizes)
            found = self._tried(small)
            if found is None:
                continue
            self._growth = self._opened(found[1]) if free_sizes else {}
            tags = {t for s in self.sources for t in s.shape.tags if t in SPATIAL_TAGS}
            if not small or tags <= set(self._growth):
                return found
        problem = self._problem
        raise GraphError(
            "no size of the input was found at which the network can be evaluated, to compare with",
            where=self.label,
            got=None if problem is None else f"{problem.problem}, {problem.got}",
            expected=f"sources with known sizes, or a network that takes one of {SMALL} to {LARGE} voxels",
        ) from problem

    def _tried(self, small: bool) -> tuple[Sample, Shapes] | None:
        """Return a sample at the declared sizes, or at small ones; None if the nodes cannot be evaluated there.

        Unknown sizes are those of another source, or found by trying.
        """
        tags = {t for s in self.sources for t in s.shape.tags}
        unknown = {t for s in self.sources for t, n in zip(s.shape.tags, s.shape.shape, strict=True) if n is None}
        chosen = unknown - {"b"} | (tags & set(SPATIAL_TAGS) if small else set())
        for sizes in self._fitting(chosen) if chosen else [{}]:
            shapes = self._shapes({**sizes, "b": self._batch()}, small)
            sample = self._evaluated(shapes)
            if sample is not None:
                return sample, shapes
        return None

    def _batch(self) -> int:
        sizes = [s.shape["b"] for s in self.sources if s.shape.hastag("b")]
        return next((n for n in sizes if n), 1)

    def _shapes(self, sizes: dict[str, int], small: bool) -> Shapes:
        """Return shapes of the sources with sizes by tag; those that are declared go before, unless `small`."""
        known: dict[str, int] = {}
        for s in self.sources:
            known.update({t: n for t, n in zip(s.shape.tags, s.shape.shape, strict=True) if n and t not in known})
        general = {**known, **sizes} if small else {**sizes, **known}
        return [
            tuple(
                general.get(t, 2) if n is None or (small and t in OPEN) else n
                for t, n in zip(s.shape.tags, s.shape.shape, strict=True)
            )
            for s in self.sources
        ]

    def _fitting(self, tags: Iterable[str]) -> list[dict[str, int]]:
        """Return sizes for axes of unknown size, those that the geometry of the network allows.

        Branches may meet at odd sizes of one axis and at even ones of another: combinations follow the first sizes.
        """
        images = [n for n in self.nodes if n.shape is not None and n.shape.ndim]
        found: dict[str, list[int]] = {}
        for tag in tags:
            here = [n for n in images if n.shape.hastag(tag)]
            # Not fewer than two voxels on the coarsest grid, as the statistics of one are degenerate.
            sizes = list(range(max(SMALL, 2 * self._step(tag)) if tag in SPATIAL_TAGS else 2, LARGE))
            if len(self.sources) == 1 and here:
                sizes = [
                    n for n in sizes if all(sizes_through(i, self._axis(i, tag), n) is not None for i in here)
                ] or sizes
            found[tag] = sizes
        together = [(k,) * len(found) for k in range(TRIES)]
        order = [*together[:APART], *product(range(APART), repeat=len(found)), *together[APART:]]
        # without repetitions
        return [
            {tag: sizes[min(k, len(sizes) - 1)] for k, (tag, sizes) in zip(places, found.items(), strict=True)}
            for places in dict.fromkeys(order)
        ]

    def _step(self, tag: str) -> int:
        """By how much an axis grows from one size to another that fits, too."""
        if tag == "b":
            return 1
        images = [n for n in ancestors(self.nodes) if n.shape is not None and n.shape.hastag(tag)]
        return int(np.lcm.reduce([int(period([n], self._axis(n, tag))) for n in images]))

    def _axis(self, node: Node, tag: str) -> int:
        return node.shape.spatial_axes.index(node.shape.tag2index(tag))

    def _grown(self, shapes: Shapes, growth: Growth) -> Shapes:
        """Return larger shapes of the sources."""
        return [
            tuple(
                n * 2 if more == DOUBLED else n + int(more / stride)
                for n, more, stride in zip(shape, [growth.get(t, 0) for t in s.shape.tags], _strides(s), strict=True)
            )
            for s, shape in zip(self.sources, shapes, strict=True)
        ]

    def _opened(self, shapes: Shapes) -> Growth:
        """Return the tags along which the nodes take other sizes than these, and how these may grow."""
        nodes = [n for n in ancestors(self.nodes) if n.shape is not None]
        fragments = any(len(n.shape.mfp_offsets) > 1 or getattr(n, "mfp", False) for n in nodes)
        found: Growth = {}
        for tag in OPEN:
            having = [s for s in self.sources if s.shape.hastag(tag)]
            if not having or any(getattr(s, "hardcoded_shape", False) for s in having) or (tag == "b" and fragments):
                continue
            # Sources on grids of their own, whose strides nothing tells, grow in proportion.
            for more in (self._step(tag), *([DOUBLED] if len(having) > 1 else [])):
                if self._evaluated(self._grown(shapes, {tag: more})) is not None:
                    found[tag] = more
                    break
        return found

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
            If shapes differ; or values, by more than `tolerance` of the largest and by more than rounding explains.
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
                difference, accepted = _difference(ours, theirs), tolerance
                if ours.dtype == "float16":
                    accepted = max(tolerance, float(np.finfo("float16").eps))
                if not difference <= accepted:
                    accepted = max(accepted, min(WORST, ROUNDINGS * self._change_by_rounding(sample)[node]))
                if not difference <= accepted:
                    raise TranslationError(
                        f"the translation differs from the node in {library}",
                        node=node,
                        got=f"{difference:.1e} of the largest value, for inputs {shapes}",
                        expected=f"at most {accepted:g}",
                    )

    def _change_by_rounding(self, sample: Sample) -> dict[Node, float]:
        """Return by how much results change when the inputs change in the last place, by fraction of the largest."""
        rng = np.random.default_rng(0)
        changed = [
            np.nextafter(a, rng.choice([-np.inf, np.inf], a.shape).astype(a.dtype)) if a.dtype.kind == "f" else a
            for a in sample.arrays
        ]
        results = self._function(*changed) if changed else sample.results
        pairs = zip(self.nodes, sample.results, results, strict=True)
        return {node: _difference(np.asarray(ours), np.asarray(theirs)) for node, ours, theirs in pairs}


def _strides(source: Node) -> list[Fraction]:
    """Strides of all axes, 1 for those that are not spatial."""
    shape = source.shape
    spatial = dict(zip(shape.spatial_axes, shape.strides, strict=True))
    return [exact(spatial.get(axis, 1)) for axis in range(len(shape))]


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
