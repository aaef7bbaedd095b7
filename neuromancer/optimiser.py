"""Documented import path of the optimisers."""

from __future__ import annotations

from neuromancer.train.optimisers import SGD, AdaDelta, AdaGrad, Adam, Optimiser

__all__ = ["SGD", "AdaDelta", "AdaGrad", "Adam", "Optimiser"]
