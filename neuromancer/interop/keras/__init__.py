"""Keras files of three formats: reading, and the translation of layers."""

from __future__ import annotations
