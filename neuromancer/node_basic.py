"""Public import path of the node base class, the basic nodes and the model registry."""

from __future__ import annotations

from neuromancer.graph.registry import Graph, ModelRegistry
from neuromancer.models.model import model_manager
from neuromancer.nodes.apply import ApplyFunc, FromTensor
from neuromancer.nodes.functors import register_functor
from neuromancer.nodes.inputs import GenericInput, Input, Input_like
from neuromancer.nodes.merge import Add, Concat, MultMerge
from neuromancer.nodes.merge_many import Product, Sum
from neuromancer.nodes.node import Node
from neuromancer.nodes.repeat import Repeat
from neuromancer.nodes.split import split
from neuromancer.nodes.value import InitialState_like, ValueNode

# Names in the original library.
GraphManager = Graph
ModelContainer = ModelRegistry

__all__ = [
    "Add",
    "ApplyFunc",
    "Concat",
    "FromTensor",
    "GenericInput",
    "Graph",
    "GraphManager",
    "InitialState_like",
    "Input",
    "Input_like",
    "ModelContainer",
    "ModelRegistry",
    "MultMerge",
    "Node",
    "Product",
    "Repeat",
    "Sum",
    "ValueNode",
    "model_manager",
    "register_functor",
    "split",
]
