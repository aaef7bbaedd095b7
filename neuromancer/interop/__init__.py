"""Networks of other libraries, translated into nodes: PyTorch modules, ONNX files, Keras files."""

from __future__ import annotations
