"""A PyTorch module under construction: its graph, and the modules and parameters that it calls."""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable
from dataclasses import replace
from operator import getitem
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from neuromancer.interop.leaving.registry import Unsupported
from neuromancer.interop.leaving.weights import Steps, Weight
from neuromancer.interop.pytorch.leaving.parameters import Parameters, Tree, inverse, tensor_of


class ModuleBuilder:
    """Collects calls of functions and modules, and names them after the nodes of the network."""

    def __init__(self) -> None:
        self.graph = fx.Graph()
        self.parameters = Parameters()
        self._tree = Tree()
        self._items: dict[tuple[str, int], str] = {}
        self._places: dict[int, str] = {}
        self._buffers: dict[Any, torch.Tensor] = {}
        self._kept: list[Any] = []
        self._arguments: set[str] = set()
        self._stem, self._count = "", 0

    def begin(self, stem: str) -> None:
        """Name the following calls after a node."""
        self._stem, self._count = stem, 0

    def argument(self, name: str) -> fx.Node:
        """Add an argument of the module."""
        word = re.sub(r"\W", "_", name, flags=re.ASCII)
        word = f"_{word}" if not word or word[0].isdigit() or keyword.iskeyword(word) or word == "self" else word
        return self.graph.placeholder(_free(word, self._arguments))

    # ---- calls
    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> fx.Node:
        """Call a function."""
        name = re.sub(r"\W", "_", f"{self._stem}_{getattr(function, '__name__', 'call').strip('_')}", flags=re.ASCII)
        return self.graph.create_node("call_function", function, args, kwargs, name)

    def method(self, name: str, *args: Any) -> fx.Node:
        """Call a method of the first argument."""
        label = re.sub(r"\W", "_", f"{self._stem}_{name}", flags=re.ASCII)
        return self.graph.create_node("call_method", name, args, {}, label)

    def module(self, make: Callable[[], nn.Module], *args: Any) -> fx.Node:
        """Call a module; made only once where nodes are repeated."""
        return self.graph.call_module(self._item(make), args)

    def attribute(self, make: Callable[[], torch.Tensor], name: str | None = None) -> fx.Node:
        """Read a buffer; made only once where nodes are repeated."""
        return self.graph.get_attr(self._item(make, name))

    def _item(self, make: Callable[[], Any], name: str | None = None) -> str:
        key = (self._stem, self._count)
        self._count += 1
        if key not in self._items:
            item = make()
            kind = type(item).__name__ if isinstance(item, nn.Module) else "buffer"
            kind = re.sub(r"(\dd)?$", "", kind).lower()
            path = self._tree.free(name or (self._stem if key[1] == 0 else f"{self._stem}_{kind}"))
            self._tree.put(path, item)
            self._items[key] = path
            if isinstance(item, nn.Module):
                for own, parameter in item.named_parameters():
                    self._places.setdefault(id(parameter), f"{path}.{own}")
        return self._items[key]

    # ---- parameters
    def owned(self, weight: Weight | None) -> nn.Parameter | None:
        """Return the parameter of a module for a weight; None if it has to be computed from another parameter."""
        if weight is None or (inverse(weight.steps) is None and not _is_column(weight.steps)):
            return None
        return self.parameters.get(weight)

    def require(self, weight: Weight) -> nn.Parameter:
        """Return the parameter of a module for a weight.

        Raises
        ------
        Unsupported
            If it has to be computed from another parameter.
        """
        found = self.owned(weight)
        if found is None:
            raise Unsupported(f"its parameter {weight.name} is shared as a view")
        return found

    def buffer(self, weight: Weight) -> torch.Tensor:
        """Return the buffer for statistics, the same for the same ones."""
        if weight.computed:
            raise Unsupported(f"its parameter {weight.name} is an expression of others")
        if weight.key not in self._buffers:
            self._buffers[weight.key] = tensor_of(weight)
            self._kept.append(weight)
        return self._buffers[weight.key]

    def value(self, weight: Weight) -> fx.Node:
        """Read a parameter, or compute a view of one."""
        floats = np.issubdtype(weight.array.dtype, np.floating)
        if not floats or isinstance(weight.source, np.ndarray):
            return self.attribute(lambda: tensor_of(weight), weight.name)
        parameter, steps = self.owned(weight), ()  # type: tuple[nn.Parameter | None, Steps]
        if parameter is None:
            whole = replace(weight, steps=())
            parameter = self.parameters.get(whole)
            steps = weight.steps
        if parameter is None:
            parameter, steps = self.parameters.other(weight)
        if id(parameter) not in self._places:
            path = self._tree.free(weight.name)
            self._tree.put(path, parameter)
            self._places[id(parameter)] = path
        return self._viewed(self.graph.get_attr(self._places[id(parameter)]), steps)

    def _viewed(self, x: fx.Node, steps: Steps) -> fx.Node:
        for kind, content in steps:
            if kind == "transpose":
                kept = [axis for axis in content if axis != "x"]
                x = x if kept == sorted(kept) else self.method("permute", x, *kept)
                for k, axis in enumerate(content):
                    x = self.method("unsqueeze", x, k) if axis == "x" else x
                continue
            backwards = [k for k, part in enumerate(content) if isinstance(part, tuple) and (part[2] or 1) < 0]
            if any(content[k] != (None, None, -1) for k in backwards):
                raise Unsupported("a parameter is shared backwards in parts")
            x = self.call(torch.flip, x, backwards) if backwards else x
            index = tuple(
                slice(None) if k in backwards else slice(*part) if isinstance(part, tuple) else part
                for k, part in enumerate(content)
            )
            x = x if all(part == slice(None) for part in index) else self.call(getitem, x, index)
        return x

    # ---- result
    def finish(self, result: Any, name: str) -> fx.GraphModule:
        """Return the module."""
        self.graph.output(result)
        return fx.GraphModule(self._tree.root, self.graph, re.sub(r"\W", "_", f"Network_{name}", flags=re.ASCII))


def _free(name: str, taken: set[str]) -> str:
    new, count = name, 1
    while new in taken:
        count += 1
        new = f"{name}_{count}"
    taken.add(new)
    return new


def _is_column(steps: Steps) -> bool:
    """Whether a view is one column of a matrix, such as the bias or the slopes of prelu."""
    return len(steps) == 1 and steps[0][0] == "slice" and sum(isinstance(i, int) for i in steps[0][1]) == 1
