"""Node classes, one family per file; import them from ``neuromancer`` or the documented modules."""

from __future__ import annotations
