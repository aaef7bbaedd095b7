"""Public import path of the layers."""

from __future__ import annotations

from neuromancer.nodes.activate import Activation
from neuromancer.nodes.automerge import AutoMerge, UpConvMerge
from neuromancer.nodes.conv import Conv
from neuromancer.nodes.conv_transpose import ConvTranspose
from neuromancer.nodes.crop_pad import Crop, Pad
from neuromancer.nodes.fragments import FragmentsToDense
from neuromancer.nodes.global_pool import AdaptivePool, GlobalPool
from neuromancer.nodes.group_norm import GroupNorm, LayerNorm
from neuromancer.nodes.lrn import LRN
from neuromancer.nodes.merge_faithless import FaithlessMerge
from neuromancer.nodes.normalisation import BatchNorm, InstanceNorm
from neuromancer.nodes.perceptron import Dot, Perceptron
from neuromancer.nodes.pool import Pool
from neuromancer.nodes.recurrent import GRU, LSTM
from neuromancer.nodes.upconv import UpConv
from neuromancer.nodes.upsample import PixelShuffle, Upsample

__all__ = [
    "GRU",
    "LRN",
    "LSTM",
    "Activation",
    "AdaptivePool",
    "AutoMerge",
    "BatchNorm",
    "Conv",
    "ConvTranspose",
    "Crop",
    "Dot",
    "FaithlessMerge",
    "FragmentsToDense",
    "GlobalPool",
    "GroupNorm",
    "InstanceNorm",
    "LayerNorm",
    "Pad",
    "Perceptron",
    "PixelShuffle",
    "Pool",
    "UpConv",
    "UpConvMerge",
    "Upsample",
]
