"""The network that an import builds: its values, weights and nodes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from neuromancer.errors import NeuromancerError, TranslationError
from neuromancer.graph.geometry import windows_of
from neuromancer.graph.registry import model_manager
from neuromancer.models.model import Model
from neuromancer.nodes.inputs import Input
from neuromancer.nodes.node import Node
from neuromancer.utils import NAME_LENGTH

SPACE = {0: "", 1: "x", 2: "yx", 3: "zyx"}
"""Default tags of the spatial axes, by their number."""

VECTORS = ("vector", "vector1", "vector2")
"""Views of one voxel that leave out spatial axes, by how many they have."""


@dataclass(frozen=True)
class Value:
    """A tensor of the source network.

    Attributes
    ----------
    node : Node
        Computes it, with axes b, f and space.
    sizes : tuple of int
        Spatial sizes of the node for the example.
    view : {'image', 'last', 'vector', 'vector1', 'vector2', 'flat', 'bare', 'scalar'}
        Axes in the source: (b, f, *space); (b, *space, f); (b, f), (b, f, 1) or (b, f, 1, 1), where every spatial size
        is 1 and some axes are left out; (b, f * space); (b, *space), where there is one feature; or (b,), where all
        sizes are 1.
    """

    node: Node
    sizes: tuple[int, ...]
    view: str = "image"

    @property
    def features(self) -> int:
        """Number of features of the node."""
        return int(self.node.shape["f"])

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes in the source for the example, with batch size 1."""
        if self.view == "flat":
            return (1, self.features * int(np.prod(self.sizes)))
        if self.view in ("bare", "scalar"):
            return (1, *self.sizes) if self.view == "bare" else (1,)
        if self.view in VECTORS:
            return (1, self.features, *(1,) * VECTORS.index(self.view))
        return (1, *self.sizes, self.features) if self.view == "last" else (1, self.features, *self.sizes)

    @property
    def feature_axis(self) -> int:
        """Position of the features in the source; -1 if it has no such axis."""
        if self.view in ("bare", "scalar"):
            return -1
        return len(self.sizes) + 1 if self.view == "last" else 1


@dataclass(frozen=True, eq=False)
class Weight:
    """An array of the source network.

    Attributes
    ----------
    array : numpy.ndarray
    key : hashable, optional
        Identity in the source: where a key is used again, the parameter is shared.
    trainable : bool
    """

    array: np.ndarray
    key: Hashable = None
    trainable: bool = True

    def __post_init__(self) -> None:
        if not np.isfinite(self.array).all():
            raise TranslationError(
                "a weight is not finite", where=str(self.key or "weight"), got="NaN or infinite values"
            )


