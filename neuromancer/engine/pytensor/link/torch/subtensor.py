"""Torch forms of indexing, and of setting and incrementing parts of a tensor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pytensor.graph.basic import Apply
from pytensor.tensor import subtensor as ptsub
from pytensor.tensor.basic import Nonzero
from pytensor.tensor.subtensor import (
    AdvancedIncSubtensor,
    AdvancedSubtensor,
    IncSubtensor,
    Subtensor,
    indices_from_subtensor,
)
from pytensor.tensor.type import TensorType

from neuromancer.engine.pytensor.link.torch.registry import (
    DEVICE,
    HOST,
    Context,
    Form,
    as_scalar,
    constant_value,
    torch_form,
)


def _plain(index: Any) -> Any:
    """Return an index with Python numbers instead of arrays."""
    if isinstance(index, slice):
        return slice(*(None if v is None else int(v) for v in (index.start, index.stop, index.step)))
    return int(index)


def _split_negative(indices: tuple[Any, ...], shape: tuple[int, ...]) -> tuple[tuple[Any, ...], list[int]]:
    """Replace negative steps, which torch lacks, by positive ones, and return the axes of the result to flip."""
    plain, flip, axis = [], [], 0
    for n, index in zip(shape, indices, strict=False):
        if isinstance(index, slice) and index.step is not None and index.step < 0:
            taken = range(*index.indices(n))
            index = slice(taken[-1], taken[0] + 1, -taken.step) if len(taken) else slice(0, 0)
            flip.append(axis)
        plain.append(index)
        axis += isinstance(index, slice)
    return tuple(plain), flip


def _negative(indices: tuple[Any, ...]) -> bool:
    return any(isinstance(i, slice) and i.step is not None and i.step < 0 for i in indices)


def _basic_indices(idx_list: Any, inputs: list[Any]) -> tuple[tuple[Any, ...] | None, Callable[..., Any]]:
    """Return the indices if all are constant, else None, and a function from host values to indices."""

    def build(*values: Any) -> tuple[Any, ...]:
        indices = indices_from_subtensor(values, idx_list)
        indices = indices if isinstance(indices, tuple) else (indices,)
        return tuple(_plain(i) for i in indices)

    constants = [constant_value(i) for i in inputs]
    return (None if any(c is None for c in constants) else build(*constants)), build


@torch_form.register(Subtensor)
def _subtensor(op: Subtensor, node: Apply, context: Context) -> Form:
    fixed, build = _basic_indices(op.idx_list, node.inputs[1:])
    n = len(node.inputs) - 1

    def read(x: Any, indices: Any) -> Any:
        if _negative(indices):
            indices, flip = _split_negative(indices, x.shape)
            return torch.flip(x[indices], flip)
        return x[indices]

    if fixed is not None:
        if not _negative(fixed):
            return Form(lambda x: x[fixed], [DEVICE] + [None] * n, [DEVICE])
        return Form(lambda x: read(x, fixed), [DEVICE] + [None] * n, [DEVICE])
    return Form(lambda x, *values: read(x, build(*values)), [DEVICE] + [HOST] * n, [DEVICE])


@torch_form.register(IncSubtensor)
def _inc_subtensor(op: IncSubtensor, node: Apply, context: Context) -> Form:
    fixed, build = _basic_indices(op.idx_list, node.inputs[2:])
    n = len(node.inputs) - 2
    setting = op.set_instead_of_inc
    reusable = node.inputs[0] in context.reusable

    def write(x: Any, y: Any, indices: Any) -> Any:
        if 0 in x.stride():
            result = x.clone(memory_format=torch.contiguous_format)
        else:
            result = x if reusable else x.clone()
        y = y.to(x.dtype)
        if _negative(indices):
            indices, flip = _split_negative(indices, x.shape)
            part = result[indices]
            y = torch.flip(y.expand(part.shape), flip) if part.numel() else y
        else:
            part = result[indices]
        if part.numel():  # a loop without steps returns empty results, whatever their sizes
            part.copy_(y.expand(part.shape)) if setting else part.add_(y)
        return result

    if fixed is not None:
        return Form(lambda x, y: write(x, y, fixed), [DEVICE, DEVICE] + [None] * n, [DEVICE], fresh=True)
    return Form(lambda x, y, *values: write(x, y, build(*values)), [DEVICE, DEVICE] + [HOST] * n, [DEVICE], fresh=True)


def _advanced_places(inputs: list[Any]) -> list[str]:
    """Return the places of indices: arrays on the device, slice bounds and other scalars on the host."""
    return [DEVICE if isinstance(i.type, TensorType) and i.ndim else HOST for i in inputs]


def _advanced_indices(op: Any, values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the indices of an advanced operation in torch's form: integer tensors as int64."""
    idx_list = getattr(op, "idx_list", None)
    indices = indices_from_subtensor(values, idx_list) if idx_list is not None else values
    indices = indices if isinstance(indices, tuple) else (indices,)
    result = []
    for index in indices:
        if isinstance(index, torch.Tensor):
            result.append(index if index.dtype in (torch.bool, torch.int64) else index.to(torch.int64))
        elif index is None or isinstance(index, slice):
            result.append(index if index is None else _plain(index))
        else:
            result.append(int(as_scalar(index)))
    return tuple(result)


