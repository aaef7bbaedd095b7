"""Forked children: the threads of torch's kernels are not copied, and a child that waits for them waits for ever."""

from __future__ import annotations

import os

import torch

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))
