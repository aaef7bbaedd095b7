"""Documented import path of random variables and reshaping."""

from __future__ import annotations

from neuromancer.nodes.random_variable import GaussianAEVBPrior, GaussianRV
from neuromancer.nodes.reshape import Reshape

__all__ = ["GaussianAEVBPrior", "GaussianRV", "Reshape"]
