"""Plain data from which pictures are drawn, and the formatting of numbers and shapes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

TIMES = " \N{MULTIPLICATION SIGN} "


@dataclass(frozen=True)
class ParamInfo:
    """Parameter of a node.

    Parameters
    ----------
    name : str
        Key in ``node.params``.
    shape : list of int
    dtype : str
    count : int
        Number of values.
    trainable : bool
        Whether training changes it.
    constant : bool
        Whether its value can never change.
    """

    name: str
    shape: list[int]
    dtype: str
    count: int
    trainable: bool
    constant: bool


@dataclass(frozen=True)
class NodeInfo:
    """Description of a node.

    Parameters
    ----------
    name, class_name : str
    kind : {'source', 'value', 'layer', 'loss', 'operation'}
        Source of input arrays; node without parents that holds a value; node with parameters; loss or error; other.
    roles : list of str
        Designated roles in the model: 'input', 'target', 'loss', 'prediction', 'error', 'debug'.
    summary : str
        First line of the class's docstring.
    tags : list of str, or None
        One per axis of the output; None if the output is not a tensor with tags.
    sizes : list of int or None, or None
        Sizes of the output, None where unknown.
    dtype : str or None
    strides, fov, offsets : list
        Per spatial axis, in raw voxels; None where unknown.
    fragments : int
        Number of fragments (of max-fragment pooling) in the batch.
    params : list of ParamInfo
    param_count : int
        Number of trainable values.
    cost : float or None
        Multiply-accumulates (or elements processed); None if it is not finite.
    cost_share : float
        Fraction of the cost of all drawn nodes, 0 to 1.
    arguments, defaults : list of (str, str)
        Constructor arguments as (name, value): those that were passed, and those with default values.
    features : list of str
        Feature names, empty if there are none.
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
        """Shape for display, e.g. ``b × 20f × 90x``; unknown sizes are omitted."""
        return shape_text(self.tags, self.sizes)


@dataclass(frozen=True)
class EdgeInfo:
    """Edge between two nodes.

    Parameters
    ----------
    source, target : int
        Indices of the nodes in ``GraphInfo.nodes``.
    kind : {'data', 'memory'}
        'memory' is the feedback of a recurrence, from the end of a step to its start.
    label : str
        Shape of the data.
    """

    source: int
    target: int
    kind: str
    label: str


@dataclass(frozen=True)
class GraphInfo:
    """Description of a graph.

    Parameters
    ----------
    title : str
        E.g. "model name".
    nodes : list of NodeInfo
        Parents before children.
    edges : list of EdgeInfo
    param_count, param_count_all : int
        Number of trainable values, and of all values; shared parameters are counted once.
    cost : float
        Total cost of all nodes.
    reference : str or None
        Name of the node whose field of view and strides are shown for the graph: the prediction node or the drawn node.
    """

    title: str
    nodes: list[NodeInfo] = field(default_factory=list)
    edges: list[EdgeInfo] = field(default_factory=list)
    param_count: int = 0
    param_count_all: int = 0
    cost: float = 0.0
    reference: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the graph as nested dicts and lists for JSON."""
        return asdict(self)


def shape_text(tags: list[str] | None, sizes: list[int | None] | None) -> str:
    """Format a shape for display; unknown sizes are omitted.

    Examples
    --------
    >>> shape_text(["b", "f", "x"], [None, 3, 20]), shape_text([], []), shape_text(None, None)
    ('b × 3f × 20x', 'scalar', 'any object')
    """
    if tags is None or sizes is None:
        return "any object"
    return TIMES.join(t if s is None else f"{s}{t}" for s, t in zip(sizes, tags, strict=True)) or "scalar"


def short_number(value: float | None) -> str:
    """Format a number with three digits and an SI prefix.

    Examples
    --------
    >>> short_number(4), short_number(1234), short_number(25_200_000), short_number(None)
    ('4', '1.23 k', '25.2 M', '?')
    """
    if value is None:
        return "?"
    for factor, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        # From 999.5 on, three digits would be displayed as 1000.
        if abs(value) >= 0.9995 * factor and factor > 1:
            return f"{_three_digits(value / factor)} {prefix}"
    return _three_digits(value)


def _three_digits(value: float) -> str:
    text = f"{value:.{2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def times(values: list[Any]) -> str:
    """Format numbers per axis, e.g. ``1 × 2.5``; ``?`` where unknown.

    Examples
    --------
    >>> times([1, None])
    '1 × ?'
    """
    return TIMES.join("?" if v is None else f"{v:g}" for v in values)
