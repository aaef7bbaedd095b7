"""OpenVINO forms of indexing and of setting parts of a tensor; indices must depend on sizes only."""

from __future__ import annotations

from typing import Any

import numpy as np
from openvino import Output, Type, opset13
from pytensor.graph.basic import Apply, Variable
from pytensor.tensor import subtensor as ptsub
from pytensor.tensor.subtensor import AdvancedSubtensor, IncSubtensor, Subtensor, indices_from_subtensor

from neuromancer.engine.pytensor.link.openvino.builder import Builder
from neuromancer.engine.pytensor.link.openvino.registry import COUNTED, Missing, Unsupported, convert, reshape


def _indices(op: Any, variables: list[Variable], build: Builder) -> tuple[Any, ...]:
    """Return the indices as slices and ints."""
    values = [build.require(v, "an index") for v in variables]
    indices = indices_from_subtensor(values, op.idx_list)
    plain: list[Any] = []
    for index in indices if isinstance(indices, tuple) else (indices,):
        if isinstance(index, slice):
            plain.append(slice(*(None if v is None else int(v) for v in (index.start, index.stop, index.step))))
        else:
            plain.append(int(index))
    return tuple(plain)


def _ranges(indices: tuple[Any, ...], shape: tuple[int, ...]) -> list[range]:
    """Return the positions selected along each indexed axis."""
    result = []
    for axis, (index, n) in enumerate(zip(indices, shape, strict=False)):
        if isinstance(index, slice):
            taken = range(*index.indices(n))
            if not taken:
                raise Unsupported("an empty slice")
            result.append(taken)
        else:
            if not -n <= index < n:
                raise Unsupported(f"index {index} beyond axis {axis}")
            result.append(range(index % n, index % n + 1))
    return result


@convert.register(Subtensor)
def _subtensor(op: Subtensor, node: Apply, build: Builder) -> list[Output]:
    indices = _indices(op, node.inputs[1:], build)
    x, shape = build.tensor(node.inputs[0]), build.shape(node.inputs[0])
    taken = [(axis, r) for axis, r in enumerate(_ranges(indices, shape)) if r != range(shape[axis])]
    if taken:
        # a stop before the first element becomes a large negative number, since -1 is the last element
        stops = [r[-1] + (1 if r.step > 0 else -1) for _, r in taken]
        x = opset13.slice(
            x,
            [r[0] for _, r in taken],
            [stop if stop >= 0 else -shape[axis] - 1 for stop, (axis, _) in zip(stops, taken, strict=True)],
            [r.step for _, r in taken],
            [axis for axis, _ in taken],
        ).output(0)
    dropped = [axis for axis, index in enumerate(indices) if not isinstance(index, slice)]
    return [opset13.squeeze(x, np.array(dropped, np.int64)).output(0) if dropped else x]


@convert.register(IncSubtensor)
def _inc_subtensor(op: IncSubtensor, node: Apply, build: Builder) -> list[Output]:
    """Pad the part to the size of the whole; then add it, or select it by a mask."""
    x, y = node.inputs[:2]
    if x.dtype != "float32":
        raise Missing(f"operation {op} on {x.dtype}")
    indices = _indices(op, node.inputs[2:], build)
    shape = build.shape(x)
    ranges = [*_ranges(indices, shape), *(range(n) for n in shape[len(indices) :])]
    if any(r.step != 1 for r in ranges):
        raise Unsupported("setting elements of a slice with a step")
    kept = [n for r, n in zip(ranges, (*indices, *[slice(None)] * (len(shape) - len(indices))), strict=True)]
    part_shape = [len(r) for r in ranges]
    visible = [len(r) for r, index in zip(ranges, kept, strict=True) if isinstance(index, slice)]
    part = opset13.broadcast(opset13.convert(build.tensor(y), Type.f32), np.array(visible, np.int64))
    part = reshape(part, part_shape)
    base = build.known(x)
    uniform = base is not None and base.size and not (base != base.flat[0]).any()
    adds = not op.set_instead_of_inc
    fill = np.float32(base.flat[0]) if uniform and not adds else np.float32(0)  # type: ignore[union-attr]
    whole = opset13.pad(
        part,
        np.array([r.start for r in ranges], np.int64),
        np.array([n - r.stop for r, n in zip(ranges, shape, strict=True)], np.int64),
        "constant",
        build.constant(np.array(fill)),
    ).output(0)
    if adds:
        return [opset13.add(whole, build.tensor(x)).output(0)]
    if uniform:
        return [whole]
    inside = np.zeros([n if len(r) < n else 1 for r, n in zip(ranges, shape, strict=True)], bool)
    inside[tuple(slice(r.start, r.stop) if len(r) < n else slice(None) for r, n in zip(ranges, shape, strict=True))] = 1
    return [opset13.select(build.constant(inside), whole, build.tensor(x)).output(0)]


def _advanced_subtensor(op: Any, node: Apply, build: Builder) -> list[Output]:
    """Supported: one array of indices along one axis, and all of the other axes."""
    x, *variables = node.inputs
    values = [build.known(v) if v.type.__class__.__name__ == "TensorType" else v for v in variables]
    idx_list = getattr(op, "idx_list", None)
    indices = indices_from_subtensor(values, idx_list) if idx_list is not None else tuple(values)
    axis = next((k for k, i in enumerate(indices) if isinstance(i, np.ndarray)), None)
    others = [i for k, i in enumerate(indices) if k != axis]
    if axis is None or any(not isinstance(i, slice) or i != slice(None) for i in others):
        raise Unsupported(f"operation {op} of this kind")
    index, n = np.asarray(indices[axis]), build.shape(x)[axis]
    if index.ndim == 0 or index.dtype.name not in COUNTED or not ((-n <= index) & (index < n)).all():
        raise Unsupported(f"operation {op} of this kind")
    return [opset13.gather(build.tensor(x), build.constant(index % n), np.int64(axis)).output(0)]


convert.register(AdvancedSubtensor)(_advanced_subtensor)
if hasattr(ptsub, "AdvancedSubtensor1"):  # until PyTensor 3.1, for one vector along the first axis
    convert.register(ptsub.AdvancedSubtensor1)(_advanced_subtensor)
