"""Loading models and their parameters."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from neuromancer.errors import FileError
from neuromancer.graph.registry import model_manager
from neuromancer.io.build import build, damaged, new_model
from neuromancer.io.container import MAGIC, read_file, read_head
from neuromancer.io.legacy.pickles import GZIP, PICKLE
from neuromancer.io.legacy.translate import read_legacy
from neuromancer.io.options import LoadOptions, apply_options
from neuromancer.nodes.functors import check_functors
from neuromancer.optim.trainable import TrainableGraph
from neuromancer.places import content_of, local_file


def load_graph(
    path: str | os.PathLike[str],
    options: LoadOptions,
    name: str | None = None,
    functors: Mapping[str, Callable[..., Any]] | None = None,
) -> TrainableGraph:
    """Load a model from a file and make it the current one; see :func:`neuromancer.modelload`."""
    options.check()
    known = check_functors(functors)
    return built(*read_document(path), options, name, known, str(path))


def built(
    document: dict[str, Any],
    arrays: dict[str, np.ndarray],
    options: LoadOptions,
    name: str | None,
    known: Mapping[str, Callable[..., Any]],
    where: str,
) -> TrainableGraph:
    """Build a model from document and arrays, with changes, and make it the current one.

    Parameters
    ----------
    document, arrays
        As `describe` returns them.
    options : LoadOptions
        Checked.
    name : str, optional
        Default: a random one.
    known : mapping of str to callable
        Checked functions that the document may refer to.
    where : str
        Origin in messages.
    """
    if options.any():
        with new_model(None) as plain:
            build(plain, document, arrays, where, known)
            document, arrays = apply_options(document, arrays, options, plain)
        model_manager.delmodel(plain.name)
    with new_model(name) as model:
        build(model, document, arrays, where, known, user_errors=options.any())
        if options.make_weights_constant:
            for param in (p for node in model.nodes.values() for p in node.params.values() if not p.constant):
                param.apply_train = param.apply_reg = False
    return model


def read_document(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read document and arrays of a model file of either kind; raise FileError for any other file."""
    path = local_file(path, "model file")
    head = read_head(path)
    if head.startswith((PICKLE, GZIP)):
        return read_legacy(path)
    if not head.startswith(MAGIC[:8]) and head[: len(MAGIC)] != MAGIC:
        raise FileError(
            "not a model file",
            where=str(path),
            got=content_of(head) or repr(head[:16]),
            expected="a file written by Model.save, or a .mdl file of the original library",
        )
    return read_file(path)


def params_from_model_file(path: str | os.PathLike[str]) -> dict[str, dict[str, np.ndarray]]:
    """Read the values of all parameters in a file, by node and parameter, without building the model.

    Parameters
    ----------
    path : path

    Returns
    -------
    dict of str to dict of str to numpy.ndarray

    Raises
    ------
    FileError
        If the file cannot be read or is damaged.
    """
    document, arrays = read_document(path)
    with damaged(str(path)):
        return {
            entry["name"]: {key: arrays[spec["array"]] for key, spec in entry["parameters"].items()}
            for entry in document["nodes"]
            if entry.get("parameters")
        }
