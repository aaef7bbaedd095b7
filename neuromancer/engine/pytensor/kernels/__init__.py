"""Numerical kernels on torch tensors; they know nothing of symbolic graphs."""

from __future__ import annotations
