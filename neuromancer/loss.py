"""Public import path of the losses."""

from __future__ import annotations

from neuromancer.nodes.losses.aggregate import AggregateLoss
from neuromancer.nodes.losses.boundary import BoundaryLoss
from neuromancer.nodes.losses.classification import Classification, ErrorRate, Errors, OneHot
from neuromancer.nodes.losses.distance import EuclideanDistance, RampLoss
from neuromancer.nodes.losses.focal import Focal
from neuromancer.nodes.losses.likelihood import BetaNLL, BinaryNLL, GaussianNLL
from neuromancer.nodes.losses.malis import MalisNLL
from neuromancer.nodes.losses.maps import signed_distance, unet_weights
from neuromancer.nodes.losses.multinoulli import BlockedMultinoulliNLL, MultinoulliNLL
from neuromancer.nodes.losses.region import GeneralisedDice, SoftDice, Tversky
from neuromancer.nodes.losses.regression import AbsLoss, SquaredLoss
from neuromancer.nodes.losses.sobel import SobelizedLoss
from neuromancer.nodes.losses.sums import DiceCE, DiceFocal
from neuromancer.nodes.losses.supervision import DeepSupervision, LabelsAt
from neuromancer.nodes.softmax import Softmax

__all__ = [
    "AbsLoss",
    "AggregateLoss",
    "BetaNLL",
    "BinaryNLL",
    "BlockedMultinoulliNLL",
    "BoundaryLoss",
    "Classification",
    "DeepSupervision",
    "DiceCE",
    "DiceFocal",
    "ErrorRate",
    "Errors",
    "EuclideanDistance",
    "Focal",
    "GaussianNLL",
    "GeneralisedDice",
    "LabelsAt",
    "MalisNLL",
    "MultinoulliNLL",
    "OneHot",
    "RampLoss",
    "SobelizedLoss",
    "SoftDice",
    "Softmax",
    "SquaredLoss",
    "Tversky",
    "signed_distance",
    "unet_weights",
]
