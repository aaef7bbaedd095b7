"""Model files of the original library."""

from __future__ import annotations
