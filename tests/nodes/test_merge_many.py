"""Sums and products of any number of nodes: values, broadcasting, geometry, gradients, bad inputs."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import InputTypeError, ShapeError
from tests.nodes.layers import check_gradients, random, registered, source

QUIET = {"print_repr": False}


@pytest.mark.parametrize(("kind", "combine"), [(nm.Sum, np.add), (nm.Product, np.multiply)])
@pytest.mark.parametrize(
    "shapes",
    [
        [(2, 3, 4)],
        [(2, 3, 4), (2, 3, 4), (2, 3, 4)],
        [(2, 3, 1), (2, 3, 4)],
        [(1, 3, 4), (2, 1, 4), (2, 3, 1)],
    ],
)
def test_values_shapes_gradients(kind, combine, shapes):
    nm.config.floatX = "float64"
    arrays = [random(*shape, seed=k) for k, shape in enumerate(shapes)]
    node = kind([source(shape) for shape in shapes], **QUIET)
    want = arrays[0]
    for array in arrays[1:]:
        want = combine(want, array)
    np.testing.assert_allclose(node(*arrays), want, rtol=1e-12)
    assert node.shape.shape == list(want.shape)
    check_gradients(node)


def test_a_computed_size_of_one_is_repeated():
    x = random(2, 3, 5).astype("float32")
    inp = source(x.shape)
    mean = nm.Pool(inp, (5,), mode="average", **QUIET)
    np.testing.assert_allclose(nm.Product([inp, mean], **QUIET)(x), x * x.mean(axis=2, keepdims=True), rtol=1e-5)


def test_the_field_of_view_covers_all_parents():
    inp = source((1, 1, 20))
    branches = [nm.Conv(inp, 2, (k,), conv_mode="same", **QUIET) for k in (3, 7, 5)]
    node = nm.Sum(branches, **QUIET)
    assert (node.shape.fov, node.shape.offsets) == ([7], [0])
    raw = random(1, 30).astype("float32")
    np.testing.assert_allclose(node.predict_dense(raw, tile=(4,)), node.predict_dense(raw), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [nm.Sum, nm.Product])
def test_bad_inputs_leave_nothing_behind(kind):
    a, b, c = source((2, 3, 4)), source((2, 3, 5)), source((2, 3))
    before = registered()
    for parents, error, says in (
        ([a, b], ShapeError, "axis 'x'.*equal sizes on axis 'x', or 1"),
        ([a, c], ShapeError, "different axes"),
        ([], InputTypeError, "list of nodes"),
        (a, InputTypeError, "list of nodes"),
        ([a, 3], InputTypeError, "node"),
    ):
        with pytest.raises(error, match=says):
            kind(parents, **QUIET)
    assert registered() == before
