"""Training data: patches of labelled volumes, augmentation, loading in the background."""

from __future__ import annotations

from neuromancer.train.data.geometric import Flip, Geometric, Rotate90
from neuromancer.train.data.labels import AffinityTargets, labels_to_boundaries
from neuromancer.train.data.patches import PatchSampler
from neuromancer.train.data.volumes import LabelledVolume

__all__ = [
    "AffinityTargets",
    "Flip",
    "Geometric",
    "LabelledVolume",
    "PatchSampler",
    "Rotate90",
    "labels_to_boundaries",
]
