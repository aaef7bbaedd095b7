"""Instances from predictions larger than memory: segmentation block by block, with labels that agree across blocks."""

from __future__ import annotations

from neuromancer.instances.blockwise import label_blocks

__all__ = ["label_blocks"]
