"""Dense prediction: the answer of a network at every voxel of a volume of any size.

Flow: volume -> tiles (from the network's geometry) -> node in its dense form -> volume.
"""

from __future__ import annotations

from neuromancer.dense.predict import predict_dense

__all__ = ["predict_dense"]
