"""Export of ONNX files; needs onnx."""

from __future__ import annotations
