"""Copies between host and GPU that go on while the GPU computes.

An array is copied into page-locked memory and from there to the GPU on a stream of its own; computing waits for it on
the GPU, not here. Results come back on a third stream. So the host can hand over the next call before the last one is
done. torch's allocators know on which streams memory is in use and do not hand it out again before it is free there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from neuromancer.engine.pytensor.devices import is_lack_of_memory
from neuromancer.engine.pytensor.link.torch.program import Counters
from neuromancer.engine.pytensor.ops.base import tensor_view
from neuromancer.errors import OutOfMemoryError


def page_locked(shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    """Memory of the host that a GPU can read and write by itself."""
    return torch.empty(tuple(shape), dtype=dtype, pin_memory=True)


class Transfers:
    """Streams for copies to and from one GPU.

    Parameters
    ----------
    device : torch.device
    counters : Counters
    """

    def __init__(self, device: torch.device, counters: Counters) -> None:
        self.device, self.counters = device, counters
        self._up, self._down = torch.cuda.Stream(device), torch.cuda.Stream(device)

    def upload(self, array: np.ndarray) -> torch.Tensor:
        """A tensor on the GPU that holds the array when what is computed from now on gets to it."""
        self.counters.uploads += 1
        try:
            source = tensor_view(array)
            host = page_locked(source.shape, source.dtype).copy_(source)
            with torch.cuda.stream(self._up):
                there = host.to(self.device, non_blocking=True)
        except Exception as error:
            raise self._explained(error, array.shape) from error
        computing = torch.cuda.current_stream(self.device)
        computing.wait_stream(self._up)
        there.record_stream(computing)
        return there

    def download(self, values: Sequence[Any], single: bool) -> Coming:
        """Begin to fetch results, of which those on the GPU are tensors; `single`: the only one is returned bare."""
        tensors = [v for v in values if isinstance(v, torch.Tensor)]
        self.counters.downloads += len(tensors)
        try:
            ordered = [t.contiguous() for t in tensors]
            hosts = [page_locked(t.shape, t.dtype) for t in ordered]
        except Exception as error:
            raise self._explained(error, [tuple(t.shape) for t in tensors]) from error
        self._down.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self._down):
            for host, tensor in zip(hosts, ordered, strict=True):
                host.copy_(tensor, non_blocking=True)
                tensor.record_stream(self._down)
            there = torch.cuda.Event(blocking=True)  # whoever waits leaves the processor to others
            there.record(self._down)
        arrived = iter(hosts)
        return Coming([next(arrived) if isinstance(v, torch.Tensor) else v for v in values], there, single)

    def release(self) -> None:
        """Give page-locked memory that is not in use back to the system; torch would keep it."""
        torch.cuda.synchronize(self.device)
        empty = getattr(torch.accelerator, "empty_host_cache", None) or torch._C._host_emptyCache
        empty()

    def _explained(self, error: Exception, shapes: Any) -> Exception:
        if is_lack_of_memory(error):
            return OutOfMemoryError("not enough memory", where=str(self.device), got=f"arrays of shape {shapes}")
        return error


class Coming:
    """Results that are being copied.

    Parameters
    ----------
    values : list
        Tensors in page-locked memory, and what need not be fetched.
    there : torch.cuda.Event
        All have arrived.
    single : bool
        The only one is returned bare.
    """

    def __init__(self, values: list[Any], there: Any, single: bool) -> None:
        self._values, self._there, self._single = values, there, single

    def result(self) -> Any:
        """Wait for the values, and return them as arrays in memory of their own."""
        self._there.synchronize()
        values = [np.array(v.numpy()) if isinstance(v, torch.Tensor) else v for v in self._values]
        return values[0] if self._single else values
