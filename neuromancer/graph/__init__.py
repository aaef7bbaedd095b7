"""Tagged shapes, the base class of nodes, and graphs of nodes."""

from __future__ import annotations
