"""Plots of graphs: PNG, SVG and PDF by graphviz, and an interactive HTML page without dependencies."""

from __future__ import annotations

from neuromancer.pictures.describe import describe_model, describe_node
from neuromancer.pictures.info import EdgeInfo, GraphInfo, NodeInfo, ParamInfo
from neuromancer.pictures.options import PlotOptions
from neuromancer.pictures.picture import Picture, plot

__all__ = [
    "EdgeInfo",
    "GraphInfo",
    "NodeInfo",
    "ParamInfo",
    "Picture",
    "PlotOptions",
    "describe_model",
    "describe_node",
    "plot",
]
