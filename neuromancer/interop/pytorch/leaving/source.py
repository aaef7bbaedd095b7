"""Modules of networks of nodes: built and compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import fx

from neuromancer.errors import TranslationError, reason, short
from neuromancer.interop.leaving.probe import Probe
from neuromancer.interop.leaving.translation import translate
from neuromancer.interop.pytorch.leaving.target import TorchTarget
from neuromancer.nodes.node import Node


def module_of(nodes: Sequence[Node], name: str) -> fx.GraphModule:
    """Translate nodes into a module, and compare it with them.

    Raises
    ------
    GraphError
        If nodes have no counterpart.
    TranslationError
        If the module computes something else.
    """
    target = TorchTarget(name)
    values = [v[0] if isinstance(v, list) else v for v in translate(target, nodes)]
    module = target.builder.finish(values[0] if len(values) == 1 else tuple(values), name).eval()
    probe = Probe(nodes, name)

    def run(arrays: list[np.ndarray]) -> list[np.ndarray]:
        tensors = [torch.from_numpy(array) for array in arrays]
        try:
            with torch.no_grad():
                result: Any = module(*tensors)
        except Exception as error:
            raise TranslationError(
                "PyTorch cannot evaluate the translation",
                where=name,
                got=short(reason(error), 300),
                expected="nodes whose operations it has",
            ) from error
        return [t.detach().numpy() for t in (result if isinstance(result, tuple) else (result,))]

    probe.compare(run, "PyTorch")
    return module
