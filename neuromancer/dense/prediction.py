"""The choice between the ways to predict that the options ask for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from neuromancer.dense.checks import depend_on_all
from neuromancer.dense.evaluation import network_of
from neuromancer.dense.options import PredictOptions
from neuromancer.dense.run import PredictionRun
from neuromancer.dense.volume import VolumePrediction
from neuromancer.dense.workers import WorkerPool
from neuromancer.graph.node import GraphNode


def prediction(
    nodes: Sequence[GraphNode], raw: Any, options: PredictOptions, pool: WorkerPool | None = None
) -> PredictionRun | VolumePrediction:
    """Return a prediction, ready to be executed; a context manager that closes what it opened."""
    if options.statistics == "volume" and depend_on_all(nodes):
        return VolumePrediction(nodes, raw, options, pool)
    return PredictionRun(network_of(nodes, options.sliding_window), raw, options, pool)
