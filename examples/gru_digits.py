"""Recurrent network that classifies handwritten digits row by row: a GRU over 28 rows of 28 pixels.

Train it by ``neuromancer-train examples/gru_digits.py``.
"""

from __future__ import annotations

from typing import Any

import digits
import numpy as np

import neuromancer as nm

STATES = 96

n_steps = 3000
optimiser = "AdamW"
schedules = {"lr": nm.CosineSchedule(n_steps, end=1e-5, start=2e-3)}
validate_every = 250


def create_model() -> nm.Model:
    """Build the network: a scan over the rows, then a linear layer on the last state."""
    model = nm.model_manager.newmodel("gru_digits")
    rows = nm.Input((28, None, 28), "r,b,f", name="input", print_repr=False)
    first, _ = nm.split(rows, "r", index=1, strip_singleton_dims=True)
    memory = nm.InitialState_like(first, STATES, print_repr=False)
    step = nm.GRU(first, memory, STATES, name="step", print_repr=False)
    last: Any = nm.Scan(
        step, memory, in_iterate=rows, in_iterate_0=first, unroll_scan=False, last_only=True, name="last"
    )
    probs = nm.Softmax(nm.Perceptron(last, 10, "lin", print_repr=False), name="probs", print_repr=False)
    target = nm.Input_like(probs, "int16", override_f=1, name="target", print_repr=False)
    nll = nm.MultinoulliNLL(probs, target, target_is_sparse=True, print_repr=False)
    loss = nm.AggregateLoss([nll], name="loss", print_repr=False)
    errors = nm.Errors(probs, target, target_is_sparse=True, name="errors", print_repr=False)
    model.designate_nodes("input", target, loss, probs, prediction_ext=[loss, errors, probs], error_node=errors)
    model.clip_norm = 1.0
    return model


def create_data(model: nm.Model) -> tuple[digits.Batches, digits.Batches]:
    """Return batches of digits as sequences of rows, (r, b, f)."""
    return digits.split(lambda images, labels: (np.ascontiguousarray(images[:, 0].swapaxes(0, 1)), labels))
