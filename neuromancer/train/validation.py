"""Validation: loss, error and metrics on held-out batches, without side effects on training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from neuromancer import engine as E
from neuromancer.errors import ArgumentError, GraphError, InputTypeError, blame
from neuromancer.graph.feeding import check_arrays
from neuromancer.graph.function import LazyFunction
from neuromancer.graph.rebuild import rebuild
from neuromancer.graph.window import BuildMode
from neuromancer.nodes.node import Node
from neuromancer.train.batches import BatchCheck
from neuromancer.train.checks import mapping
from neuromancer.train.data.loader import BatchSource, copied
from neuromancer.train.sources import FirstBatches, as_source, require_fitting, require_loss

if TYPE_CHECKING:
    from neuromancer.models.model import Model

Metric = Callable[..., float]
LABEL = "validation data"


@contextmanager
def undisturbed(model: Model) -> Iterator[None]:
    """Restore the random streams of a model on leaving the context."""
    streams = [s for node in model.nodes.values() for s in vars(node).values() if isinstance(s, E.RandomStream)]
    states = [s.get_state() for s in streams]
    try:
        yield
    finally:
        for stream, state in zip(streams, states, strict=True):
            stream.set_state(*state)


class Evaluation:
    """Values of nodes in inference mode for a batch of the loss, without side effects on training.

    Parameters
    ----------
    model : Model
    nodes : mapping of str to Node

    Raises
    ------
    GraphError
        If a node needs data that the loss does not read.
    """

    def __init__(self, model: Model, nodes: Mapping[str, Node]) -> None:
        self.model, self.loss = model, require_loss(model)
        self.nodes = dict(nodes)
        for node in self.nodes.values():
            extra = [n.name for n in node.input_nodes if n not in self.loss.input_nodes]
            if extra:
                raise GraphError("needs data that the loss does not read", node=node, got=f"sources {extra}")
        self._function: LazyFunction | None = None

    def __call__(self, batch: tuple[np.ndarray, ...]) -> dict[str, np.ndarray]:
        """Return the values by name."""
        if self._function is None:
            copies = rebuild(list(self.nodes.values()), BuildMode(inference=True))
            outputs = [copies[node].output for node in self.nodes.values()]
            self._function = LazyFunction(self.loss.input_tensors, outputs, name=f"{self.model.name} evaluation")
        arrays = check_arrays(self.loss, self.loss.input_nodes, batch, list(self.nodes.values()))
        with undisturbed(self.model):
            return dict(zip(self.nodes, self._function(*arrays), strict=True))


class Validation:
    """Evaluation of a model in inference mode on the first batches of a source, always the same ones.

    Parameters
    ----------
    model : Model
        Its loss is evaluated, its error node if designated, and its prediction node for metrics.
    source : object with ``batch(step)``
    n_batches : int
    metrics : mapping of str to callable
        ``metric(prediction, *targets)``: a number per batch, from the prediction and all arrays but the first.

    Raises
    ------
    GraphError
        If error or prediction need data that the loss does not read.
    ArgumentError
        For metrics without a prediction node, or with a name that is taken.
    """

    def __init__(self, model: Model, source: BatchSource, n_batches: int, metrics: Mapping[str, Metric]) -> None:
        self.source, self.n_batches, self._fitting = source, n_batches, BatchCheck(model, LABEL)
        self.metrics = mapping(metrics, "metrics", "Trainer", "functions (prediction, *targets) -> float by name")
        useless = [name for name, function in self.metrics.items() if not callable(function)]
        if useless:
            raise InputTypeError(
                "a metric must be a function", where=f"metric {useless[0]}", got=repr(self.metrics[useless[0]])[:100],
                expected="(prediction, *targets) -> float",
            )  # fmt: skip
        nodes = {"loss": require_loss(model)}
        if model.error_node is not None:
            nodes["error"] = model.error_node
        taken = [name for name in self.metrics if name in nodes]
        if taken:
            raise ArgumentError("the name of a metric is taken", where=f"model {model.name}", got=taken)
        self.means = list(nodes)
        if self.metrics:
            if model.prediction_node is None:
                raise ArgumentError("metrics need a prediction node", where=f"model {model.name}", got=[*self.metrics])
            nodes["prediction"] = model.prediction_node
        self.evaluation = Evaluation(model, nodes)

    def __call__(self) -> dict[str, float]:
        """Return means over the batches: ``val_loss``, ``val_error``, and ``val_<name>`` of every metric."""
        rows: list[list[float]] = []
        for n in range(self.n_batches):
            batch = self._fitting(self.source.batch(n), n)
            values = self.evaluation(batch)
            row = [float(np.mean(values[name])) for name in self.means]
            rows.append([*row, *(self._metric(name, values["prediction"], batch) for name in self.metrics)])
        return dict(zip(self.names, np.mean(rows, axis=0).tolist(), strict=True))

    def _metric(self, name: str, prediction: np.ndarray, batch: tuple[np.ndarray, ...]) -> float:
        """Return a metric of copies, as it may modify arrays that other metrics and later validations use."""
        try:
            value = self.metrics[name](prediction.copy(), *copied(batch[1:]))
        except Exception as error:
            error.add_note(f"in the metric {name!r}")
            raise
        if np.size(value) != 1 or np.asarray(value).dtype.kind not in "biuf":
            raise ArgumentError(
                "a metric must return a number", where=f"metric {name}", got=repr(value)[:100], expected="a float"
            )
        return float(np.asarray(value).reshape(()))

    @property
    def names(self) -> list[str]:
        """Names of the values that a call returns."""
        return [f"val_{name}" for name in (*self.means, *self.metrics)]


def training_error(model: Model) -> Evaluation | None:
    """Return an evaluation of the error node on batches of the loss; None without one that needs no other data."""
    node, loss = model.error_node, require_loss(model)
    if node is None or any(source not in loss.input_nodes for source in node.input_nodes):
        return None
    return Evaluation(model, {"train_error": node})


class Measurements:
    """The last measurements of a training run: error of a training batch, and validation.

    Parameters
    ----------
    model : Model
    validation : Validation, optional
    averaged : callable, optional
        Returns the context in which parameters are their moving averages: those that are validated.

    Attributes
    ----------
    values : dict of str to float
        Empty before the first measurement.
    step : int
        Step of the last measurement; -1 before the first.
    """

    def __init__(
        self,
        model: Model,
        validation: Validation | None,
        averaged: Callable[[], AbstractContextManager[None]] | None = None,
    ) -> None:
        self.validation, self.training_error = validation, training_error(model)
        self.averaged = averaged or nullcontext
        self.values: dict[str, float] = {}
        self.step = -1

    @property
    def names(self) -> list[str]:
        """Names of the values; empty if there is nothing to measure."""
        own = list(self.training_error.nodes) if self.training_error else []
        return own + (self.validation.names if self.validation else [])

    def measure(self, step: int, batch: tuple[np.ndarray, ...]) -> dict[str, float]:
        """Measure after a step on a batch, and return the values."""
        errors = self.training_error(batch) if self.training_error else {}
        self.values = {name: float(np.mean(value)) for name, value in errors.items()}
        if self.validation is not None:
            with self.averaged():
                self.values |= self.validation()
        self.step = step
        return self.values

    def finish(self, step: int) -> None:
        """Validate at the end of a run, unless the last measurement was at this step."""
        if self.step != step and self.validation is not None:
            with self.averaged():
                self.values = self.validation()


def validation_of(
    model: Model, data: Any, batch_size: int | None, seed: int, n_batches: int, metrics: Mapping[str, Metric] | None
) -> Validation | None:
    """Return the validation on some data, after a check of its first batch; None without data."""
    if data is None:
        return None
    source = as_source(data, require_loss(model), batch_size, seed, LABEL)
    if getattr(source, "in_order", False):
        with blame(LABEL):
            source = FirstBatches(source, n_batches)
    validation = Validation(model, source, n_batches, {} if metrics is None else metrics)
    require_fitting(model, source.batch(0), LABEL)
    return validation
