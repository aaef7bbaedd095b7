"""The ways to evaluate a network at every voxel: tile by tile, by given statistics, or over a sliding window."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from neuromancer.dense.frozen import network_for
from neuromancer.dense.gathered import Frozen
from neuromancer.dense.network import DenseNetwork
from neuromancer.dense.options import PredictOptions
from neuromancer.dense.plan import DensePlan
from neuromancer.dense.plan_builder import PlanBuilder
from neuromancer.dense.postprocess import Postprocess
from neuromancer.dense.sliding.builder import SlidingBuilder
from neuromancer.dense.sliding.evaluator import SlidingEvaluator
from neuromancer.dense.sliding.network import PatchNetwork, patch_network
from neuromancer.dense.sliding.plan import SlidingPlan
from neuromancer.dense.sliding_window import SlidingWindow
from neuromancer.dense.tile_evaluator import TileEvaluator
from neuromancer.graph.node import GraphNode


def network_of(
    nodes: Sequence[GraphNode], window: SlidingWindow | None = None, form: Frozen | None = None
) -> DenseNetwork:
    """Return nodes in the form in which they are evaluated, built once."""
    return network_for(nodes, form) if window is None else patch_network(nodes, window)


def builder_of(
    network: DenseNetwork,
    raw_shape: Sequence[int],
    raw_dtype: np.dtype,
    options: PredictOptions,
    workers: int,
    threads: int,
) -> PlanBuilder | SlidingBuilder:
    """Return the builder of plans for a network; see `PlanBuilder` and `SlidingBuilder`."""
    if isinstance(network, PatchNetwork) and options.sliding_window is not None:
        return SlidingBuilder(network, raw_shape, raw_dtype, options, options.sliding_window, workers, threads)
    return PlanBuilder(network, raw_shape, raw_dtype, options)


def evaluator_of(
    plan: DensePlan,
    postprocess: Postprocess,
    network: DenseNetwork,
    source: Any,
    mask: Any,
    folder: Path | None = None,
    **options: Any,
) -> TileEvaluator:
    """Return the evaluator of a plan; `folder` is that of the journal, or another one for what exceeds the memory."""
    if isinstance(plan, SlidingPlan):
        return SlidingEvaluator(plan, postprocess, network, source, mask, folder=folder, **options)
    return TileEvaluator(plan, postprocess, network, source, mask, folder=folder, **options)
