"""Public import path of the optimisers and schedules."""

from __future__ import annotations

from neuromancer.optim.optimisers import SGD, AdaDelta, AdaGrad, Adam, AdamW, Optimiser
from neuromancer.train.binding import BoundSchedule, Schedule
from neuromancer.train.schedules import CosineSchedule, DecaySchedule, LinearSchedule, StepSchedule, WarmUpSchedule

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
