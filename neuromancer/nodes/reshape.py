"""Reshaping."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from math import prod
from typing import Any

import numpy as np

from neuromancer.errors import ArgumentError, ShapeError
from neuromancer.graph.tagged_shape import TaggedShape
from neuromancer.nodes.losses.common import require_tensor
from neuromancer.nodes.node import Node


class Reshape(Node):
    """Reshape a tensor without changing the order of its elements (C order).

    Parameters
    ----------
    parent : Node
        Input.
    shape : TaggedShape or sequence of int or None
        New shape. One size may be None and is inferred from the others; further sizes may be None if the parent's size
        is unknown on the axis of the same tag, too.
    tags : str or sequence of str, optional
        One per axis; required unless `shape` is a TaggedShape.
    strides, fov : sequence of int, optional
        Stride and field of view per spatial axis of the new shape. Default: 1.
    name : str
    print_repr : bool

    Attributes
    ----------
    runtime_sizes : list of int or str
        Sizes: numbers, -1 for the one that is inferred, or the position, as str, of the parent's axis with this size.

    Raises
    ------
    ArgumentError
        If `tags` are missing.
    ShapeError
        If the number of elements (per item, if the batch size is unknown) differs, or too many sizes are unknown.
    InputTypeError
        If the parent is not a node with a tensor output.

    Examples
    --------
    >>> from neuromancer import Input
    >>> inp = Input((None, 4), "b,f", print_repr=False)
    >>> Reshape(inp, (None, 2, 2), "b,f,x", print_repr=False)([[1, 2, 3, 4]]).tolist()
    [[[1.0, 2.0], [3.0, 4.0]]]
    """

    equivariant = False

    def __init__(
        self,
        parent: Node,
        shape: TaggedShape | Sequence[int | None],
        tags: str | Sequence[str] | None = None,
        strides: Sequence[int] | None = None,
        fov: Sequence[int] | None = None,
        name: str = "reshape",
        print_repr: bool = True,
    ) -> None:
        super().__init__(parent, name, print_repr)
        require_tensor(parent, self, "the parent")
        if not isinstance(shape, TaggedShape):
            if tags is None:
                raise ArgumentError(
                    "needs tags", node=self, got=f"shape {shape}", expected="one tag per axis, e.g. 'b,f'"
                )
            shape = TaggedShape(shape, tags, strides, fov=fov)
        self._declared = shape.copy()
        self._check_elements(parent.shape)
        self.runtime_sizes = self._runtime_sizes(parent.shape)

    def _check_elements(self, old: TaggedShape) -> None:
        new = self._declared
        known = None not in old.shape and None not in new.shape
        pair = (prod(old.stripnone), prod(new.stripnone)) if known else (old.stripbatch_prod, new.stripbatch_prod)
        if None not in pair and pair[0] != pair[1]:
            raise ShapeError(
                "the number of elements differs",
                node=self,
                got=f"{new!r}: {pair[1]}{'' if known else ' per batch item'}",
                expected=f"{pair[0]} as in {old!r}",
            )

    def _runtime_sizes(self, old: TaggedShape) -> list[Any]:
        """Return sizes as ints, -1 for the inferred one, or as str the position of the parent's axis with this size."""
        sizes: list[Any] = list(self._declared.shape)
        unknown = [i for i, s in enumerate(sizes) if s is None]
        for i in unknown[:-1]:
            tag = self._declared.tags[i]
            if not old.hastag(tag) or old[tag] is not None:
                raise ShapeError(
                    "too many unknown sizes",
                    node=self,
                    got=repr(self._declared),
                    expected=f"at most one None, apart from axes of unknown size in {old!r}",
                )
            sizes[i] = str(old.tag2index(tag))
        if unknown:
            sizes[unknown[-1]] = -1
        return sizes

    def _make_output(self) -> None:
        self.output = self._reshaped(self.parent.output)

    def _reshaped(self, x: Any) -> Any:
        return x.reshape([x.shape[int(s)] if isinstance(s, str) else s for s in self.runtime_sizes])

    def rearranged(self, arrays: Sequence[np.ndarray]) -> np.ndarray | None:
        """Return the reshaped array; None if its size does not match, which the compiled function reports."""
        with suppress(ValueError):
            array: np.ndarray = self._reshaped(arrays[0])
            return array
        return None

    def _calc_shape(self) -> None:
        self.shape = self._declared.copy()

    def _calc_comp_cost(self) -> None:
        self.computational_cost = 0
