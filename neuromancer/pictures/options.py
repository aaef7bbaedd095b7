"""What can be chosen about a picture."""

from __future__ import annotations

from dataclasses import dataclass

from neuromancer.errors import ArgumentError, InputTypeError, nearest_name

COLOURS = ("kind", "class", "cost", "fov", "parameters")
DIRECTIONS = ("down", "right")


@dataclass(frozen=True)
class PlotOptions:
    """How a graph is drawn.

    Parameters
    ----------
    colour : {'kind', 'class', 'cost', 'fov', 'parameters'}
        What the boxes are coloured by; numbers from pale to strong, by their logarithm.
    direction : {'down', 'right'}
        Where the arrows of the drawing lead; the page can show either arrangement by itself.
    edge_labels : bool
        Write shapes at the arrows.

    Raises
    ------
    ArgumentError, InputTypeError
        For anything else.

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
