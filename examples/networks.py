"""Shared by the network examples: chains of convolutions, and the output layers and roles of a voxel classifier."""

from __future__ import annotations

from collections.abc import Sequence

import neuromancer as nm

Kernel = tuple[int, int, int]
CUBE: Kernel = (3, 3, 3)


def chain(parent: nm.Node, layers: Sequence[tuple[int, Kernel, Kernel | None]]) -> nm.Node:
    """Append convolutions, each given by features, kernel and pool."""
    for n_f, kernel, pool in layers:
        parent = nm.Conv(parent, n_f, kernel, pool, print_repr=False)
    return parent


def double_conv(parent: nm.Node, first: int, second: int, kernel: Kernel = CUBE) -> nm.Node:
    """Append two convolutions of the same kernel size."""
    return chain(parent, [(first, kernel, None), (second, kernel, None)])


def classifier(model: nm.Model, features: nm.Node, n_classes: int = 2) -> nm.Model:
    """Append class probabilities, loss and error rate, and designate all roles."""
    barr = nm.Conv(features, n_classes, (1, 1, 1), activation_func="lin", name="barr", print_repr=False)
    probs = nm.Softmax(barr, name="probs", print_repr=False)
    target = nm.Input_like(probs, override_f=1, name="target", dtype="int16", print_repr=False)
    nll = nm.MultinoulliNLL(probs, target, target_is_sparse=True, name="nll", print_repr=False)
    loss = nm.AggregateLoss([nll], name="loss", print_repr=False)
    errors = nm.Errors(probs, target, target_is_sparse=True, name="errors", print_repr=False)
    model.designate_nodes("input", target, loss, probs, prediction_ext=[loss, errors, probs], error_node=errors)
    return model
