"""Training: data, augmentation, the Trainer, and when it stops."""

from __future__ import annotations

from neuromancer.train.data import (
    AffinityTargets,
    BackgroundLoader,
    Blur,
    CutOut,
    DropSlices,
    Flip,
    Geometric,
    GreyValues,
    LabelledVolume,
    Noise,
    OneOf,
    PatchSampler,
    Rotate90,
    ShiftSlices,
    Warp,
    labels_to_boundaries,
)
from neuromancer.train.result import TrainingResult
from neuromancer.train.stopping import EarlyStopping
from neuromancer.train.trainer import Trainer

__all__ = [
    "AffinityTargets",
    "BackgroundLoader",
    "Blur",
    "CutOut",
    "DropSlices",
    "EarlyStopping",
    "Flip",
    "Geometric",
    "GreyValues",
    "LabelledVolume",
    "Noise",
    "OneOf",
    "PatchSampler",
    "Rotate90",
    "ShiftSlices",
    "Trainer",
    "TrainingResult",
    "Warp",
    "labels_to_boundaries",
]
