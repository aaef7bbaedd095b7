"""The public names of the package, which the package itself imports at their first use."""

from __future__ import annotations

from neuromancer.config import config
from neuromancer.dense import SlidingWindow, plan_dense, predict_dense
from neuromancer.engine import T
from neuromancer.graph.patches import get_valid_patch_sizes
from neuromancer.graphutils import LazyFunction, TaggedShape, getinput_for_multioutput, make_func
from neuromancer.interop.export import export, to_torch
from neuromancer.interop.export_bioimageio import export_bioimageio
from neuromancer.interop.from_bioimageio import from_bioimageio
from neuromancer.interop.from_keras import from_keras
from neuromancer.interop.from_onnx import from_onnx
from neuromancer.interop.from_torch import from_torch
from neuromancer.loss import *
from neuromancer.loss import __all__ as _loss
from neuromancer.model import Model, modelload, params_from_model_file
from neuromancer.neural import *
from neuromancer.neural import __all__ as _neural
from neuromancer.node_basic import *
from neuromancer.node_basic import __all__ as _node_basic
from neuromancer.optimiser import *
from neuromancer.optimiser import __all__ as _optimiser
from neuromancer.train.data import PatchSampler
from neuromancer.train.trainer import Trainer
from neuromancer.utils import as_floatX, seed
from neuromancer.variables import ConstantParam, VariableParam, VariableWeight, initweights
from neuromancer.various import *
from neuromancer.various import __all__ as _various

__all__ = [
    "ConstantParam",
    "LazyFunction",
    "Model",
    "PatchSampler",
    "SlidingWindow",
    "T",
    "TaggedShape",
    "Trainer",
    "VariableParam",
    "VariableWeight",
    "as_floatX",
    "config",
    "export",
    "export_bioimageio",
    "from_bioimageio",
    "from_keras",
    "from_onnx",
    "from_torch",
    "get_valid_patch_sizes",
    "getinput_for_multioutput",
    "initweights",
    "make_func",
    "modelload",
    "params_from_model_file",
    "plan_dense",
    "predict_dense",
    "seed",
    "to_torch",
    *_loss,
    *_neural,
    *_node_basic,
    *_optimiser,
    *_various,
]
