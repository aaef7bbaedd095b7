"""Training data: patches of labelled volumes, augmentation, loading in the background."""

from __future__ import annotations

from neuromancer.train.data.geometric import Flip, Geometric, Rotate90
from neuromancer.train.data.intensity import Blur, CutOut, GreyValues, Noise, OneOf
from neuromancer.train.data.labels import AffinityTargets, labels_to_boundaries
from neuromancer.train.data.loader import BackgroundLoader
from neuromancer.train.data.patches import PatchSampler
from neuromancer.train.data.slices import DropSlices, ShiftSlices
from neuromancer.train.data.volumes import LabelledVolume
from neuromancer.train.data.warp import Warp

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
