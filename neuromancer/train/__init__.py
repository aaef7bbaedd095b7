"""Training: meta-parameters, optimisers and statistics."""

from __future__ import annotations
