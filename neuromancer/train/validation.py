"""Validation: loss, error and metrics on batches that are not trained on, without a trace in the training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from neuromancer import engine as E
from neuromancer.errors import ArgumentError, GraphError
from neuromancer.graph.function import getinput_for_multioutput, make_func
from neuromancer.graph.inspection import check_arrays
from neuromancer.graph.rebuild import BuildMode, rebuild
from neuromancer.train.data.loader import BatchSource

if TYPE_CHECKING:
    from neuromancer.model import Model

Metric = Callable[..., float]


@contextmanager
def undisturbed(model: Model) -> Iterator[None]:
    """Put the random streams of a model back to where they were."""
    streams = [s for node in model.nodes.values() for s in vars(node).values() if isinstance(s, E.RandomStream)]
    states = [s.get_state() for s in streams]
    try:
        yield
    finally:
        for stream, state in zip(streams, states, strict=True):
            stream.set_state(*state)


class Validation:
    """Evaluates a model in its inference form on the first batches of a source, always the same ones.

    Parameters
    ----------
    model : Model
        Its loss is evaluated, and its error and prediction node where designated.
    source : object with ``batch(step)``
    n_batches : int
    metrics : mapping of str to callable
        ``metric(prediction, *targets)``: a number per batch, from the prediction and all arrays but the first.

    Raises
    ------
    GraphError
        If error or prediction need data that the loss does not get.
    ArgumentError
        For metrics without a prediction node.
    """

    def __init__(self, model: Model, source: BatchSource, n_batches: int, metrics: Mapping[str, Metric]) -> None:
        self.model, self.source, self.n_batches, self.metrics = model, source, n_batches, dict(metrics)
        nodes = [model.loss_node, model.error_node, model.prediction_node]
        self.nodes = [node for node in nodes if node is not None]
        loss = self.nodes[0]
        for node in self.nodes[1:]:
            extra = [n.name for n in node.input_nodes if n not in loss.input_nodes]
            if extra:
                raise GraphError("needs data that the loss does not get", node=node, got=f"sources {extra}")
        if self.metrics and model.prediction_node is None:
            raise ArgumentError("metrics need a prediction node", node=f"model {model.name}", got=list(self.metrics))
        self._function: make_func | None = None

    def __call__(self) -> dict[str, float]:
        """Means over the batches: ``val_loss``, ``val_error``, and ``val_<name>`` of every metric."""
        model, nodes = self.model, self.nodes
        if self._function is None:
            copies = rebuild(nodes, BuildMode(inference=True))
            outputs = [copies[node].output for node in nodes]
            self._function = make_func(getinput_for_multioutput(nodes), outputs, name=f"{model.name} validation")
        rows: list[dict[str, float]] = []
        with undisturbed(model):
            for n in range(self.n_batches):
                batch = self.source.batch(n)
                arrays = check_arrays(nodes[0], nodes[0].input_nodes, batch)
                values = dict(zip(nodes, self._function(*arrays), strict=True))
                row = {"val_loss": float(values[nodes[0]])}
                if model.error_node is not None:
                    row["val_error"] = float(np.mean(values[model.error_node]))
                if model.prediction_node is not None:
                    predicted = values[model.prediction_node]
                    row.update({f"val_{name}": float(f(predicted, *batch[1:])) for name, f in self.metrics.items()})
                rows.append(row)
        return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}

    @property
    def names(self) -> list[str]:
        """Names of the numbers that a call returns."""
        error = ["val_error"] if self.model.error_node is not None else []
        return ["val_loss", *error, *(f"val_{name}" for name in self.metrics)]
