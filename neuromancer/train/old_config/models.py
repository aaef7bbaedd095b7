"""Models of the original library's configurations: loaded ones, and class weights given outside of the loss."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from neuromancer.errors import ArgumentError
from neuromancer.graph.registry import model_manager
from neuromancer.io.build import build, new_model
from neuromancer.io.describe import describe, own_functors
from neuromancer.models.model import Model, modelload
from neuromancer.nodes.node import Node
from neuromancer.train.old_config.cubes import located
from neuromancer.train.old_config.findings import Findings
from neuromancer.train.sources import require_loss

DEFAULT = "default"
"""Name of the model that nodes belong to if none has been created."""


class LoadedModel:
    """A model file to start from.

    Parameters
    ----------
    given : path
        ``model_load_path``.
    options : mapping of str to value
        Arguments of :func:`neuromancer.modelload`.
    folder : Path
        Folder of the configuration file, where a relative path is looked up as well.
    findings : Findings
        Gets what cannot be translated.
    """

    def __init__(self, given: Any, options: Mapping[str, Any], folder: Path, findings: Findings) -> None:
        names = [name for name in inspect.signature(modelload).parameters if name != "file_name"]
        if "remove_bn" in options:
            findings.refuse("model_load_args['remove_bn']", options["remove_bn"], "write replace_bn='remove'")
        findings.check_names("model_load_args", [key for key in options if key != "remove_bn"], names)
        self.path, self.options = located(Path(str(given)).expanduser(), folder), dict(options)
        if not self.path.is_file():
            findings.refuse("model_load_path", given, "no such file; write the path of an .h5 or .mdl file")

    def __call__(self) -> Model:
        """Load the model."""
        return modelload(self.path, **self.options)


def created(create: Callable[[], Model]) -> Model:
    """Return what ``create_model()`` makes; ``model_manager.getmodel()`` in it is a new model, as in a new process."""
    if DEFAULT in model_manager.models:
        model_manager.delmodel(DEFAULT)
    empty = model_manager.newmodel(DEFAULT)
    try:
        return create()
    finally:
        if not empty.nodes and model_manager.models.get(DEFAULT) is empty:
            model_manager.delmodel(DEFAULT)


def weighted(model: Model, weights: Any) -> Model:
    """Return a model whose class likelihoods weight the classes.

    Losses that have weights get these values. If one has none, the model is built again with them.

    Raises
    ------
    ArgumentError
        If there is no such loss, or its weights are a node.
    """
    values = np.asarray(weights, dtype="float64").ravel()
    losses = [node for node in require_loss(model).sub_graph() if hasattr(node, "class_weights")]
    if not losses:
        raise ArgumentError(
            "no loss takes weights of classes", where="class_weights", got=weights, expected="a MultinoulliNLL"
        )
    twice = [node.name for node in losses if isinstance(node.class_weights, Node)]
    if twice:
        raise ArgumentError(
            "class weights are given twice", where="class_weights", got=f"{weights!r}, and a node in {twice}",
            expected="one of them",
        )  # fmt: skip
    document, arrays = describe(model)
    names = [node.name for node in losses]
    for entry in document["nodes"]:
        if entry.get("name") in names:
            entry["arguments"]["class_weights"] = values.tolist()
            entry.get("attributes", {}).pop("class_weights", None)
    functors, name = own_functors(model), model.name
    model_manager.delmodel(name)
    with new_model(name) as made:
        build(made, document, arrays, "class_weights", functors)
    return cast(Model, made)
