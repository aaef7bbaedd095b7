"""Variational autoencoder of handwritten digits with ten Gaussian latent variables (Kingma & Welling 2014).

Train it by ``neuromancer-train examples/autoencoder.py``.
"""

from __future__ import annotations

import digits
import numpy as np

import neuromancer as nm

PIXELS, LATENT = 784, 10

n_steps = 8000
optimiser = "AdamW"
schedules = {"lr": nm.CosineSchedule(n_steps, end=1e-5, start=1e-3)}
validate_every = 500


def create_model() -> nm.Model:
    """Build the network: image -> mean and standard deviation of the code -> sample -> image."""
    model = nm.model_manager.newmodel("autoencoder")
    image = nm.Input((None, PIXELS), "b,f", name="input", print_repr=False)
    hidden = nm.Perceptron(image, 256, print_repr=False)
    mu = nm.Perceptron(hidden, LATENT, "lin", name="mu", print_repr=False)
    log_sig = nm.Perceptron(hidden, LATENT, "lin", name="log_sig", print_repr=False)
    code = nm.GaussianRV(mu, log_sig, name="code", print_repr=False)
    hidden = nm.Perceptron(code, 256, print_repr=False)
    decoded = nm.Perceptron(hidden, PIXELS, "sig", name="image", print_repr=False)
    target = nm.Input_like(decoded, name="target", print_repr=False)
    likelihood = nm.BinaryNLL(decoded, target, name="likelihood", print_repr=False)
    prior = code.make_priorlayer(print_repr=False)
    # The loss is a mean of means; these weights turn it into half the sum over pixels and latent variables.
    loss = nm.AggregateLoss([likelihood, prior], mixing_weights=[PIXELS, LATENT], name="loss", print_repr=False)
    model.designate_nodes("input", target, loss, decoded)
    return model


def create_data(model: nm.Model) -> tuple[digits.Batches, digits.Batches]:
    """Return batches of digits as vectors, which are their own targets."""

    def flat(images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return (images.reshape(-1, PIXELS),) * 2

    return digits.split(flat, size=64)
