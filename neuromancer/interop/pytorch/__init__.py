"""PyTorch modules: tracing, and the translation of ATen operations."""

from __future__ import annotations
