"""What an imported model knows of its import: operations, geometry, and the comparison with the source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from neuromancer.errors import short


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
        Field of view and halo, or why dense prediction of the network needs a choice.
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
