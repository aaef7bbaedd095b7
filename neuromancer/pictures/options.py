"""Options of a picture."""

from __future__ import annotations

from dataclasses import dataclass

from neuromancer.errors import ArgumentError, InputTypeError, nearest_name

COLOURS = ("kind", "class", "cost", "fov", "parameters")
DIRECTIONS = ("down", "right")


@dataclass(frozen=True)
class PlotOptions:
    """Options for drawing a graph.

    Parameters
    ----------
    colour : {'kind', 'class', 'cost', 'fov', 'parameters'}
        Property that determines the colour of a node; numbers on a logarithmic scale from pale to strong.
    direction : {'down', 'right'}
        Direction of the edges in graphviz plots; the interactive page has a switch.
    edge_labels : bool
        Label edges with shapes.

    Raises
    ------
    ArgumentError
        If `colour` or `direction` is unknown.
    InputTypeError
        If `edge_labels` is not a bool.

    Examples
    --------
    >>> PlotOptions(colour="cost").direction
    'down'
    """

    colour: str = "kind"
    direction: str = "down"
    edge_labels: bool = True

    def __post_init__(self) -> None:
        for what, value, known in (("colour", self.colour, COLOURS), ("direction", self.direction, DIRECTIONS)):
            if value not in known:
                raise ArgumentError(
                    f"unknown {what}",
                    where="plot",
                    got=value,
                    expected=f"one of {known}",
                    nearest=nearest_name(value, known),
                )
        if not isinstance(self.edge_labels, bool):
            raise InputTypeError(
                "edge_labels must be True or False", where="plot", got=repr(self.edge_labels)[:100], expected="a bool"
            )
