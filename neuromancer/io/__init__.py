"""Model files: saving, loading, and reading those of the original library."""

from __future__ import annotations
