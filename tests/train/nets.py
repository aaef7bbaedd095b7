"""Small models and data for tests of the training loop."""

from __future__ import annotations

import numpy as np

import neuromancer as nm


def classifier(name: str = "net", noise: float = 0.0, normalise: bool | str = False) -> nm.Model:
    """Classifier of pixels into two classes, optionally with dropout and batch normalisation."""
    nm.seed(3)
    if name in nm.model_manager.models:
        nm.model_manager.delmodel(name)
    model = nm.model_manager.newmodel(name)
    inp = nm.Input((2, 1, 10, 10), "b,f,y,x", name="input", print_repr=False)
    options = {"dropout_rate": noise, "batch_normalisation": normalise, "print_repr": False}
    out = nm.Conv(inp, 4, (3, 3), (2, 2), **options)
    out = nm.Conv(out, 2, (1, 1), activation_func="lin", print_repr=False)
    probs = nm.Softmax(out, name="probs", print_repr=False)
    target = nm.Input_like(probs, override_f=1, dtype="int16", name="target", print_repr=False)
    nll = nm.MultinoulliNLL(probs, target, target_is_sparse=True, name="nll", print_repr=False)
    loss = nm.AggregateLoss([nll], name="loss", print_repr=False)
    errors = nm.Errors(probs, target, target_is_sparse=True, name="errors", print_repr=False)
    model.designate_nodes("input", target, loss, probs, error_node=errors)
    return model


class Squares:
    """Bright squares are class 1; batches depend on seed and step."""

    def __init__(self, seed: int = 0, spoil: int | None = None) -> None:
        self.seed, self.spoil = seed, spoil

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng([self.seed, step])
        labels = rng.integers(0, 2, (2, 1, 4, 4)).astype("int16")
        raw = rng.normal(size=(2, 1, 10, 10)).astype("float32") * 0.3
        raw[:, :, 1:9, 1:9] += np.kron(labels, np.ones((2, 2)))
        if step == self.spoil:
            raw[0, 0, 0, 0] = np.nan
        return raw, labels


def parameters(model: nm.Model) -> list[np.ndarray]:
    """All values that training changes."""
    return model.get_param_values(as_list=True)


def line(name: str | None = None, size: int | None = 4) -> nm.Model:
    """Linear model of one number: the smallest model that learns."""
    nm.seed(3)
    if name in nm.model_manager.models:
        nm.model_manager.delmodel(name)
    model = nm.model_manager.newmodel(name)
    x = nm.Input((size, 1), "b,f", name="x", print_repr=False)
    y = nm.Perceptron(x, 1, activation_func="lin", name="y", print_repr=False)
    t = nm.Input_like(y, name="t", print_repr=False)
    loss = nm.AggregateLoss(nm.SquaredLoss(y, t, print_repr=False), name="loss", print_repr=False)
    model.designate_nodes("x", t, loss, y)
    return model


def points(n: int = 50) -> tuple[np.ndarray, np.ndarray]:
    """Points of a line, for :func:`line`."""
    x = np.linspace(-1, 1, n, dtype="float32")[:, None]
    return x, 3 * x
