"""Nodes in inference form, evaluated patch by patch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from neuromancer import engine as E
from neuromancer.dense.checks import check_same_grid, common_source
from neuromancer.dense.costs import Costs
from neuromancer.dense.geometry import require_declared_sizes
from neuromancer.dense.network import DenseNetwork, axis_order
from neuromancer.dense.sliding.axis import PatchAxis
from neuromancer.dense.sliding_window import SlidingWindow
from neuromancer.errors import GraphError, InputTypeError, ShapeError
from neuromancer.graph.geometry import sizes_of_all
from neuromancer.graph.rebuild import rebuild
from neuromancer.graph.sizes import conflict, size_error
from neuromancer.graph.tagged_shape import exact
from neuromancer.graph.window import BuildMode

if TYPE_CHECKING:
    from neuromancer.graph.node import GraphNode


class PatchNetwork(DenseNetwork):
    """One or several nodes, evaluated unchanged on patches of one size; shared layers are evaluated once.

    Nodes may depend on the whole image: they get to see a patch. :meth:`at` gives the network for a sliding window.

    Parameters
    ----------
    nodes : sequence of GraphNode
        Nodes with spatial axes that share a single tensor source.

    Attributes
    ----------
    patch : tuple of int
        Voxels of a patch.
    flips : tuple of tuple of int
        Axes along which a patch is mirrored, for every evaluation.
    patch_axes : list of list of PatchAxis
        Per node and spatial axis.

    Raises
    ------
    GraphError, InputTypeError
        If the network cannot be evaluated patch by patch.
    """

    patch: tuple[int, ...]
    flips: tuple[tuple[int, ...], ...]
    patch_axes: list[list[PatchAxis]]

    def __init__(self, nodes: Sequence[GraphNode]) -> None:
        self.nodes = tuple(nodes)
        self.source = common_source(self.nodes, whole_image=True)
        for node in self.nodes:
            require_declared_sizes(node)
        self.form = "patches"
        copies = rebuild(self.nodes, BuildMode(inference=True), free_sizes=True)
        self.twins = [copies[node] for node in self.nodes]
        for node in self.nodes:
            if np.dtype(copies[node].output.dtype).kind != "f":
                raise InputTypeError(
                    "only floating point values can be averaged",
                    node=node,
                    got=str(copies[node].output.dtype),
                    expected="a node with scores, and reduce='argmax' for example",
                )
        self._inputs = [copies[self.source].output]
        self.lock = Lock()
        self._funcs = {}
        self.costs = Costs(self.twins, [])

    def at(self, window: SlidingWindow) -> PatchNetwork:
        """Return the network for the patch of a sliding window, with the same compiled functions.

        Raises
        ------
        ShapeError, GraphError
            If it does not take this patch, or the outputs of a patch have no place in the image.
        """
        if len(window.patch) != len(self.spatial):
            raise ShapeError(
                "the patch has another number of axes than the network",
                where="sliding_window",
                got=f"patch {window.patch}",
                expected=f"sizes along {self.spatial!r}",
            )
        found = copy.copy(self)
        found.patch, found.flips = window.patch, window.flips
        found.patch_axes = [[_patch_axis(node, k, n) for k, n in enumerate(window.patch)] for node in self.nodes]
        found.axes = list(found.patch_axes)  # type: ignore[arg-type]
        check_same_grid(self.nodes, found.axes)
        for node, axes in zip(self.nodes, found.patch_axes, strict=True):
            for k in {k for mirrored in window.flips for k in mirrored}:
                if not axes[k].symmetric:
                    raise GraphError(
                        "the outputs of a mirrored patch lie elsewhere, so they cannot be averaged",
                        node=node,
                        got=f"mirror={window.mirror}, and outputs that are not centred in the patch along axis {k}",
                        expected="other axes in mirror, or none",
                    )
        found.joint = list(found.axes[0])
        return found

    def begin(self, func: Any, block: np.ndarray) -> Callable[[], list[np.ndarray]]:
        """Start to evaluate a patch; return a function that waits for its values.

        Parameters
        ----------
        func : compiled function
        block : numpy.ndarray, (f, *patch)
            In the dtype and units of the network.

        Returns
        -------
        function that returns a list of numpy.ndarray, (f, *spatial)
            Values per node, averaged over the mirrored evaluations.
        """
        order, flips = axis_order(self.source, from_result=True), self.flips
        with self.lock:
            calls = [
                func.start(np.ascontiguousarray(np.transpose(_flipped(block, axes)[:, None], order))) for axes in flips
            ]

        def finish() -> list[np.ndarray]:
            sums: list[np.ndarray] = []
            for axes, call in zip(flips, calls, strict=True):
                with self.lock:
                    found = self._values(call.result())
                found = [_flipped(values, axes) for values in found]
                sums = [total + values for total, values in zip(sums, found, strict=True)] if sums else found
            return [total / np.asarray(len(flips), total.dtype) for total in sums] if len(flips) > 1 else sums

        return finish

    def _values(self, results: Any) -> list[np.ndarray]:
        """Values per node, (f, *spatial)."""
        values = []
        listed = results if isinstance(results, list) else [results]
        for node, twin, axes, result in zip(self.nodes, self.twins, self.patch_axes, listed, strict=True):
            result = np.transpose(result, axis_order(twin, from_result=False))[:, 0]
            expected = tuple(g.outputs for g in axes)
            if result.shape[1:] != expected:
                raise GraphError(
                    "the output has another size than the shapes of the nodes say",
                    node=node,
                    got=f"{result.shape[1:]} for a patch {self.patch}",
                    expected=f"{expected}; user-defined nodes have to set fov, strides and centre in _calc_shape",
                )
            values.append(result)
        return values


def _flipped(array: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """View of an array (f, *spatial), mirrored along spatial axes."""
    return np.flip(array, tuple(a + 1 for a in axes)) if axes else array


def _patch_axis(node: GraphNode, k: int, patch: int) -> PatchAxis:
    found = conflict(node, k, patch)
    if found is not None:
        raise size_error(node, found, k, patch)
    outputs = sizes_of_all(node, k, patch, resized=True)[id(node)]
    step, offset = exact(node.shape.strides[k]), node.shape.offsets[k]
    if node.shape.centre[k] is None and not (step == 1 and outputs == patch):
        raise GraphError(
            "where the output lies in the patch is unknown",
            node=node,
            got=f"size {outputs} on axis {node.shape.tags[node.shape.spatial_axes[k]]!r} for a patch of {patch}",
            expected="a node whose voxels have a place in the image",
        )
    return PatchAxis(patch, outputs, step, offset, node.shape.centre[k])


def patch_network(nodes: GraphNode | Sequence[GraphNode], window: SlidingWindow) -> PatchNetwork:
    """Return the nodes in the form for a sliding window, built once and cached on the first of them.

    Raises
    ------
    ShapeError, GraphError, InputTypeError
        See :class:`PatchNetwork`.
    """
    several: Sequence[GraphNode] = nodes if isinstance(nodes, (list, tuple)) else [nodes]  # type: ignore[list-item]
    if not several:
        raise ShapeError("there is no node to predict", where="predict_dense", got="[]", expected="at least one node")
    key = "patches " + " ".join(str(id(n)) for n in several)
    cache: dict[str, Any] = several[0].compiled_functions
    if key not in cache:
        with E.building():
            if key not in cache:  # another thread may have been first
                cache[key] = PatchNetwork(several)
    network: PatchNetwork = cache[key]
    return network.at(window)
