"""Linkers: from a symbolic graph to something that runs."""

from __future__ import annotations
