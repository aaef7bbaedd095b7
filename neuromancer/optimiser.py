"""Documented import path of the optimisers and schedules."""

from __future__ import annotations

from neuromancer.train.optimisers import SGD, AdaDelta, AdaGrad, Adam, AdamW, Optimiser
from neuromancer.train.schedules import (
    BoundSchedule,
    CosineSchedule,
    DecaySchedule,
    LinearSchedule,
    Schedule,
    StepSchedule,
    WarmUpSchedule,
)

__all__ = [
    "SGD",
    "AdaDelta",
    "AdaGrad",
    "Adam",
    "AdamW",
    "BoundSchedule",
    "CosineSchedule",
    "DecaySchedule",
    "LinearSchedule",
    "Optimiser",
    "Schedule",
    "StepSchedule",
    "WarmUpSchedule",
]
