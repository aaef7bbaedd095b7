"""Dense prediction: apply a network at every voxel of a volume of any size.

Flow: volume -> plan -> tiles (from the network's geometry) -> nodes in dense form -> volume.
"""

from __future__ import annotations

from neuromancer.dense.pipeline import Threads
from neuromancer.dense.plan import DensePlan
from neuromancer.dense.predict import plan_dense, predict_dense
from neuromancer.dense.sliding_window import SlidingWindow

__all__ = ["DensePlan", "SlidingWindow", "Threads", "plan_dense", "predict_dense"]
