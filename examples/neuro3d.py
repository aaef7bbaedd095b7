"""A deep 3-D network for neuron membranes: eleven convolutions, 2.8 million parameters, strides (2, 4, 4).

Builds the network, prints what each node is, and runs it once on random data of the declared size.
"""

from __future__ import annotations

import neuromancer as nm

# Features, kernel and pool of each layer, axes z, x, y; the last two layers are dense at every position.
LAYERS = [
    (20, (1, 6, 6), (1, 2, 2)),
    (30, (1, 5, 5), (1, 2, 2)),
    (40, (1, 5, 5), None),
    (80, (4, 4, 4), (2, 1, 1)),
    (100, (3, 4, 4), None),
    (100, (3, 4, 4), None),
    (150, (2, 4, 4), None),
    (200, (1, 4, 4), None),
    (200, (1, 4, 4), None),
    (200, (1, 1, 1), None),
]


def build(patch: tuple[int, int, int] = (23, 185, 185), print_repr: bool = True, name: str = "neuro3d") -> nm.Model:
    """The network as a new model with all roles designated.

    Parameters
    ----------
    patch : tuple of int
        Input size (z, x, y).
    print_repr : bool
        Print every node when it is made.
    name : str
        Name of the model.
    """
    model = nm.model_manager.newmodel(name)
    out: nm.Node = nm.Input((None, 1, *patch), "b,f,z,x,y", name="input", print_repr=print_repr)
    for n_f, kernel, pool in LAYERS:
        out = nm.Conv(out, n_f, kernel, pool, print_repr=print_repr)
    out = nm.Conv(out, 2, (1, 1, 1), activation_func="lin", name="barr", print_repr=print_repr)
    probs = nm.Softmax(out, name="probs", print_repr=print_repr)
    target = nm.Input_like(probs, override_f=1, name="target", dtype="int16", print_repr=print_repr)
    nll = nm.MultinoulliNLL(probs, target, target_is_sparse=True, name="nll", print_repr=print_repr)
    loss = nm.AggregateLoss([nll], name="loss", print_repr=print_repr)
    errors = nm.Errors(probs, target, target_is_sparse=True, name="errors", print_repr=print_repr)
    model.designate_nodes("input", target, loss, probs, prediction_ext=[loss, errors, probs], error_node=errors)
    model.set_opt_meta_params("Adam", {"lr": 5e-4, "mom": 0.9, "beta2": 0.999, "wd": 0.5e-4})
    return model


def main() -> None:
    """Build it, show it, run it."""
    probs = build()["probs"]
    print(f"{probs.all_params_count:,} parameters\n{probs.shape.ext_repr}")
    probs.test_run()


if __name__ == "__main__":
    main()