@dataclass
class Network:
    """Builds the nodes of an imported network in a model of its own.

    Attributes
    ----------
    model : Model
    space : str
        Tags of the spatial axes, in order.
    fixed : bool
        Whether the spatial sizes of the inputs are those of the example, rather than open.
    notes : list of str
        What the report should tell.
    inputs : list of Value
    """

    model: Model
    space: str
    fixed: bool = False
    notes: list[str] = field(default_factory=list)
    inputs: list[Value] = field(default_factory=list)
    place: str = ""
    _shared: dict[tuple[Hashable, str], Any] = field(default_factory=dict)
    _sizes: dict[str, tuple[int, ...]] = field(default_factory=dict)

    # ---- nodes
    def input(self, name: str, features: int, sizes: Sequence[int], dtype: str | None = None) -> Value:
        """Add an input with an open batch size, and open spatial sizes unless they are fixed."""
        tags = ",".join(["b", "f", *self.space[-len(sizes) :]] if sizes else ["b", "f"])
        shape = [None, features, *(sizes if self.fixed else [None] * len(sizes))]
        node = Input(shape, tags, name=_short(name), dtype=dtype, print_repr=False)
        value = self.added(node, sizes)
        self.inputs.append(value)
        return value

    def add(self, make: Callable[..., Any], name: str, *args: Any, like: Value | None = None, **kwargs: Any) -> Value:
        """Make a node and return its value; the sizes follow from those of the first parent, or are those of `like`."""
        with self.at(name):
            node = make(*args, name=_short(name), print_repr=False, **kwargs)
            if like is not None:
                return self.added(node, like.sizes, like.view)
            before = self._sizes[node.parents[0].name]
            after = [w.output_size(n) for w, n in zip(windows_of(node), before, strict=True)]
            if any(n is None or n < 1 for n in after):
                raise TranslationError("nothing is left of the example", node=node, got=f"sizes {before}")
            return self.added(node, [int(n) for n in after if n is not None])

    def added(self, node: Node, sizes: Sequence[int], view: str = "image") -> Value:
        """Return the value of a node that was just made."""
        self._sizes[node.name] = tuple(int(n) for n in sizes)
        return Value(node, self._sizes[node.name], view)

    def of_size(self, sizes: Sequence[int], strides: Sequence[float]) -> Node | None:
        """Return the latest node with these sizes, no coarser than `strides`, or None."""
        for name, own in reversed(list(self._sizes.items())):
            node = self.model.nodes[name]
            finer = node.shape is not None and all(a <= b for a, b in zip(node.shape.strides, strides, strict=False))
            if own == tuple(sizes) and finer and node.equivariant:
                return node
        return None

    # ---- weights
    def weight(self, weight: Weight, role: str, convert: Callable[[np.ndarray], np.ndarray] = lambda w: w) -> Any:
        """Return the argument of a layer for a weight: an array, a constant, or the parameter that it already is."""
        known = None if weight.key is None else self._shared.get((weight.key, role))
        if known is not None:
            return known
        array = np.ascontiguousarray(convert(np.asarray(weight.array, "float32")))
        return [array, "trainable" if weight.trainable else "const"]

    def share(self, weight: Weight | None, role: str, parameter: Any) -> None:
        """Remember the parameter that a weight became."""
        if weight is not None and weight.key is not None and parameter is not None:
            self._shared.setdefault((weight.key, role), parameter)

    # ---- errors
    @contextmanager
    def at(self, name: str) -> Iterator[None]:
        """Name the place in the network in errors of the package."""
        try:
            yield
        except TranslationError:
            raise
        except NeuromancerError as error:
            raise TranslationError(
                f"the operation has no counterpart: {error.problem}",
                where=self.place or name,
                got=error.got,
                expected=error.expected,
                nearest=error.nearest,
            ) from error


def image(value: Any, place: str) -> Value:
    """Return a value with the axes b, f, space; raise TranslationError for anything else."""
    if isinstance(value, Value) and value.view == "vector":
        return replace(value, view="image")
    if not isinstance(value, Value) or value.view != "image":
        got = f"axes of {value.view!r} order" if isinstance(value, Value) else type(value).__name__
        raise TranslationError(
            "the operation needs an image", where=place, got=got, expected="axes batch, channel, space"
        )
    return value


def require_axis(value: Value, axis: int, place: str) -> None:
    """Raise TranslationError unless an axis of the source holds the features."""
    rank = len(value.shape)
    if value.view == "flat" or axis % rank != value.feature_axis:
        raise TranslationError(
            "only the channels can be treated so", where=place, got=f"axis {axis}", expected=f"{value.feature_axis}"
        )


@contextmanager
def new_model(name: str | None) -> Iterator[Model]:
    """Yield a new model, which is current within the block; if the block raises, the model is removed."""
    before, last = model_manager.current, model_manager.last
    model: Model = model_manager.newmodel(name)
    try:
        yield model
    except BaseException:
        model_manager.delmodel(model.name)
        model_manager.current, model_manager.last = before, last
        raise


def _short(name: str) -> str:
    return name[-NAME_LENGTH:]
