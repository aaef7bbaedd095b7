"""Forked children run torch in one thread: they do not inherit torch's threads, and would wait for them forever."""

from __future__ import annotations

import os

import torch

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))
