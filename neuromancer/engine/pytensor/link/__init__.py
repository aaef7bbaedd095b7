"""Linkers: how a symbolic graph becomes something that runs."""

from __future__ import annotations
