"""Public import path of the losses."""

from __future__ import annotations

from neuromancer.nodes.losses.aggregate import AggregateLoss
from neuromancer.nodes.losses.classification import Classification, ErrorRate, Errors, OneHot
from neuromancer.nodes.losses.distance import EuclideanDistance, RampLoss
from neuromancer.nodes.losses.likelihood import BetaNLL, BinaryNLL, GaussianNLL
from neuromancer.nodes.losses.malis import MalisNLL
from neuromancer.nodes.losses.multinoulli import BlockedMultinoulliNLL, MultinoulliNLL
from neuromancer.nodes.losses.regression import AbsLoss, SquaredLoss
from neuromancer.nodes.losses.sobel import SobelizedLoss
from neuromancer.nodes.softmax import Softmax

__all__ = [
    "AbsLoss",
    "AggregateLoss",
    "BetaNLL",
    "BinaryNLL",
    "BlockedMultinoulliNLL",
    "Classification",
    "ErrorRate",
    "Errors",
    "EuclideanDistance",
    "GaussianNLL",
    "MalisNLL",
    "MultinoulliNLL",
    "OneHot",
    "RampLoss",
    "SobelizedLoss",
    "Softmax",
    "SquaredLoss",
]
