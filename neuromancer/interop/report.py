"""What an import says of itself: operations, geometry, and the comparison with the source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from neuromancer.errors import short
from neuromancer.graph.node import GraphNode
from neuromancer.nodes.node import Node

TOLERANCE = 1e-4
"""Largest accepted difference, as a fraction of the largest value of an output."""


@dataclass(frozen=True)
class Check:
    """Comparison of an output with the source on random data.

    Attributes
    ----------
    output : str
        Name of the node.
    shape : tuple of int
        Shape of the input.
    difference : float
        Largest absolute difference, divided by the largest absolute value of the source.
    """

    output: str
    shape: tuple[int, ...]
    difference: float


@dataclass(frozen=True)
class ImportReport:
    """Result of an import.

    Attributes
    ----------
    source : str
        What was imported.
    operations : dict of str to int
        Operations of the source that were translated, with their numbers.
    nodes, parameters : int
        Numbers of nodes, and of parameter values.
    checks : tuple of Check
        Comparisons with the source; empty if it could not be run.
    reference : str
        What computed the outputs of the source.
    geometry : str
        Field of view and halo, or why the network cannot be predicted in tiles.
    notes : tuple of str
        Remarks, such as on input sizes.
    """

    source: str
    operations: Mapping[str, int]
    nodes: int
    parameters: int
    checks: tuple[Check, ...]
    reference: str
    geometry: str
    notes: tuple[str, ...] = ()

    @property
    def verified(self) -> bool:
        """Whether the network was compared with its source."""
        return bool(self.checks)

    @property
    def largest_difference(self) -> float:
        """The largest of all differences; NaN if nothing was compared."""
        return max((check.difference for check in self.checks), default=float("nan"))

    def __str__(self) -> str:
        ops = ", ".join(f"{count} {name}" for name, count in sorted(self.operations.items(), key=lambda o: -o[1]))
        lines = [
            f"imported {short(self.source)}: {self.nodes} nodes, {self.parameters:,} parameters",
            f"  operations: {ops}",
            f"  geometry: {self.geometry}",
        ]
        if self.checks:
            shapes = ", ".join(str(s) for s in dict.fromkeys(check.shape for check in self.checks))
            lines.append(
                f"  verified: differs from {self.reference} by at most {self.largest_difference:.1e} of the largest "
                f"value, on random data of shapes {shapes}"
            )
        else:
            lines.append(f"  not verified: {self.reference}")
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


def geometry_of(outputs: Sequence[Node]) -> str:
    """Describe field of view and halo of a network, or name the nodes that need the whole image."""
    whole = list(dict.fromkeys(n.name for out in outputs for n in out.sub_graph() if not n.equivariant))
    if whole:
        names = ", ".join(repr(name) for name in whole[:3]) + (f" and {len(whole) - 3} more" if len(whole) > 3 else "")
        return f"the whole image decides on every voxel ({names}), so it cannot be predicted in tiles"
    shape = outputs[0].shape
    if shape is None or not shape.ndim:
        return "no spatial axes"
    fov, strides = tuple(int(n) for n in shape.fov), tuple(float(s) for s in shape.strides)
    return f"field of view {fov}, halo {halo(outputs[0])}, strides {strides}, axes {''.join(_space(outputs[0]))}"


def halo(node: Node) -> tuple[int, ...]:
    """Voxels of the raw image on which an output voxel depends, on the longer side of it, per axis."""
    fov = [int(n) for n in node.shape.fov]
    return tuple(n // 2 for n in fov)


def _space(node: GraphNode) -> list[str]:
    return [node.shape.tags[i] for i in node.shape.spatial_axes]
