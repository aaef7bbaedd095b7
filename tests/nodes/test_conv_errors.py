"""Error messages of convolutional layers."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import ArgumentError, ShapeError
from tests.nodes.layers import registered, source


def conv(parent, *args, **kwargs):
    return nm.Conv(parent, *args, print_repr=False, **kwargs)


@pytest.mark.parametrize(
    ("args", "kwargs", "error", "message"),
    [
        (
            (3, (3, 3)),
            {},
            ShapeError,
            r"Conv 'conv': filter_shape needs one entry per spatial axis; got \(3, 3\); "
            r"expected 3 entries, for the axes z, x, y",
        ),
        ((3, 3), {}, ShapeError, r"filter_shape needs one entry.*nearest valid: \(3, 3, 3\)"),
        ((3, (1, 3, 3), (2, 2)), {}, ShapeError, r"pool_shape needs one entry per spatial axis; got \(2, 2\)"),
        (
            (3, (1, 3, 0)),
            {},
            ArgumentError,
            r"filter_shape must consist of integers; got \(1, 3, 0\); expected entries >= 1",
        ),
        ((3, (1, 3, 2.0)), {}, ArgumentError, "filter_shape must consist of integers"),
        ((3, (1, 3, 3), (1, 1, 0)), {}, ArgumentError, "pool_shape must consist of integers"),
        (
            (3, (7, 3, 3)),
            {},
            ShapeError,
            r"the kernel is larger than its input; got size 6 on axis 'z' of 'raw', kernel 7, "
            r"pool 1, conv_mode 'valid'; expected at least size 7; nearest valid: size 7",
        ),
        (
            (3, (1, 4, 3), (1, 2, 2)),
            {},
            ShapeError,
            r"the pooling does not divide the convolved size; got size 12 on axis 'x' "
            r"of 'raw', kernel 4, pool 2, conv_mode 'valid'; expected a size of 3 plus a multiple of 2; "
            r"nearest valid: size 11 or 13",
        ),
        ((3, (3, 1, 1), (5, 1, 1)), {}, ShapeError, r"does not divide.*nearest valid: size 7$"),
        (
            (3, (1, 3, 3), (1, 2, 2)),
            {"mfp": True},
            ShapeError,
            r"\(with max-fragment pooling\); got size 12 on axis 'x'.*"
            r"expected a size of 3 plus a multiple of 2; nearest valid: size 11 or 13",
        ),
        (
            (3, (6, 1, 1), (2, 1, 1)),
            {"mfp": True},
            ShapeError,
            r"the kernel is larger than its input \(with max-fragment",
        ),
        (
            (3, (3, 2, 3)),
            {"conv_mode": "same"},
            ArgumentError,
            "conv_mode 'same' needs odd kernels; got kernel 2 on axis 'x'; nearest valid: 1 or 3",
        ),
        ((3, (1, 3, 3)), {"conv_mode": "sme"}, ArgumentError, "unknown conv_mode; got sme; .* nearest valid: 'same'"),
        (
            (3, (1, 3, 3)),
            {"w": np.ones((3, 2, 1, 3, 4))},
            ShapeError,
            r"'w' has the wrong shape; .* expected \(3, 2, 1, 3, 3\)",
        ),
        ((3, (1, 3, 3)), {"b": np.ones(2)}, ShapeError, r"parameter 'b' has the wrong shape"),
    ],
)
def test_bad_arguments_leave_nothing_behind(args, kwargs, error, message):
    inp = source((1, 2, 6, 12, 12), name="raw")
    before = registered()
    with pytest.raises(error, match=message):
        conv(inp, *args, **kwargs)
    assert registered() == before


@pytest.mark.parametrize(
    ("shape", "tags", "nearest"),
    [
        ((2, 3), "b,f", None),
        ((2, 5, 5, 3), "b,y,x,f", "b,f,y,x"),
        ((3, 2, 5), "f,b,x", "b,f,x"),
        ((2, 5, 3, 5), "b,y,f,x", "b,f,y,x"),
        ((4, 2, 3, 5), "r,b,f,x", None),
    ],
)
def test_unsupported_layouts(shape, tags, nearest):
    inp = source(shape, tags)
    with pytest.raises(
        ShapeError, match=f"unsupported axis layout; got {tags}; expected b,f and one to three"
    ) as caught:
        conv(inp, 3, (1,) * inp.shape.ndim)
    assert caught.value.nearest == nearest
