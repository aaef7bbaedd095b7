"""Translation of the operations of PyTorch (ATen); importing it fills the table, one family per module."""

from __future__ import annotations

from neuromancer.interop.pytorch import activations as aten_activations
from neuromancer.interop.pytorch import arithmetic as aten_arithmetic
from neuromancer.interop.pytorch import layers as aten_layers
from neuromancer.interop.pytorch import parts as aten_parts
from neuromancer.interop.pytorch import space as aten_space
from neuromancer.interop.pytorch import views as aten_views
from neuromancer.interop.pytorch.table import OPERATIONS, PLAIN, Arguments
from neuromancer.interop.pytorch.views import viewed

FAMILIES = (aten_activations, aten_arithmetic, aten_layers, aten_parts, aten_space, aten_views)
"""Modules that hold the handlers."""

__all__ = ["FAMILIES", "OPERATIONS", "PLAIN", "Arguments", "viewed"]
