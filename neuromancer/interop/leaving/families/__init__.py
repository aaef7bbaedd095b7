"""What nodes compute, one family per file; importing this package registers all of them."""

from __future__ import annotations

from neuromancer.interop.leaving.families import (
    activations,
    convolutions,
    features,
    fragments,
    functions,
    inputs,
    merges,
    normalisations,
    pools,
    recurrent,
    space,
)

__all__ = [
    "activations",
    "convolutions",
    "features",
    "fragments",
    "functions",
    "inputs",
    "merges",
    "normalisations",
    "pools",
    "recurrent",
    "space",
]
