"""ONNX files: reading, constants, and the translation of operations."""

from __future__ import annotations