def _taken(x: torch.Tensor, indices: tuple[Any, ...]) -> torch.Tensor:
    """Return the elements at the indices of an advanced operation."""
    if _negative(indices):
        basic: tuple[Any, ...] = ()
        for i in indices:  # a mask covers as many axes as it has
            n = i.ndim if isinstance(i, torch.Tensor) and i.dtype is torch.bool else 1
            basic += (i,) if isinstance(i, slice) else (slice(None),) * n
        basic, flip = _split_negative(basic, x.shape)
        x = torch.flip(x[basic], flip)
        indices = tuple(slice(None) if isinstance(i, slice) else i for i in indices)
    return x[indices]


@torch_form.register(AdvancedSubtensor)
def _advanced_subtensor(op: Any, node: Apply, context: Context) -> Form:
    return Form(
        lambda x, *values: _taken(x, _advanced_indices(op, values)),
        [DEVICE, *_advanced_places(node.inputs[1:])],
        [DEVICE],
    )


@torch_form.register(AdvancedIncSubtensor)
def _advanced_inc_subtensor(op: Any, node: Apply, context: Context) -> Form:
    setting = op.set_instead_of_inc
    accumulate = not setting and not getattr(op, "ignore_duplicates", False)

    def write(x: Any, y: Any, *values: Any) -> Any:
        result = x.clone(memory_format=torch.contiguous_format)
        indices = _advanced_indices(op, values)
        if _negative(indices):
            places = _taken(torch.arange(x.numel(), device=x.device).view(x.shape), indices)
            torch.ops.aten.index_put_(result.view(-1), [places], y.to(x.dtype), accumulate)
            return result
        # Slices first, as a view; then only index tensors and whole axes are left.
        picks: list[torch.Tensor | None] = []
        view, offset = result, 0
        for index in indices:
            if isinstance(index, slice):
                view = view[(slice(None),) * offset + (index,)]
                picks.append(None)
                offset += 1
            elif isinstance(index, torch.Tensor):
                picks.append(index)
                offset += index.ndim if index.dtype is torch.bool else 1
            else:
                picks.append(torch.tensor(index, device=x.device))
                offset += 1
        torch.ops.aten.index_put_(view, picks, y.to(x.dtype), accumulate)
        return result

    return Form(write, [DEVICE, DEVICE, *_advanced_places(node.inputs[2:])], [DEVICE])


# PyTensor before 3.1 has separate operations for one index vector along the first axis
if hasattr(ptsub, "AdvancedSubtensor1"):
    torch_form.register(ptsub.AdvancedSubtensor1)(_advanced_subtensor)
    torch_form.register(ptsub.AdvancedIncSubtensor1)(_advanced_inc_subtensor)


@torch_form.register(Nonzero)
def _nonzero(op: Nonzero, node: Apply, context: Context) -> Callable[..., Any]:
    several = len(node.outputs) > 1

    def run(x: Any) -> Any:
        found = torch.nonzero(x, as_tuple=True)
        return found if several else found[0]

    return run
