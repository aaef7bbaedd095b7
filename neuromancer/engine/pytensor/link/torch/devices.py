"""From the configured device name to a torch device that exists."""

from __future__ import annotations

import torch

from neuromancer.config import config
from neuromancer.errors import DeviceError


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


def is_lack_of_memory(error: BaseException) -> bool:
    """Whether an error of torch or numpy says that memory could not be had."""
    # torch has a class for devices only; its allocator for the host says it in words
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def _available(count: int) -> str:
    gpus = ", ".join(f"'cuda:{i}'" for i in range(count))
    return f"one of 'cpu', 'auto', 'meta'{', ' + gpus if gpus else '; torch finds no CUDA device here'}"
