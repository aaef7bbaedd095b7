"""One call of a Keras layer: its inputs, options and weights, and the network that is built."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from neuromancer.errors import TranslationError
from neuromancer.interop.keras.graph import Layer
from neuromancer.interop.keras.options import Options
from neuromancer.interop.keras.weights import Entry, Place, Weights
from neuromancer.interop.network import Network, Value, Weight

Handler = Callable[["Call"], Value]


@dataclass
class Context:
    """What all calls of an import have in common.

    Attributes
    ----------
    net : Network
    weights : Weights
    major : int
        First number of the version of Keras.
    channels_last : bool
        Where the network has its channels.
    normalised : sequence of str
        Patterns of the names of convolutions that are followed by instance normalisation.
    limited : bool
        Whether images so large that they cannot be compared are refused.
    strided : list of str
        Layers whose padding depends on the size of the image.
    calls : int
        Number of calls so far.
    frozen : bool or None
        Whether no layer with weights is trained.
    """

    net: Network
    weights: Weights
    major: int
    channels_last: bool
    normalised: Sequence[str] = ()
    limited: bool = True
    strided: list[str] = field(default_factory=list)
    calls: int = 0
    frozen: bool | None = None

    def feature_axis(self, x: Value) -> int:
        """Return the axis of the channels in Keras."""
        return len(x.shape) - 1 if self.channels_last else 1

    def is_normalised(self, name: str) -> bool:
        """Return whether a convolution is followed by instance normalisation."""
        return any(fnmatchcase(name, pattern) for pattern in self.normalised)


@dataclass
class Call:
    """A call of a layer."""

    context: Context
    layer: Layer
    path: tuple[Place, ...]
    arguments: list[Any]
    position: int = 0

    @property
    def net(self) -> Network:
        """The network that is built."""
        return self.context.net

    @property
    def options(self) -> Options:
        """Options of the layer."""
        return self.layer.options

    @property
    def name(self) -> str:
        """Name of the node."""
        return ".".join(place.name for place in self.path)

    # ---- inputs
    @property
    def values(self) -> list[Value]:
        """All inputs, which are tensors."""
        found = [a for a in self.arguments if isinstance(a, Value)]
        if len(found) != len(self.arguments) or not found:
            raise self.options.refuse("takes something that is not a tensor", self.arguments)
        return found

    @property
    def x(self) -> Value:
        """The only input."""
        values = self.values
        if len(values) != 1:
            raise self.options.refuse("takes one tensor", f"{len(values)} tensors")
        return values[0]

    def image(self) -> Value:
        """Return the only input, an image with as many spatial axes as the layer."""
        x, ndim = self.x, self.options.ndim
        if x.view != "image" or len(x.sizes) != ndim:
            raise self.options.refuse("takes an image", f"shape {x.shape}", f"{ndim} axes of space")
        self.check_format()
        return x

    def check_format(self) -> None:
        """Refuse a layer with its channels elsewhere than in the other layers."""
        given = self.options.word("data_format", "channels_last", ("channels_last", "channels_first"))
        wanted = "channels_last" if self.context.channels_last else "channels_first"
        if given != wanted:
            raise self.options.refuse("layers differ in the place of the channels", given, wanted)

    def require_features(self, axes: Sequence[int], x: Value) -> None:
        """Refuse an operation over other axes than the channels."""
        rank, wanted = len(x.shape), self.context.feature_axis(x)
        if x.view == "flat" or {axis % rank for axis in axes} != {wanted}:
            raise self.options.refuse("works only over the channels", f"axis {list(axes)}", f"axis {wanted}")

    # ---- weights
    def weight(self, names: Sequence[str], shape: Sequence[int], trainable: bool = True) -> Weight:
        """Return a weight, whose shape the file and the options agree on."""
        entry = self.stored(names)
        if entry is None:
            raise self.options.refuse("a weight is missing in the file", names[0], f"shape {tuple(shape)}")
        if entry.shape != tuple(shape):
            raise self.options.refuse(
                f"weight {names[0]!r} has another shape than the layer", f"{entry.shape}", f"{tuple(shape)}"
            )
        self.context.frozen = self.context.frozen is not False and not self.layer.trainable
        array = np.asarray(entry.read(), "float32")
        return Weight(array, entry.name, trainable and self.layer.trainable)

    def stored(self, names: Sequence[str]) -> Entry | None:
        """Return the next weight of the layer."""
        entry = self.context.weights.find(self.path, names, self.position)
        self.position += 1
        return entry

    def bias(self, n: int) -> Weight | None:
        """Return the bias, if the layer has one."""
        return self.weight(["bias"], [n]) if self.options.flag("use_bias", True) else None

    def gamma_beta(self, n: int) -> tuple[Weight | None, Weight | None]:
        """Return scale and offset of a normalisation; None for both if it has neither."""
        gamma = self.weight(["gamma"], [n]) if self.options.flag("scale", True) else None
        beta = self.weight(["beta"], [n]) if self.options.flag("center", True) else None
        if gamma is None and beta is not None:
            gamma = Weight(np.ones(n, "float32"), None, False)
        if beta is None and gamma is not None:
            beta = Weight(np.zeros(n, "float32"), None, False)
        return gamma, beta


def rearranged(weight: Weight, function: Callable[[np.ndarray], np.ndarray]) -> Weight:
    """Return a weight with its axes in another order."""
    try:
        return replace(weight, array=function(weight.array))
    except ValueError as error:
        raise TranslationError("a weight has the wrong shape", where=str(weight.key), got=weight.array.shape) from error
