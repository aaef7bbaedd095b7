"""Public import path of random variables, Reshape and Scan."""

from __future__ import annotations

from neuromancer.nodes.random_variable import GaussianAEVBPrior, GaussianRV
from neuromancer.nodes.reshape import Reshape
from neuromancer.nodes.scan import Scan, ScanN

__all__ = ["GaussianAEVBPrior", "GaussianRV", "Reshape", "Scan", "ScanN"]
