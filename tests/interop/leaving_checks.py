"""Networks that leave, and comparison of their gradients and statistics with those of modules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

import neuromancer as nm
from neuromancer import engine as E
from neuromancer.graph.rebuild import rebuild
from neuromancer.graph.window import BuildMode
from tests.fuzz import zoo

QUIET = {"print_repr": False}
FAMILIES = [family for family in zoo.FAMILIES if family.__name__ != "trained"]

TRAINING, RANDOM = "belongs to the training", "draws random numbers"
STAYS = {
    "GenericInput": "takes any Python object",
    "GaussianRV": RANDOM,
    "GaussianAEVBPrior": TRAINING,
    "FromTensor": "an expression of the user's",
    **dict.fromkeys(
        "AbsLoss AggregateLoss BetaNLL BinaryNLL BlockedMultinoulliNLL BoundaryLoss Classification DeepSupervision "
        "DiceCE DiceFocal ErrorRate Errors EuclideanDistance Focal GaussianNLL GeneralisedDice LabelsAt MalisNLL "
        "MultinoulliNLL OneHot RampLoss SobelizedLoss SoftDice SquaredLoss Tversky".split(),
        TRAINING,
    ),
}
"""Classes of nodes that cannot leave, and why; of FromTensor, those that are not parts of a split."""


def can_leave(node: Any) -> bool:
    return type(node).__name__ not in STAYS or getattr(node, "taken", None) is not None


def leaving(node: Any) -> bool:
    """Whether a node and all its ancestors can leave."""
    return all(can_leave(n) for n in node.sub_graph())


@contextmanager
def model(make: Callable[[], Any], *args: Any, **kwargs: Any) -> Iterator[Any]:
    """A model of its own for a network, which is yielded together with what made it."""
    nm.seed(3)
    made = nm.model_manager.newmodel(None)
    try:
        yield made, make(*args, **kwargs)
    finally:
        nm.model_manager.delmodel(made.name)


def shapes_of(node: Any, **unknown: int) -> list[tuple[int, ...]]:
    """Shapes of the sources; open sizes are those given by tag."""
    return [
        tuple(unknown[t] if n is None else n for t, n in zip(s.shape.tags, s.shape.shape, strict=True))
        for s in node.input_nodes
    ]


def data(node: Any, seed: int = 0, **unknown: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    dtypes = [s.output.dtype for s in node.input_nodes]
    return [rng.standard_normal(shape).astype(d) for shape, d in zip(shapes_of(node, **unknown), dtypes, strict=True)]


def close(found: Any, wanted: Any, tolerance: float = 1e-5, floor: float = 0.0) -> None:
    """Compare by the largest value, or by `floor` if that is larger."""
    found, wanted = np.asarray(found, "float64"), np.asarray(wanted, "float64")
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max(initial=0) <= tolerance * max(floor, np.abs(wanted).max(initial=0))


def gradients(
    node: Any, arrays: list[np.ndarray], training: bool
) -> tuple[Any, list[Any], dict[Any, Any], dict[Any, Any]]:
    """Value of a node, gradients of a weighted sum of it by its sources and parameters, and new running statistics."""
    form = node if training else rebuild([node], BuildMode(inference=True))[node]
    sources = [s.output for s in node.input_nodes if "float" in s.output.dtype]
    params = list(dict.fromkeys(node.all_trainable_params.values()))
    with E.building():
        rng = np.random.default_rng(1)
        shape = node.infer(*arrays).shape
        factors = E.constant(rng.standard_normal(shape).astype(form.output.dtype))
        found = E.grad((form.output * factors).sum(), [*sources, *params])
        updates = dict(node.all_extra_updates) if training else {}
        given = [(w, g) for w, g in zip([*sources, *params], found, strict=True) if g is not None]
        f = E.function(node.input_tensors, [form.output, *(g for _, g in given), *updates.values()])
    value, *rest = f(*arrays)
    by = dict(zip([w for w, _ in given], rest, strict=False))
    statistics = dict(zip(updates, rest[len(given) :], strict=True))
    return value, [by.get(s) for s in sources], {p: by.get(p) for p in params}, statistics


def check_module(node: Any, module: Any = None, training: bool = False, tolerance: float = 1e-5, **unknown: int) -> Any:
    """Compare values, gradients and running statistics of a node and its module; return the module."""
    module = nm.to_torch(node) if module is None else module
    module.train(training).zero_grad()
    arrays = data(node, **unknown)
    value, by_source, by_param, statistics = gradients(node, arrays, training)
    tensors = [torch.from_numpy(a).requires_grad_(a.dtype.kind == "f") for a in arrays]
    out = module(*tensors)
    close(out.detach().numpy(), value, tolerance)
    factors = torch.from_numpy(np.random.default_rng(1).standard_normal(value.shape).astype(value.dtype))
    (out * factors).sum().backward()
    for tensor, wanted in zip((t for t in tensors if t.requires_grad), by_source, strict=True):
        if wanted is not None:
            close(tensor.grad.numpy(), wanted, tolerance)
    _check_parameters(node, module, by_param, statistics, tolerance)
    return module.eval()


def _check_parameters(node: Any, module: Any, by_param: Any, statistics: Any, tolerance: float) -> None:
    """Set the parameters to their gradients: those of a module made then are the gradients of the first."""
    before = {p: p.get_value() for p in [*by_param, *statistics]}
    try:
        for p, gradient in by_param.items():
            p.set_value(np.zeros_like(before[p]) if gradient is None else gradient)
        for p, new in statistics.items():
            p.set_value(new)
        wanted = nm.to_torch(node)
    finally:
        for p, value in before.items():
            p.set_value(value)
    largest = max([0.0, *(float(np.abs(g).max()) for g in by_param.values() if g is not None)])
    trained = dict(module.named_parameters())
    assert list(trained) == list(dict(wanted.named_parameters()))
    for name, parameter in wanted.named_parameters():
        if trained[name].requires_grad:
            found = trained[name].grad
            found = torch.zeros_like(parameter) if found is None else found
            close(found.numpy(), parameter.detach().numpy(), tolerance, floor=largest)
    for name, buffer in wanted.named_buffers():
        if "running" in name:
            close(dict(module.named_buffers())[name].numpy(), buffer.numpy(), tolerance)
