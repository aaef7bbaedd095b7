"""Dense prediction: apply a network at every voxel of a volume of any size.

Flow: volume -> plan -> tiles (from the network's geometry) -> nodes in dense form -> volume.
"""

from __future__ import annotations

from neuromancer.dense.pipeline import Threads
from neuromancer.dense.plan import DensePlan
from neuromancer.dense.predict import plan_dense, predict_dense

__all__ = ["DensePlan", "Threads", "plan_dense", "predict_dense"]
