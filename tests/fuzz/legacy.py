"""Pickles in the format of the original library, for mutation."""

from __future__ import annotations

import pickle
import sys
import types
from collections import OrderedDict
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

REFERENCE = Path(__file__).parents[1] / "reference" / "legacy"


def legacy_pickles() -> list[bytes]:
    """Return a small pickle with every kind of argument, three times, and a real file of the original library."""
    files = sorted(REFERENCE.glob("*.mdl"), key=lambda p: p.stat().st_size)
    return [*(_written() for _ in range(3)), *(p.read_bytes() for p in files[:1])]


def _written() -> bytes:
    modules: dict[str, types.ModuleType] = {}

    def thing(module: str, name: str, **state: Any) -> Any:
        for k in range(1, module.count(".") + 2):
            part = ".".join(module.split(".")[:k])
            modules.setdefault(part, types.ModuleType(part))
        cls = getattr(modules[module], name, None) or type(name, (), {"__module__": module})
        setattr(modules[module], name, cls)
        made = cls()
        vars(made).update(state)
        return made

    manager, neural = "elektronn2.neuromancer.graphmanager", "elektronn2.neuromancer.neural"
    descriptors: OrderedDict[str, Any] = OrderedDict()

    def node(name: str, cls: str, *args: Any, values: Any = (), **kwargs: Any) -> Any:
        kind = type(thing(neural, cls))
        described = thing(manager, "NodeDescriptor", cls=kind, args=list(args), kwargs={**kwargs, "name": name})
        descriptors[name] = [described, OrderedDict(values)]
        return thing(manager, "NodePointer", target_id=name)

    raw = node("raw", "Input", [1, 2, np.int64(6), 6], "b,f,y,x")
    w = np.ones((3, 2, 3, 3), "float32")
    conv = node("conv", "Conv", raw, 3, (3, 3), (2, 2), values={"w": w, "b": np.zeros(3)})
    tanh = thing("theano.tensor.elemwise", "Elemwise", scalar_op=thing("theano.scalar.basic", "Tanh"), nfunc_spec=None)
    squashed = node("squashed", "ApplyFunc", conv, tanh, [], {})
    node("both", "Concat", [conv, squashed], axis="f")
    one = thing(manager, "ParamPointer", target_id="conv", target_param="w")
    node("two", "Conv", raw, 3, [3, 3], w=one, values={"b": np.ones(3, ">f8")})
    node("const", "ValueNode", (1, 2), "b,f", values={"value": np.array([[1.0, 2.0]], order="F")})
    state = {"node_id": "raw", "func": None, "args": [raw], "kwargs": {"n_out": 2}}
    descriptors["halves"] = thing(manager, "SplitDescriptor", **state)
    with patch.dict(sys.modules, modules):
        return pickle.dumps((descriptors, {"input_node": "raw", "prediction_node": "conv"}), protocol=2)
