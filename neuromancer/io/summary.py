"""Summaries of models: what ``neuromancer info`` prints, stored in files so that no network is built to print it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeGuard

from neuromancer.errors import FileError, short
from neuromancer.io.container import MAGIC, read_head, read_summary
from neuromancer.places import local_file

if TYPE_CHECKING:
    from neuromancer.optim.trainable import TrainableGraph


def summary_of(model: TrainableGraph) -> dict[str, Any]:
    """Summarise a model in JSON values.

    Returns
    -------
    dict
        ``model``, its name; ``nodes``, their shapes; ``prediction_node``; ``parameters`` that the prediction depends
        on. If its shape is known, also ``fov``, ``strides`` and ``channels``.
    """
    node = model.prediction_node
    facts: dict[str, Any] = {
        "model": model.name,
        "nodes": {name: repr(n.shape) for name, n in model.nodes.items()},
        "prediction_node": None if node is None else node.name,
        "parameters": 0 if node is None else int(node.all_params_count),
    }
    if node is not None and node.shape is not None and node.shape.ndim:
        sources = [source.shape for source in node.input_nodes if source.shape is not None]
        facts |= {
            "fov": [int(n) for n in node.shape.fov],
            "strides": [float(s) for s in node.shape.strides],
            "channels": {"in": [_channels(shape) for shape in sources], "out": _channels(node.shape)},
        }
    return facts


def _channels(shape: Any) -> int | None:
    return shape["f"] if shape.hastag("f") else None


def stored_summary(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Return the summary in a model file; None for files without one: of earlier versions and of the original library.

    Raises
    ------
    FileError
        If the file cannot be read or is damaged.
    """
    place = local_file(path, "model file")
    if not read_head(place).startswith(MAGIC):
        return None
    facts = read_summary(place)
    if facts is None:
        return None
    if not _is_summary(facts):
        raise FileError("the summary of the model is damaged", where=str(path), got=short(facts))
    return facts


def _is_summary(facts: Any) -> TypeGuard[dict[str, Any]]:
    """Whether a value from a file has the form of a summary."""
    try:
        texts = [facts["model"], *facts["nodes"], *facts["nodes"].values()]
        named = facts["prediction_node"] is None or facts["prediction_node"] in facts["nodes"]
        numbers = [facts["parameters"], *facts.get("fov", ()), *facts.get("strides", ())]
        channels = facts.get("channels", {"in": [], "out": None})
        numbers += [n for n in (*channels["in"], channels["out"]) if n is not None]
    except (KeyError, TypeError, AttributeError):
        return False
    complete = ("fov" in facts) == ("strides" in facts) == ("channels" in facts)
    return named and complete and all(type(t) is str for t in texts) and all(type(n) in (int, float) for n in numbers)
