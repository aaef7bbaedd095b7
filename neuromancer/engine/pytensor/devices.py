"""From the configured device name to a torch device that exists."""

from __future__ import annotations

import torch

from neuromancer.config import config
from neuromancer.errors import DeviceError

LACK = ("can't allocate memory", "CUDA error: out of memory", "STATUS_ALLOC_FAILED")
"""How torch says of the host, of page-locked memory, and of the libraries on a GPU that memory is lacking."""
AHEAD = 2
"""Calls that are under way at once on a GPU: while one is computed, the other's arrays are copied."""


def resolve_device(name: str) -> torch.device:
    """Return the torch device called `name`.

    Parameters
    ----------
    name : str
        'cpu', 'cuda', 'cuda:N', 'meta', or 'auto' (a GPU if there is one).

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


def free_memory() -> int | None:
    """Bytes that tensors can still get on the configured device; None if that is the host's memory."""
    device = resolve_device(config.device)
    if device.type != "cuda":
        return None
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + kept


def calls_under_way() -> int:
    """How many calls of a function may be started on the configured device before the first one's result is fetched."""
    return AHEAD if resolve_device(config.device).type == "cuda" else 1


def is_lack_of_memory(error: BaseException) -> bool:
    """Whether an error of torch or numpy says that memory could not be had."""
    # torch has a class for its allocator on devices only; others say it in words
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in LACK)
    )


def _available(count: int) -> str:
    gpus = ", ".join(f"'cuda:{i}'" for i in range(count))
    return f"one of 'cpu', 'auto', 'meta'{', ' + gpus if gpus else '; torch finds no CUDA device here'}"
