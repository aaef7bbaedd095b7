"""Networks that depend on the whole image, in forms that can be evaluated: by given statistics, or on all of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import partial
from math import prod
from threading import Lock
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from neuromancer import engine as E
from neuromancer.dense.axes import PeriodicAxis
from neuromancer.dense.checks import check_same_grid, common_source, only_image, pools_image
from neuromancer.dense.costs import Costs
from neuromancer.dense.gathered import Cut, Frozen, Gathered
from neuromancer.dense.geometry import covering, plain_geometry, require_declared_sizes
from neuromancer.dense.network import DenseNetwork, axis_order, cached, dense_network
from neuromancer.graph.geometry import ancestors
from neuromancer.graph.node import GraphNode
from neuromancer.graph.rebuild import rebuild
from neuromancer.graph.window import BuildMode

if TYPE_CHECKING:
    from neuromancer.dense.tiles import Tile, TilePass


class Stored(GraphNode):
    """Stand-in for a node whose values are given: a source that knows where its voxels lie on the image."""

    @classmethod
    def of(cls, node: GraphNode, cut: Cut, source: GraphNode) -> Stored:
        """Make the stand-in for `node`, outside of any model."""
        twin: Stored = cls.__new__(cls)
        vars(twin).update(
            name=node.name, parent=source, windows=cut.windows, shape=node.shape, refined=node.refined, children={},
            params={}, compiled_functions={},
        )  # fmt: skip
        sizes = [node.shape["f"] if tag == "f" else None for tag in node.shape.tags]
        twin.output = E.tensor(node.name, tuple(sizes), str(node.output.dtype))
        return twin


class FrozenNetwork(DenseNetwork):
    """A network in the plain form; statistics of the whole image, and values of some nodes, are given.

    Parameters
    ----------
    nodes : sequence of GraphNode
    form : Frozen

    Raises
    ------
    GraphError
        If the network cannot be evaluated in tiles nevertheless; the error names the node that prevents it.
    """

    form = "plain"

    @classmethod
    def known(cls, nodes: Sequence[GraphNode], form: Frozen) -> Self:
        """Return the network, built once and cached on the first of its nodes."""
        return cached(nodes, str(form), lambda: cls(nodes, form))

    def __init__(self, nodes: Sequence[GraphNode], form: Frozen) -> None:
        self.nodes, self.frozen = tuple(nodes), form
        self.source = only_image(self.nodes[0])
        known = {n.name: n for n in ancestors(self.nodes)}
        self.given = [known[name] for name in form.statistics if name in known]
        with E.building():
            tensors = [E.tensor(f"{n.name}_statistics", (n.statistic_rows, None, n.parents[0].shape["f"]),
                                np.dtype(n.output.dtype).name) for n in self.given]  # fmt: skip
        mode = BuildMode(inference=True, statistics=dict(zip((n.name for n in self.given), tensors, strict=True)))
        stored = {known[cut.name]: cut for cut in form.stored if cut.name in known}
        made = {node: partial(self._stand_in, node, cut) for node, cut in stored.items()}
        copies = rebuild(self.nodes, mode, free_sizes=True, replaced=made)
        self.twins = [copies[node] for node in self.nodes]
        self._check()
        self.cuts = [cut for node, cut in stored.items() if node in copies]
        self.stand_ins = [copies[node] for node in stored if node in copies]
        image = copies[self.source].output
        self.reads_image = _reaches(self.twins, copies[self.source])
        self._inputs = [*([image] if self.reads_image else []), *(n.output for n in self.stand_ins), *tensors]
        self.stored_voxel = sum(map(_bytes_per_voxel, self.stand_ins))
        self.axes = self._geometry()
        check_same_grid(self.nodes, self.axes)
        self.joint = [covering(tuple(axes)) for axes in zip(*self.axes, strict=True)]
        self.costs = Costs(self.twins, [])
        self.lock = Lock()
        self._funcs = {}

    def _stand_in(self, node: GraphNode, cut: Cut, copies: Mapping[GraphNode, GraphNode]) -> GraphNode:
        return Stored.of(node, cut, copies[self.source])

    def _check(self) -> None:
        common_source(self.twins)
        for twin in self.twins:
            require_declared_sizes(twin)

    def _geometry(self) -> list[Sequence[Any]]:
        return list(plain_geometry(self.twins))

    def _arguments(
        self, inside: np.ndarray, tile: Tile, each: TilePass, images: tuple[int, int], gathered: Gathered | None
    ) -> list[np.ndarray]:
        found = super()._arguments(inside, tile, each, images, gathered) if self.reads_image else []
        known = gathered or Gathered()
        if self.cuts:
            starts = [a + s.start + b for a, s, b in zip(tile.raw_start, each.inside, known.before, strict=True)]
            sizes = [s.stop - s.start for s in each.inside]
        for cut, twin in zip(self.cuts, self.stand_ins, strict=True):
            values = known.stored[cut.name].read([images, *cut.voxels(starts, sizes)])
            found.append(np.ascontiguousarray(np.transpose(values, axis_order(twin, from_result=True))))
        for node in self.given:
            rows = known.statistics[each.view][node.name]
            found.append(np.ascontiguousarray(rows[:, slice(*images)], np.dtype(node.output.dtype)))
        return found


def _bytes_per_voxel(node: GraphNode) -> float:
    """Bytes of a node per voxel of the image."""
    return float(node.shape["f"] * np.dtype(node.output.dtype).itemsize / prod(node.shape.strides))


def _reaches(nodes: Sequence[GraphNode], source: GraphNode) -> bool:
    """Whether the values of a source are needed to compute nodes by what is given."""
    todo, seen = list(nodes), set[int]()
    while todo:
        node = todo.pop()
        if node is source:
            return True
        if id(node) not in seen and not isinstance(node, Stored):
            seen.add(id(node))
            todo += () if node.given_statistics is not None and pools_image(node) else node.parents
    return False


class WholeAxis(PeriodicAxis):
    """One axis of a network that is evaluated on the whole image: any output needs all of it."""

    @classmethod
    def of(cls, axis: PeriodicAxis) -> WholeAxis:
        """Return the same axis, to be evaluated as a whole."""
        return cls(**{f.name: getattr(axis, f.name) for f in fields(axis)})

    def input_range(self, start: int, stop: int, size: int) -> tuple[int, int]:
        return 0, size

    def input_size(self, size: int) -> int:
        return 1 << 60


class WholeNetwork(FrozenNetwork):
    """A network that is evaluated on the whole image at once, in the plain form."""

    divisible = False

    def _check(self) -> None:
        for node in self.nodes:
            common_source([node], whole_image=True)

    def _geometry(self) -> list[Sequence[Any]]:
        return [[WholeAxis.of(axis) for axis in axes] for axes in super()._geometry()]


def network_for(nodes: Sequence[GraphNode], form: Frozen | None) -> DenseNetwork:
    """Return the network in a form, built once."""
    if form is None:
        return dense_network(nodes)
    return (WholeNetwork if form.whole else FrozenNetwork).known(nodes, form)
