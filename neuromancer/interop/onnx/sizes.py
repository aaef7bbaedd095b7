"""Layout and example sizes of the inputs of ONNX files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from neuromancer.errors import ArgumentError, TranslationError, short
from neuromancer.interop.importing import Translate, periods
from neuromancer.interop.onnx.file import Declared, OnnxGraph

GUESSES = {0: (1,), 1: (64, 128, 256), 2: (64, 128, 256), 3: (32, 64, 96)}
"""Sizes per axis that are tried where the file leaves them open, by the number of spatial axes."""
ALONG = ("Add", "Sub", "Mul", "Div", "Cast", "Identity", "Clip", "Relu", "BatchNormalization", "Dropout")
"""Operations before which the axes may be put into order."""


@dataclass(frozen=True)
class Layout:
    """An input of the file.

    Attributes
    ----------
    name : str
    features : int
    space : tuple of int or None
        Spatial sizes, None where they are open.
    last : bool
        Whether the channels come last, as in files from TensorFlow.
    """

    name: str
    features: int
    space: tuple[int | None, ...]
    last: bool


def _channels_last(graph: OnnxGraph, declared: Declared) -> bool:
    """Return whether all that reads an input puts the channels into the second place first."""
    reached, found, dims = {declared.name}, False, declared.dims or ()
    for step in graph.steps:
        if not reached & set(step.inputs):
            continue
        perm = step.attributes.get("perm")
        if step.op == "Transpose" and perm and list(perm) == [0, len(perm) - 1, *range(1, len(perm) - 1)]:
            found = True
        elif step.op == "Reshape" and dims[-1:] == (1,) and _moves_one(graph.constants.get(step.inputs[1]), len(dims)):
            found = True
        elif step.op in ALONG:
            reached.update(step.outputs)
        elif step.op not in ("Shape", "Size"):
            return False
    return found


def _moves_one(target: np.ndarray | None, rank: int) -> bool:
    """Return whether a shape has a single channel in the second place."""
    return target is not None and rank > 2 and target.shape == (rank,) and int(target[1]) == 1


def choose_sizes(graph: OnnxGraph, example: Any, translate_at: Callable[[Sequence[Layout]], Translate]) -> list[Layout]:
    """Return the inputs with the sizes at which the file is translated.

    Those of `example`; or of the file; or, where the file leaves them open, the least ones that its strides divide.
    """
    if not graph.inputs:
        raise TranslationError("the file has no input", where=graph.label)
    given = _shapes(example, len(graph.inputs))
    layouts = [_layout(graph, declared, None if given is None else given[k]) for k, declared in enumerate(graph.inputs)]
    ndim = len(layouts[0].space)
    if any(len(layout.space) != ndim for layout in layouts):
        raise TranslationError(
            "all inputs need the same axes", where=graph.label, got=[len(layout.space) + 2 for layout in layouts]
        )
    if all(None not in layout.space for layout in layouts):
        return layouts
    failure: TranslationError | None = None
    for guess in GUESSES[ndim]:
        tried = [_filled(layout, [guess] * ndim) for layout in layouts]
        try:
            steps = periods(translate_at(tried), ndim)
            return [_rounded(before, after, steps) for before, after in zip(layouts, tried, strict=True)]
        except TranslationError as error:
            failure = failure or error
    assert failure is not None
    raise failure


def _filled(layout: Layout, sizes: Sequence[int]) -> Layout:
    return replace(layout, space=tuple(m if n is None else n for n, m in zip(layout.space, sizes, strict=True)))


def _rounded(layout: Layout, tried: Layout, steps: Sequence[int]) -> Layout:
    """Round the open sizes up to multiples of the period."""
    return _filled(layout, [-(-int(n or 1) // step) * step for n, step in zip(tried.space, steps, strict=True)])


def _layout(graph: OnnxGraph, declared: Declared, shape: tuple[int, ...] | None) -> Layout:
    name, dims, last = declared.name, declared.dims, _channels_last(graph, declared)
    where = f"{graph.label}, input {short(name)}"
    if dims is None and shape is None:
        raise ArgumentError(
            "the file does not tell the sizes of its input", where=where, expected="example=(1, channels, ..., y, x)"
        )
    sizes: tuple[int | None, ...] = dims if dims is not None else (None,) * len(shape or ())
    if not 2 <= len(sizes) <= 5:
        raise TranslationError(
            "an input needs the axes batch, channel and up to three of space", where=where, got=f"{len(sizes)} axes"
        )
    if shape is not None and len(shape) != len(sizes):
        raise ArgumentError(
            "the example has another number of axes than the input", where=where, got=shape, expected=str(sizes)
        )
    features, space = (sizes[-1], sizes[1:-1]) if last else (sizes[1], sizes[2:])
    if shape is not None:
        own, given = (shape[-1], shape[1:-1]) if last else (shape[1], shape[2:])
        if features not in (None, own):
            raise ArgumentError(
                "the example has another number of channels than the input", where=where, got=shape, expected=str(sizes)
            )
        features, space = own, given
    if features is None:
        raise ArgumentError(
            "the file leaves the number of channels open",
            where=where,
            got=str(sizes),
            expected="example=, an image or its shape",
        )
    return Layout(name, int(features), tuple(space), last)


def _shapes(example: Any, count: int) -> list[tuple[int, ...]] | None:
    """Return the shapes of the examples, one per input."""
    if example is None:
        return None
    single = not isinstance(example, (list, tuple)) or not example or _is_int(example[0])
    several = [example] if single else list(example)
    shapes = [tuple(getattr(each, "shape", each)) if _is_shaped(each) else each for each in several]
    good = all(isinstance(s, (list, tuple)) and all(_is_int(n) and 0 < n < 1 << 31 for n in s) for s in shapes)
    if not good or len(shapes) != count:
        raise ArgumentError(
            "the example must be an input or its shape, one for each input of the file",
            where="from_onnx",
            got=short(repr(example)),
            expected=f"{count} arrays or shapes such as (1, 1, 64, 64)",
        )
    return [tuple(int(n) for n in s) for s in shapes]


def _is_shaped(value: Any) -> bool:
    return isinstance(getattr(value, "shape", None), tuple)


def _is_int(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)
