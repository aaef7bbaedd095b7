"""Copies between host and GPU that overlap computation.

An array is copied to page-locked memory and from there to the GPU on a stream of its own; the computing stream waits
for it, the host does not. Results return on a third stream. So the host can submit the next call before the last one
has finished. torch's allocators track on which streams memory is in use and do not reuse it before it is free there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from neuromancer.engine.common.function import Counters
from neuromancer.engine.pytensor.devices import is_lack_of_memory
from neuromancer.engine.pytensor.ops.base import tensor_view
from neuromancer.errors import OutOfMemoryError


def page_locked(shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    """Return an empty tensor in page-locked host memory, which a GPU can access directly."""
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
        """Start to copy an array to the GPU; later work on the current stream waits for the copy."""
        self.counters.uploads += 1
        try:
            source = tensor_view(array)
            host = page_locked(source.shape, source.dtype).copy_(source)
            with torch.cuda.stream(self._up):
                tensor = host.to(self.device, non_blocking=True)
        except Exception as error:
            raise self._explained(error, array.shape) from error
        computing = torch.cuda.current_stream(self.device)
        computing.wait_stream(self._up)
        tensor.record_stream(computing)
        return tensor

    def download(self, values: Sequence[Any], single: bool) -> PendingDownload:
        """Start to copy results to the host.

        Parameters
        ----------
        values : sequence
            Tensors on the GPU, and values that are on the host already.
        single : bool
            There is one result, which is returned bare.
        """
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
            arrived = torch.cuda.Event(blocking=True)  # the waiting thread sleeps instead of spinning
            arrived.record(self._down)
        copies = iter(hosts)
        results = [next(copies) if isinstance(v, torch.Tensor) else v for v in values]
        return PendingDownload(results, arrived, single)

    def release(self) -> None:
        """Return unused page-locked memory to the system; torch would keep it."""
        torch.cuda.synchronize(self.device)
        empty = getattr(torch.accelerator, "empty_host_cache", None) or torch._C._host_emptyCache
        empty()

    def _explained(self, error: Exception, shapes: Any) -> Exception:
        if is_lack_of_memory(error):
            return OutOfMemoryError("not enough memory", where=str(self.device), got=f"arrays of shape {shapes}")
        return error


class PendingDownload:
    """Results that are being copied to the host.

    Parameters
    ----------
    values : list
        Tensors in page-locked memory, and values that need no copy.
    arrived : torch.cuda.Event
        Recorded after the last copy.
    single : bool
        There is one result, which is returned bare.
    """

    def __init__(self, values: list[Any], arrived: Any, single: bool) -> None:
        self._values, self._arrived, self._single = values, arrived, single

    def result(self) -> Any:
        """Wait for the copies and return the results as arrays that own their memory."""
        self._arrived.synchronize()
        values = [np.array(v.numpy()) if isinstance(v, torch.Tensor) else v for v in self._values]
        return values[0] if self._single else values
