"""The number of threads that computations use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from neuromancer.engine.interface import Engine, implements


@implements(Engine.shared_processor)
@contextmanager
def shared_processor(parts: int) -> Iterator[None]:
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    before = torch.get_num_threads()
    torch.set_num_threads(min(before, max(1, available // parts)))
    try:
        yield
    finally:
        torch.set_num_threads(before)
