"""PyTorch modules made of networks of nodes."""

from __future__ import annotations
