"""Parameters of a module under construction: which are the same, and where they are."""

from __future__ import annotations

import keyword
import re
from typing import Any

import torch
from torch import Tensor, fx, nn

from neuromancer.interop.leaving.registry import Unsupported
from neuromancer.interop.leaving.weights import Steps, Weight

_EMPTY = fx.GraphModule(nn.Module(), fx.Graph())
"""Has what every module has, whose names are taken."""


class Tree:
    """Modules by paths that are names of nodes, whose dots are levels."""

    def __init__(self) -> None:
        self.root = nn.Module()

    def free(self, name: str) -> str:
        """Return an unused path for a name."""
        parts = [re.sub(r"\W", "_", part, flags=re.ASCII) or "_" for part in name.split(".")]
        parts = [f"{part}_" if keyword.iskeyword(part) or hasattr(_EMPTY, part) else part for part in parts]
        owner: Any = self.root
        for k, part in enumerate(parts[:-1]):
            inner = getattr(owner, part, None)
            if inner is not None and type(inner) is not nn.Module:
                # A layer has no room for others.
                parts = [*parts[:k], "_".join(parts[k:])]
                break
            if inner is None:
                break
            owner = inner
        path, count = ".".join(parts), 1
        while self._taken(path):
            count += 1
            path = f"{'.'.join(parts)}_{count}"
        return path

    def _taken(self, path: str) -> bool:
        owner, _, key = self._owner(path, make=False)
        return owner is not None and hasattr(owner, key)

    def _owner(self, path: str, make: bool) -> tuple[Any, str, str]:
        *folders, key = path.split(".")
        owner: Any = self.root
        for part in folders:
            if not hasattr(owner, part):
                if not make:
                    return None, path, key
                owner.add_module(part, nn.Module())
            owner = getattr(owner, part)
        return owner, path, key

    def put(self, path: str, item: Any) -> None:
        """Put a module, parameter or buffer at a path."""
        owner, _, key = self._owner(path, make=True)
        if isinstance(item, nn.Module):
            owner.add_module(key, item)
        elif isinstance(item, nn.Parameter):
            owner.register_parameter(key, item)
        else:
            owner.register_buffer(key, item)


class Parameters:
    """All parameters so far, by what they are views of."""

    def __init__(self) -> None:
        self._homes: dict[tuple[int, Steps], nn.Parameter] = {}
        self._of_source: dict[int, set[Steps]] = {}
        self._kept: list[Any] = []

    def get(self, weight: Weight) -> nn.Parameter | None:
        """Return the parameter that has the values of a weight: a new one, or the same for equal weights.

        Returns
        -------
        Parameter or None
            None if another view of the same source is a parameter already, so that this one has to be computed.
        """
        if weight.computed:
            raise Unsupported(f"its parameter {weight.name} is an expression of others")
        found = self._homes.get(weight.key)
        if found is not None:
            return found
        views = self._of_source.get(id(weight.source), set())
        if any(_overlap(weight.steps, steps) for steps in views):
            return None
        parameter = nn.Parameter(tensor_of(weight), requires_grad=weight.trained)
        self.put(weight, parameter)
        return parameter

    def put(self, weight: Weight, parameter: nn.Parameter) -> None:
        """Enter a parameter."""
        self._homes[weight.key] = parameter
        self._of_source.setdefault(id(weight.source), set()).add(weight.steps)
        self._kept.append(weight)

    def other(self, weight: Weight) -> tuple[nn.Parameter, Steps]:
        """Return a parameter that is another view of the same source, and the steps from it to this view."""
        for steps in self._of_source[id(weight.source)]:
            back = inverse(steps)
            if back is not None:
                return self._homes[id(weight.source), steps], (*back, *weight.steps)
        raise Unsupported(f"its parameter {weight.name} is shared in parts")


def tensor_of(weight: Weight) -> Tensor:
    """Return a copy of the values of a weight."""
    return torch.from_numpy(weight.array.copy())


def _overlap(a: Steps, b: Steps) -> bool:
    """Whether two views of a source may have elements in common: not if they take different columns at first."""
    first, second = (s[0][1] if s and s[0][0] == "slice" else () for s in (a, b))
    return not any(isinstance(i, int) and isinstance(j, int) and i != j for i, j in zip(first, second, strict=False))


def inverse(steps: Steps) -> Steps | None:
    """Return the steps that revert others; None if these leave something out."""
    back: list[tuple[str, tuple[Any, ...]]] = []
    for kind, content in reversed(steps):
        if kind == "transpose":
            kept = [axis for axis in content if axis != "x"]
            if "x" in content:
                back.append(("slice", tuple(0 if axis == "x" else (None, None, None) for axis in content)))
            back.append(("transpose", tuple(kept.index(k) for k in range(len(kept)))))
        elif all(part in ((None, None, None), (None, None, -1)) for part in content):
            back.append((kind, content))
        else:
            return None
    return tuple(back)
