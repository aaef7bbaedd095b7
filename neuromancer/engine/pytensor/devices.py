"""Devices: from the configured name to an existing torch device, its memory, and errors about memory."""

from __future__ import annotations

import torch

from neuromancer.config import config
from neuromancer.engine.interface import Engine, implements
from neuromancer.errors import DeviceError

LACK = ("can't allocate memory", "CUDA error: out of memory", "STATUS_ALLOC_FAILED")
"""Out-of-memory messages of torch for the host, page-locked memory, and the libraries on a GPU."""
AHEAD = 2
"""Calls in flight on a GPU: while one is computed, the arrays of the other are copied."""


def resolve_device(name: str) -> torch.device:
    """Return the torch device called `name`.

    Parameters
    ----------
    name : str
        'cpu', 'cuda', 'cuda:N', 'meta', or 'auto' (a GPU if there is one, else the CPU).

    Raises
    ------
    DeviceError
        If this machine has no such device.

    Examples
    --------
    >>> resolve_device("cpu")
    device(type='cpu')
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        name = "cuda" if count else "cpu"
    if name in ("cpu", "meta"):
        return torch.device(name)
    try:
        device = torch.device(name)
    except RuntimeError:
        raise DeviceError("no such device", got=name, expected=_available(count)) from None
    if device.type != "cuda" or (device.index or 0) >= count:
        raise DeviceError("no such device", got=name, expected=_available(count), nearest="cpu")
    return torch.device("cuda", device.index or 0)


@implements(Engine.free_memory)
def free_memory() -> int | None:
    device = resolve_device(config.device)
    if device.type != "cuda":
        return None
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + cached


@implements(Engine.calls_under_way)
def calls_under_way() -> int:
    return AHEAD if resolve_device(config.device).type == "cuda" else 1


def is_lack_of_memory(error: BaseException) -> bool:
    """Return whether an error of torch or numpy is about a failed allocation."""
    # torch has an exception class for its device allocator only; other errors are recognised by their message
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in LACK)
    )


def _available(count: int) -> str:
    gpus = ", ".join(f"'cuda:{i}'" for i in range(count))
    return f"one of 'cpu', 'auto', 'meta'{', ' + gpus if gpus else '; torch finds no CUDA device here'}"
