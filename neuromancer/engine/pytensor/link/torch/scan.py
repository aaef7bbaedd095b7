"""Torch form of loops: a Python loop over the program of the inner graph, with everything on the device.

The terms are those of PyTensor's Scan, per output: *mit-mot* (several taps in and out, created by gradients), *mit-sot*
and *sit-sot* (several taps or one tap in, one out), *nit-sot* (not fed back), *untraced* (only the last value is kept).
Traces are circular buffers, because a rewrite shortens those whose end alone is read.
"""

from __future__ import annotations

from itertools import chain
from typing import Any

import torch
from pytensor.graph.basic import Apply
from pytensor.scan.op import Scan

from neuromancer.engine.pytensor.link.torch.program import Program, upload
from neuromancer.engine.pytensor.link.torch.registry import (
    DEVICE,
    HOST,
    OWN_PLACE,
    TORCH_DTYPES,
    Context,
    Form,
    supported,
    torch_form,
)
from neuromancer.engine.pytensor.link.torch.rewriting import rewritten
from neuromancer.errors import ShapeError

OWN_PLACE.add(Scan)


@torch_form.register(Scan)
def _scan(op: Scan, node: Apply, context: Context) -> Form | None:
    info = op.info
    n_traces = info.n_mit_mot + info.n_mit_sot + info.n_sit_sot
    tensors = [*node.outputs[: n_traces + info.n_nit_sot]]
    if not all(supported(v) for v in tensors):
        return None
    loop = Loop(op, node, context)
    gives = [DEVICE] * len(tensors) + loop.untraced_places
    several = len(node.outputs) > 1

    def run(*inputs: Any) -> Any:
        results = loop(*inputs)
        return tuple(results) if several else results[0]

    return Form(run, loop.takes, gives)


class Loop:
    """The loop of one Scan node.

    Parameters
    ----------
    op : Scan
    node : Apply
    context : Context
    """

    def __init__(self, op: Scan, node: Apply, context: Context) -> None:
        info = op.info
        self.name, self.context = str(op), context
        self.n_seqs, self.n_untraced = info.n_seqs, info.n_untraced_sit_sot
        self.taps = [tuple(t) for t in chain(info.mit_mot_in_slices, info.mit_sot_in_slices, info.sit_sot_in_slices)]
        self.write_taps = [tuple(t) for t in info.mit_mot_out_slices]
        self.n_mit_mot, self.n_traces, self.n_nit_sot = len(self.write_taps), len(self.taps), info.n_nit_sot
        self.as_while = info.as_while
        made = node.outputs[: self.n_traces + self.n_nit_sot]
        self.dtypes = [TORCH_DTYPES[v.dtype] for v in made]
        self.empty_shapes = [(0, *(n or 0 for n in v.type.shape[1:])) for v in made]

        outer_untraced = node.inputs[1 + self.n_seqs + self.n_traces :][: self.n_untraced]
        outer_rest = node.inputs[1 + self.n_seqs + self.n_traces + self.n_untraced + self.n_nit_sot :]
        inner = rewritten(op)
        # Integers that change from step to step index other tensors: they are downloaded once, not at every step.
        sequences = [HOST if v.dtype[:3] == "int" and v.ndim == 1 else DEVICE for v in node.inputs[1 : 1 + self.n_seqs]]
        untraced = [context.places[v] for v in outer_untraced]
        rest = [context.places[v] for v in outer_rest]
        n_taps = sum(len(t) for t in self.taps)
        inner_places = [*sequences, *[DEVICE] * n_taps, *untraced, *rest]
        places = dict(enumerate(inner_places))
        self.program = Program(inner, context.device, context.counters, places=places, precision=context.precision)
        self.untraced_places = untraced
        self.takes: list[str | None] = [
            HOST,
            *sequences,
            *[DEVICE] * self.n_traces,
            *untraced,
            *[HOST] * self.n_nit_sot,
            *rest,
        ]

    def __call__(self, n_steps: Any, *inputs: Any) -> list[Any]:
        """Run the loop on the inputs of the node."""
        n = int(n_steps)
        sequences, inputs = inputs[: self.n_seqs], inputs[self.n_seqs :]
        if n < 0 or any(s.shape[0] < n for s in sequences):
            raise ShapeError(
                "sequences are shorter than the loop",
                node=self.name,
                got=[int(s.shape[0]) for s in sequences],
                expected=f"{n} steps",
            )
        traces: list[Any] = [t.clone(memory_format=torch.contiguous_format) for t in inputs[: self.n_traces]]
        inputs = inputs[self.n_traces :]
        untraced, inputs = list(inputs[: self.n_untraced]), inputs[self.n_untraced :]
        lengths = [t.shape[0] for t in traces] + [int(v) for v in inputs[: self.n_nit_sot]]
        rest = inputs[self.n_nit_sot :]
        traces += [None] * self.n_nit_sot
        starts = [-min(t) for t in self.taps] + [0] * self.n_nit_sot

        done = 0
        while done < n:
            positions = [(s + done) % length for s, length in zip(starts, lengths, strict=True)]
            values = [s[done] for s in sequences]
            for trace, taps, position, length in zip(traces, self.taps, positions, lengths, strict=False):
                values.extend(trace[(position + t) % length] for t in taps)
            results = iter(self.program.run([*values, *untraced, *rest]))
            self._store(traces, results, positions, lengths)
            untraced = [next(results) for _ in untraced]
            done += 1
            if self.as_while and bool(next(results)):
                break
        return [*self._finish(traces, starts, lengths, done, n), *untraced]

    def _store(self, traces: list[Any], results: Any, positions: list[int], lengths: list[int]) -> None:
        """Write the results of a step into the traces."""
        device = self.context.device
        memory = {t.untyped_storage().data_ptr() for t in traces if t is not None and device.type == "cpu"}

        def fresh(value: Any) -> torch.Tensor:
            if not isinstance(value, torch.Tensor):
                return upload(value, device, self.context.counters)
            # A view of a trace must be copied before the trace is written; meta tensors have no memory.
            overlaps = device.type != "meta" and (device.type != "cpu" or value.untyped_storage().data_ptr() in memory)
            return value.clone() if overlaps else value

        writes = []
        for k, taps in enumerate(self.write_taps):
            writes += [(k, (positions[k] + t) % lengths[k], fresh(next(results))) for t in taps]
        for k in range(self.n_mit_mot, self.n_traces + self.n_nit_sot):
            value = fresh(next(results))
            if traces[k] is None:
                traces[k] = torch.zeros((lengths[k], *value.shape), dtype=self.dtypes[k], device=device)
            writes.append((k, positions[k], value))
        for k, position, value in writes:
            traces[k][position] = value

    def _finish(self, traces: list[Any], starts: list[int], lengths: list[int], done: int, n: int) -> list[Any]:
        """Unwrap circular traces; cut off or clear the part that the loop did not reach."""
        for k in range(self.n_mit_mot, len(traces)):
            start, length = starts[k], lengths[k]
            if traces[k] is None:
                traces[k] = torch.zeros(self.empty_shapes[k], dtype=self.dtypes[k], device=self.context.device)
                continue
            end = (start + done) % length if length else 0
            if length < start + done and end:
                traces[k] = torch.cat([traces[k][end:], traces[k][:end]])
            elif length > start + done:
                traces[k][start + done :] = 0
                if done < n:
                    traces[k] = traces[k][: length - (n - done)]
        return traces
