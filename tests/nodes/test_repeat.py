"""Repeated features against NumPy: values, gradients, dense prediction, labels, bad inputs, files."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import ArgumentError, InputTypeError, ShapeError, UnknownNameError
from tests.nodes.layers import check_gradients, random, registered, source

QUIET = {"print_repr": False}


def repeated(x, n, axis, interleave):
    return np.repeat(x, n, axis) if interleave else np.concatenate([x] * n, axis)


@pytest.mark.parametrize(
    ("shape", "tags"), [((3, 4), "b,f"), ((2, 3, 4, 5), "b,f,y,x"), ((2, 3, 4, 2, 5), "b,z,f,y,x"), ((3, 2), "f,b")]
)
@pytest.mark.parametrize("interleave", [False, True])
@pytest.mark.parametrize("n", [1, 3])
def test_values_shapes_gradients(shape, tags, interleave, n):
    nm.config.floatX = "float64"
    x, axis = random(*shape), tags.split(",").index("f")
    for which in ("f", axis):
        node = nm.Repeat(source(shape, tags), n, which, interleave, **QUIET)
        want = repeated(x, n, axis, interleave)
        np.testing.assert_array_equal(node(x), want)
        np.testing.assert_array_equal(node.rearranged([x]), want)
        assert node.shape.shape == list(want.shape) and node.computational_cost == 0
    check_gradients(node)


def test_open_sizes_and_integers():
    node = nm.Repeat(nm.Input((None, 2, None), "b,f,x", dtype="int16", **QUIET), 2, **QUIET)
    x = np.arange(12, dtype="int16").reshape(2, 2, 3)
    np.testing.assert_array_equal(node(x), np.concatenate([x, x], 1))
    assert node.shape.shape == [None, 4, None] and node(x).dtype == np.int16


@pytest.mark.parametrize("interleave", [False, True])
def test_tiles_equal_the_whole_image(interleave):
    conv = nm.Conv(source((1, 2, 12, 12)), 3, (3, 3), activation_func="tanh", **QUIET)
    node = nm.Conv(nm.Repeat(conv, 2, interleave=interleave, **QUIET), 2, (3, 3), activation_func="tanh", **QUIET)
    raw = random(2, 12, 12).astype("float32")
    np.testing.assert_allclose(node.predict_dense(raw, tile=(3, 4)), node(raw[None])[0], rtol=1e-5, atol=1e-5)


def test_files(tmp_path, fresh_model):
    nm.Repeat(nm.Input((1, 2), "b,f", name="raw", **QUIET), 3, interleave=True, name="thrice", **QUIET)
    fresh_model.save(tmp_path / "x.h5")
    assert nm.modelload(tmp_path / "x.h5")["thrice"]([[1, 2]]).tolist() == [[1, 1, 1, 2, 2, 2]]


@pytest.mark.parametrize(
    ("build", "error", "says"),
    [
        (lambda x: nm.Repeat(x, 0, **QUIET), ArgumentError, "n must be a positive integer; got 0"),
        (
            lambda x: nm.Repeat(x, 2, "x", **QUIET),
            ArgumentError,
            r"got axis 'x'; .*nearest valid: Upsample\(parent, 2\)",
        ),
        (lambda x: nm.Repeat(x, 2, "b", **QUIET), ArgumentError, "got axis 'b'; expected axis 'f'"),
        (lambda x: nm.Repeat(x, 2, "z", **QUIET), ShapeError, "no axis has tag 'z'"),
        (lambda x: nm.Repeat(x, 2, interleave=1, **QUIET), ArgumentError, "interleave must be a bool"),
        (lambda x: nm.Repeat(x, 1 << 61, **QUIET), ShapeError, "too many features"),
        (lambda x: nm.Repeat(source((1, None, 3)), 2, **QUIET), ShapeError, "known number of features"),
        (lambda x: nm.Repeat(source((2, 3), "b,x"), 2, **QUIET), UnknownNameError, "axis tagged 'f'"),
        (lambda x: nm.Repeat("x", 2, **QUIET), InputTypeError, "node"),
    ],
)
def test_bad_arguments_leave_nothing_behind(build, error, says):
    parent = source((2, 4, 5))
    with pytest.raises(error, match=says):
        build(parent)
    assert not [name for name in registered() if "repeat" in name]
