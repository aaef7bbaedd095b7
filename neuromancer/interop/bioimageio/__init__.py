"""Packages of bioimage.io: models with their weights, processing and test tensors."""

from __future__ import annotations
