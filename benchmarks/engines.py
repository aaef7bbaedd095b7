"""Print the import, compile and run times of one engine on the network ``neuro3d``, as a line of JSON.

The environment determines the engine: ``.venv/bin/python benchmarks/engines.py``, or
``NEUROMANCER_ENGINE=theano .venv-theano/bin/python benchmarks/engines.py``. docs/engines.md shows both.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "examples")]


def timed(function: Callable[..., Any], *args: Any) -> float:
    """Return the seconds of one run."""
    start = time.perf_counter()
    function(*args)
    return time.perf_counter() - start


def measure(runs: int) -> dict[str, float]:
    """Return the seconds of first runs, and the medians of later ones."""
    start = time.perf_counter()
    import neuro3d

    import neuromancer.public  # noqa: F401 (otherwise imported with the first node)

    times = {"import": time.perf_counter() - start}
    start = time.perf_counter()
    model = neuro3d.create_model()
    times["build the nodes"] = time.perf_counter() - start
    probs, target = model["probs"], model["target"]
    rng = np.random.default_rng(0)
    patch = rng.random((1, *probs.input_nodes[0].shape.shape[1:]), "float32")
    volume = rng.random((1, 24, 188, 188), "float32")
    labels = rng.integers(0, 2, (1, *target.shape.shape[1:])).astype("int16")
    steps: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
        "call": (probs, (patch,)),
        "dense": (probs.predict_dense, (volume,)),
        "training step": (lambda *batch: model.trainingstep(*batch, optimiser="Adam"), (patch, labels)),
    }
    for name, (function, args) in steps.items():
        times[f"first {name}"] = timed(function, *args)
        times[name] = median(timed(function, *args) for _ in range(runs))
    return times


if __name__ == "__main__":
    engine = os.environ.get("NEUROMANCER_ENGINE", "pytensor")
    times = measure(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
    print(json.dumps({"engine": engine, **{key: round(value, 3) for key, value in times.items()}}))
