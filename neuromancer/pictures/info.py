"""The plain data that pictures are made of, and how numbers and shapes are written in them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

TIMES = " \N{MULTIPLICATION SIGN} "


@dataclass(frozen=True)
class ParamInfo:
    """A parameter: its place in the node, size, and what training does to it.

    Parameters
    ----------
    name : str
    shape : list of int
    dtype : str
    count : int
        Number of values.
    trainable, constant : bool
    """

    name: str
    shape: list[int]
    dtype: str
    count: int
    trainable: bool
    constant: bool


@dataclass(frozen=True)
class NodeInfo:
    """What a picture tells about a node.

    Parameters
    ----------
    name, class_name : str
    kind : {'source', 'value', 'layer', 'loss', 'operation'}
        Fed from outside; a value in the graph; with parameters; a loss or an error; anything else.
    roles : list of str
        What the node is to its model.
    summary : str
        First line of the class's documentation.
    tags : list of str, or None
        One per axis of the output; None if that is no tensor with tags.
    sizes : list of int or None, or None
        Sizes of the output, None where unknown.
    dtype : str or None
    strides, fov, offsets : list
        Per spatial axis, in raw voxels; None where unknown.
    fragments : int
        Number of fragments in the batch axis.
    params : list of ParamInfo
    param_count : int
        Trainable values.
    cost : float or None
        Multiply-accumulates (or elements processed); None if it is not finite.
    cost_share : float
        Part of the cost of all drawn nodes, 0 to 1.
    arguments, defaults : list of [str, str]
        Arguments of the constructor as (name, value): those given, and those left at their defaults.
    features : list of str
        Names of the features, empty if they have none.
    """

    name: str
    class_name: str
    kind: str
    roles: list[str]
    summary: str
    tags: list[str] | None
    sizes: list[int | None] | None
    dtype: str | None
    strides: list[float]
    fov: list[int | None]
    offsets: list[int | None]
    fragments: int
    params: list[ParamInfo]
    param_count: int
    cost: float | None
    cost_share: float
    arguments: list[tuple[str, str]]
    defaults: list[tuple[str, str]]
    features: list[str]

    @property
    def shape_text(self) -> str:
        """The shape for people: ``b × 20f × 90x``; an unknown size is left out."""
        return shape_text(self.tags, self.sizes)


@dataclass(frozen=True)
class EdgeInfo:
    """An arrow between two nodes, given by their positions in the list.

    Parameters
    ----------
    source, target : int
    kind : {'data', 'memory'}
        'memory' leads from the end of a step of a recurrence back to its start.
    label : str
        Shape of what flows.
    """

    source: int
    target: int
    kind: str
    label: str


@dataclass(frozen=True)
class GraphInfo:
    """A graph as plain data.

    Parameters
    ----------
    title : str
    nodes : list of NodeInfo
        Parents before children.
    edges : list of EdgeInfo
    param_count, param_count_all : int
        Trainable values, and all, each shared parameter counted once.
    cost : float
        Of all nodes.
    reference : str or None
        The node whose field of view, strides and offsets stand for the graph: the prediction, or the node drawn.
    """

    title: str
    nodes: list[NodeInfo] = field(default_factory=list)
    edges: list[EdgeInfo] = field(default_factory=list)
    param_count: int = 0
    param_count_all: int = 0
    cost: float = 0.0
    reference: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Nested dicts and lists, as JSON has them."""
        return asdict(self)


def shape_text(tags: list[str] | None, sizes: list[int | None] | None) -> str:
    """A shape for people.

    Examples
    --------
    >>> shape_text(["b", "f", "x"], [None, 3, 20]), shape_text([], []), shape_text(None, None)
    ('b × 3f × 20x', 'scalar', 'any object')
    """
    if tags is None or sizes is None:
        return "any object"
    return TIMES.join(t if s is None else f"{s}{t}" for s, t in zip(sizes, tags, strict=True)) or "scalar"


def short_number(value: float | None) -> str:
    """A number with three digits and a prefix.

    Examples
    --------
    >>> short_number(4), short_number(1234), short_number(25_200_000), short_number(None)
    ('4', '1.23 k', '25.2 M', '?')
    """
    if value is None:
        return "?"
    for factor, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        # From 999.5 on, three digits would read 1000.
        if abs(value) >= 0.9995 * factor and factor > 1:
            return f"{_three_digits(value / factor)} {prefix}"
    return _three_digits(value)


def _three_digits(value: float) -> str:
    text = f"{value:.{2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def times(values: list[Any]) -> str:
    """Numbers per axis, ``1 × 2.5``; ``?`` where unknown.

    Examples
    --------
    >>> times([1, None])
    '1 × ?'
    """
    return TIMES.join("?" if v is None else f"{v:g}" for v in values)
