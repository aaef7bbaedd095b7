"""Sizes of images that a network cannot take are explained: which node, what came, and the nearest size that fits."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import EngineError, ShapeError
from neuromancer.graph.sizes import conflict

QUIET = {"print_repr": False}


def network(ceil_mode: bool | None) -> nm.Node:
    """A skip beside a pool and an up-convolution, on images of any size."""
    image = nm.Input((None, 1, None), "b,f,x", name="image", **QUIET)
    coarse = nm.Pool(image, (2,), ceil_mode=ceil_mode, name="coarse", **QUIET)
    fine = nm.Upsample(coarse, 2, name="fine", **QUIET)
    return nm.Concat([image, fine], name="joined", **QUIET)


@pytest.mark.parametrize("ceil_mode, fine", [(False, 8), (True, 10)])
def test_branches_that_do_not_meet(ceil_mode, fine):
    joined = network(ceil_mode)
    found = conflict(joined, 0, 9)
    assert (found.node, found.joins, found.got) == (joined, True, f"'image': 9, 'fine': {fine}")
    assert conflict(joined, 0, 8) is None
    for call in (joined, joined.infer):
        assert call(np.ones((1, 1, 8), "float32")).shape == (1, 2, 8)
        with pytest.raises(
            ShapeError, match=r"'joined': branches of different sizes.*size 9.*nearest valid: size 8 or 10"
        ):
            call(np.ones((1, 1, 9), "float32"))


def test_remainders_are_blamed_on_the_pool():
    found = conflict(network(None), 0, 9)
    assert (found.node.name, found.joins) == ("coarse", False)


@pytest.mark.parametrize("ceil_mode", [False, True])
def test_dense_prediction_of_sizes_that_one_pass_refuses(ceil_mode):
    joined, raw = network(ceil_mode), np.random.default_rng(0).random((1, 9)).astype("float32")
    with pytest.raises(
        ShapeError, match=r"'joined': branches of different sizes.*nearest valid: size 8 or 10, or pad_raw"
    ):
        joined.predict_dense(raw, progress=False)
    assert joined.predict_dense(raw, pad_raw=True, progress=False).shape == (2, 9)


def test_other_failures_are_left_alone(monkeypatch):
    node = network(False)

    def fails(*arrays):
        raise EngineError("no such kernel")

    monkeypatch.setattr(type(node), "_output_function", property(lambda self: fails))
    with pytest.raises(EngineError, match="no such kernel"):
        node(np.ones((1, 1, 8), "float32"))
