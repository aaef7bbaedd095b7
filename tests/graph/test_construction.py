"""What a node was constructed with."""

from __future__ import annotations

import neuromancer as nm
from neuromancer.graph.construction import bound_arguments, constructor


def test_arguments_come_by_name_without_the_defaults():
    x = nm.Input((1, 2), "b,f", name="x", print_repr=False)
    assert bound_arguments(x) == {"shape": (1, 2), "tags": "b,f", "name": "x", "print_repr": False}
    assert bound_arguments(nm.Crop(nm.Input((1, 1, 5), "b,f,x", print_repr=False), (1,)))["crop"] == (1,)
    node = nm.Perceptron(x, 3, name="y", print_repr=False)
    assert bound_arguments(node) == {"parent": x, "n_f": 3, "name": "y", "print_repr": False}


def test_signature_is_without_self():
    assert list(constructor(nm.Crop).parameters) == ["parent", "crop", "name", "print_repr"]
