"""Training: meta-parameters, optimisers and statistics."""

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

__all__ = [
    "AffinityTargets",
    "BackgroundLoader",
    "Blur",
    "CutOut",
    "DropSlices",
    "Flip",
    "Geometric",
    "GreyValues",
    "LabelledVolume",
    "Noise",
    "OneOf",
    "PatchSampler",
    "Rotate90",
    "ShiftSlices",
    "Warp",
    "labels_to_boundaries",
]
