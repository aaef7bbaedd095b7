"""Width of the vectors of channels that the compiled kernels compute with."""

from __future__ import annotations

LANES = 16
"""float32 channels per vector: one register of 512 bits, or several narrower ones."""
PAIR = 2 * LANES
"""float32 values of a complex vector: the real parts of LANES channels, then their imaginary parts."""
CACHE_LINE = 64
"""Size in bytes: alignment of vectors that bypass the caches."""
