"""Write a model file with the engine in use, and the model's prediction, for `test_engines`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import neuromancer as nm
from neuromancer import engine as E

FOLDER = Path(__file__).parent


def build() -> nm.Model:
    """Convolutions, pooling, batch normalisation, dropout, an up-convolution, a function of the engine, a loss."""
    nm.seed(4)
    model = nm.model_manager.newmodel("engines")
    raw = nm.Input((None, 2, 12, 14), "b,f,y,x", name="raw", print_repr=False)
    x = nm.Conv(raw, 4, (3, 3), (2, 2), batch_normalisation="train", print_repr=False)
    x = nm.Conv(x, 3, (2, 3), activation_func="tanh", dropout_rate=0.2, print_repr=False)
    x = nm.UpConv(x, 3, (2, 2), print_repr=False)
    x = nm.ApplyFunc(x, nm.T.tanh, print_repr=False)
    probs = nm.Softmax(nm.Conv(x, 2, (1, 1), activation_func="lin", print_repr=False), name="probs", print_repr=False)
    target = nm.Input_like(probs, override_f=1, dtype="int16", name="target", print_repr=False)
    nll = nm.MultinoulliNLL(probs, target, target_is_sparse=True, print_repr=False)
    loss = nm.AggregateLoss(nll, name="loss", print_repr=False)
    model.designate_nodes(raw, target, loss, probs)
    return model


def data() -> tuple[np.ndarray, np.ndarray]:
    """A batch of random data and labels."""
    rng = np.random.default_rng(0)
    return rng.random((3, 2, 12, 14), "float32"), rng.integers(0, 2, (3, 1, 8, 8)).astype("int16")


def main() -> None:
    """Train a few steps, and write model and prediction."""
    model = build()
    for _ in range(3):
        model.trainingstep(*data(), optimiser="Adam")
    model.save(FOLDER / f"{E.NAME}.mdl")
    np.save(FOLDER / f"{E.NAME}.npy", model.predict(data()[0]))


if __name__ == "__main__":
    main()
