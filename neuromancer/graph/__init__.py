"""Tagged shapes, the base node, and the graph that nodes form."""

from __future__ import annotations
