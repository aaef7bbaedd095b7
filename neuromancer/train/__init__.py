"""Training: meta-parameters, optimisers and statistics."""

from __future__ import annotations

from neuromancer.train.data import (
    AffinityTargets,
    Flip,
    LabelledVolume,
    PatchSampler,
    Rotate90,
    labels_to_boundaries,
)

__all__ = [
    "AffinityTargets",
    "Flip",
    "LabelledVolume",
    "PatchSampler",
    "Rotate90",
    "labels_to_boundaries",
]
