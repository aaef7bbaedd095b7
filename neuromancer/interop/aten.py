"""Translation of the operations of PyTorch (ATen); importing it fills the table, one family per module."""

from __future__ import annotations

from neuromancer.interop import aten_activations, aten_arithmetic, aten_layers, aten_parts, aten_space, aten_views
from neuromancer.interop.aten_table import OPERATIONS, PLAIN, Arguments
from neuromancer.interop.aten_views import viewed

FAMILIES = (aten_activations, aten_arithmetic, aten_layers, aten_parts, aten_space, aten_views)
"""Modules that hold the handlers."""

__all__ = ["FAMILIES", "OPERATIONS", "PLAIN", "Arguments", "viewed"]
