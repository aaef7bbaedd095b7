"""Normalisation over features: group and layer normalisation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from neuromancer.errors import ArgumentError, ShapeError, UnknownNameError, nearest_name
from neuromancer.graph.demand import Demand, product
from neuromancer.graph.statistics import FeatureStatistics
from neuromancer.graph.tagged_shape import SPATIAL_TAGS, parse_tags
from neuromancer.nodes.layout import as_float, feature_vector, positive_int, require_features, require_tensor
from neuromancer.nodes.node import Node
from neuromancer.nodes.standardise import (
    OPERATIONS,
    _Normalisation,
    given_moments,
    moment_rows,
    moments,
    over_groups,
    standardised,
)

WHOLE = "normalises by statistics of the whole image"


class GroupNorm(_Normalisation):
    """Group normalisation: groups of features of every image are standardised together, over the spatial axes as well.

    Parameters
    ----------
    parent : Node
        Input with an axis f, in any layout.
    n_groups : int
        Number of groups of neighbouring features; divides the number of features.
    affine : bool
        Scale by `gamma` and add `beta`, learned per feature, without weight decay.
    eps : float
        Added to the variance.
    name : str
    print_repr : bool
    gamma, beta : optional
        Initial or shared parameters, (n_f,): an array, a variable, ``[array, 'const']`` or ``[array, 'trainable']``; by
        default 1 and 0.

    Raises
    ------
    ArgumentError
        For an option of the wrong type or out of range, or parameters that are not used.
    ShapeError
        If the number of features is unknown or not a multiple of `n_groups`, or a parameter has the wrong shape.
    InputTypeError
        If the parent is not a node with a tensor output.
    UnknownNameError
        If the parent has no axis f.

    Notes
    -----
    ``gamma * (x - mean) / sqrt(var + eps) + beta`` with the biased variance, as in ``torch.nn.GroupNorm`` (Wu & He
    2018, arXiv:1803.08494). With spatial axes, the output depends on the whole image, of which dense prediction gathers
    the statistics with ``statistics="volume"``.

    Examples
    --------
    >>> from neuromancer import Input
    >>> inp = Input((1, 4), "b,f", print_repr=False)
    >>> GroupNorm(inp, 2, eps=1e-12, print_repr=False)([[1, 3, 10, 30]]).round(5).tolist()
    [[-1.0, 1.0, -1.0, 1.0]]
    """

    def __init__(
        self,
        parent: Node,
        n_groups: int,
        affine: bool = True,
        eps: float = 1e-5,
        name: str = "groupnorm",
        print_repr: bool = True,
        gamma: Any = None,
        beta: Any = None,
    ) -> None:
        super().__init__(parent, name, print_repr)
        n_f = require_features(parent, self)
        self.n_groups = positive_int(n_groups, "n_groups", self)
        if n_f % self.n_groups:
            divisors = [n for n in range(1, min(n_f, 4096) + 1) if n_f % n == 0]
            raise ShapeError(
                "the features cannot be divided into groups",
                node=self,
                got=f"f={n_f}, n_groups={self.n_groups}",
                expected="a divisor of the number of features",
                nearest=min(divisors, key=lambda n: abs(n - self.n_groups)),
            )
        self._setup(affine, eps, gamma, beta)
        if parent.shape.ndim:
            self.equivariant, self.whole_image, self.statistic_rows = False, WHOLE, 3
        self._make_affine((n_f,), gamma, beta)

    def _make_output(self) -> None:
        x, shape = as_float(self.parent.output), self.parent.shape
        axis = shape.tag2index("f")
        if self.given_statistics is not None:
            current = given_moments(x, shape, self.given_statistics)
        else:
            # Statistics are spread over the features, not x divided into groups: so one pass over memory normalises
            # and computes what follows, whatever the order of axes in memory.
            pooled = partial(over_groups, axis=axis, n_groups=self.n_groups, n_features=shape["f"])
            current = moments(x, shape.spatial_axes, pooled)
        ends = (None if v is None else feature_vector(v, x.ndim, axis) for v in (self.gamma, self.beta))
        self.output = standardised(current, self.eps, *ends)

    def statistics_from(self, parent: FeatureStatistics) -> np.ndarray:
        return moment_rows(parent.over_groups(self.n_groups))

    def _repr_extra(self) -> str:
        return f"n_groups={self.n_groups}, {self._options()}"


class LayerNorm(_Normalisation):
    """Layer normalisation: the values along some axes are standardised together, for every position on the others.

    Parameters
    ----------
    parent : Node
        Input with these axes, in any layout.
    axes : str or sequence of str
        Tags of the axes over which to normalise. "f" normalises the features of every voxel; "f,y,x" is
        ``torch.nn.LayerNorm`` over all axes of an image.
    affine : bool
        Multiply by `gamma` and add `beta`, learned per element along `axes`, without weight decay. The sizes of these
        axes must be known.
    eps : float
        Added to the variance.
    name : str
    print_repr : bool
    gamma, beta : optional
        Initial or shared parameters, with the sizes of `axes` in the order of the parent: an array, a variable,
        ``[array, 'const']`` or ``[array, 'trainable']``; by default 1 and 0.

    Raises
    ------
    ArgumentError
        For an option of the wrong type or out of range, axis b, no axes, or parameters that are not used.
    ShapeError
        For tags that do not exist, an unknown size with `affine`, or a parameter of the wrong shape.
    InputTypeError
        If the parent is not a node with a tensor output.
    UnknownNameError
        If the parent has no such axis.

    Notes
    -----
    ``gamma * (x - mean) / sqrt(var + eps) + beta`` with the biased variance, as in ``torch.nn.LayerNorm`` (Ba, Kiros &
    Hinton 2016, arXiv:1607.06450). Over a spatial axis, the output depends on the whole image (dense prediction:
    ``statistics="volume"``).

    Examples
    --------
    >>> from neuromancer import Input
    >>> inp = Input((1, 2, 2), "b,f,x", print_repr=False)
    >>> LayerNorm(inp, eps=1e-12, print_repr=False)([[[1, 30], [3, 10]]]).round(5).tolist()
    [[[-1.0, 1.0], [1.0, -1.0]]]
    """

    def __init__(
        self,
        parent: Node,
        axes: str | Sequence[str] = "f",
        affine: bool = True,
        eps: float = 1e-5,
        name: str = "layernorm",
        print_repr: bool = True,
        gamma: Any = None,
        beta: Any = None,
    ) -> None:
        super().__init__(parent, name, print_repr)
        self.axes = self._positions(axes)
        self._setup(affine, eps, gamma, beta)
        shape = parent.shape
        if any(shape.tags[i] in SPATIAL_TAGS for i in self.axes):
            self.equivariant, self.whole_image = False, WHOLE
            all_of_space = set(shape.spatial_axes) <= set(self.axes)
            self.statistic_rows = 3 if all_of_space and not self.affine else 0
        sizes = [shape[i] for i in self.axes]
        if self.affine and None in sizes:
            raise ShapeError(
                "gamma and beta need known sizes",
                node=self,
                got=repr(shape),
                expected=f"known sizes on axes {[shape.tags[i] for i in self.axes]}",
                nearest="affine=False",
            )
        self._make_affine(tuple(size for size in sizes if size is not None), gamma, beta)

    @classmethod
    def demand(cls, arguments: Mapping[str, Any]) -> Demand:
        shape, axes = getattr(arguments.get("parent"), "shape", None), arguments.get("axes")
        tags = [tag.strip() for tag in axes.split(",")] if isinstance(axes, str) else axes
        if shape is None or not isinstance(tags, (list, tuple)):
            return Demand(OPERATIONS)
        return Demand(OPERATIONS, 4 * product([shape[tag] for tag in shape.tags if tag in tags]))

    @property
    def takes_any_size(self) -> bool:
        return self.equivariant or not self.affine

    def _positions(self, axes: Any) -> list[int]:
        shape = require_tensor(self.parent, self)
        tags = parse_tags(axes)
        if not tags or "b" in tags:
            raise ArgumentError(
                "normalises over axes of every item of the batch",
                node=self,
                got=axes,
                expected=f"some of {[tag for tag in shape.tags if tag != 'b']}",
                nearest="BatchNorm" if tags else None,
            )
        for tag in tags:
            if not shape.hastag(tag):
                raise UnknownNameError(
                    f"the parent has no axis {tag!r}",
                    node=self,
                    got=f"axes {tags}, {shape!r}",
                    expected=f"some of {[t for t in shape.tags if t != 'b']}",
                    nearest=nearest_name(tag, shape.tags),
                )
        return sorted(shape.tag2index(tag) for tag in tags)

    def _make_output(self) -> None:
        x = as_float(self.parent.output)
        if self.given_statistics is not None:
            self.output = standardised(given_moments(x, self.parent.shape, self.given_statistics), self.eps)
            return
        order = [self.axes.index(i) if i in self.axes else "x" for i in range(x.ndim)]

        def spread(v: Any) -> Any:
            return None if v is None else v.dimshuffle(*order)

        self.output = standardised(moments(x, self.axes), self.eps, spread(self.gamma), spread(self.beta))

    def statistics_from(self, parent: FeatureStatistics) -> np.ndarray:
        whole = self.parent.shape.tag2index("f") in self.axes
        return moment_rows(parent.over_groups(1) if whole else parent)

    def _repr_extra(self) -> str:
        return f"axes={','.join(self.parent.shape.tags[i] for i in self.axes)}, {self._options()}"
