"""Public import path of models and the functions that create them."""

from __future__ import annotations

from neuromancer.io.load import params_from_model_file
from neuromancer.models.cnn import simple_cnn
from neuromancer.models.model import Model, modelload, rebuild_model

__all__ = ["Model", "modelload", "params_from_model_file", "rebuild_model", "simple_cnn"]
